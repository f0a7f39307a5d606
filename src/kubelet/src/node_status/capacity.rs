//! What the node has, and what of it pods may have.

use crate::eviction::{Signal, Thresholds};
use apimachinery::quantity::{Format, Quantity};
use std::collections::BTreeMap;
use std::path::Path;

/// Amounts by resource: CPU in millicores, else whole units (bytes, pods).
pub type Capacity = BTreeMap<String, i64>;

/// Measures the machine; `root` is on the disk that counts as ephemeral storage.
pub fn measure_capacity(root: &Path, max_pods: u32) -> Capacity {
    let mut capacity = Capacity::from([
        ("cpu".to_owned(), online_cpus().saturating_mul(1000)),
        ("memory".to_owned(), memory_bytes(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())),
        ("pods".to_owned(), i64::from(max_pods)),
        ("ephemeral-storage".to_owned(), disk_bytes(root)),
    ]);
    capacity.extend(huge_pages(Path::new("/sys/kernel/mm/hugepages")));
    capacity
}

/// Capacity less what is reserved for the system and what evictions keep free.
pub fn allocatable(
    capacity: &Capacity,
    reserved: &BTreeMap<String, String>,
    thresholds: &Thresholds,
) -> Capacity {
    let kept = |resource: &str, total: i64| {
        let reserved = reserved.get(resource).and_then(|text| text.parse::<Quantity>().ok());
        let reserved = reserved.map_or(0, |q| if resource == "cpu" { q.milli_value() } else { q.value() });
        let signal = match resource {
            "memory" => Some(Signal::MemoryAvailable),
            "ephemeral-storage" => Some(Signal::NodeFsAvailable),
            _ => None,
        };
        let total = u64::try_from(total).unwrap_or(0);
        let free = signal.and_then(|signal| thresholds.threshold(signal, total)).unwrap_or(0);
        reserved.saturating_add(i64::try_from(free).unwrap_or(0))
    };
    // Huge pages are taken from memory for good.
    let pages: i64 =
        capacity.iter().filter(|(name, _)| name.starts_with("hugepages-")).map(|(_, bytes)| bytes).sum();
    capacity
        .iter()
        .map(|(name, total)| {
            let pages = if name == "memory" { pages } else { 0 };
            (name.clone(), total.saturating_sub(kept(name, *total)).saturating_sub(pages).max(0))
        })
        .collect()
}

/// As the Node's status writes them: memory and disk in Ki where they are whole.
pub fn quantities(capacity: &Capacity) -> BTreeMap<String, String> {
    let write = |name: &str, amount: i64| match name {
        "cpu" => Quantity::from_milli(amount).to_string(),
        "memory" | "ephemeral-storage" if amount % 1024 == 0 => format!("{}Ki", amount / 1024),
        name if name.starts_with("hugepages-") => Quantity::from_units(amount, Format::BinarySi).to_string(),
        _ => amount.to_string(),
    };
    capacity.iter().map(|(name, amount)| (name.clone(), write(name, *amount))).collect()
}

fn online_cpus() -> i64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1).max(1)
}

fn memory_bytes(meminfo: &str) -> i64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: i64 = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    kib.saturating_mul(1024)
}

fn disk_bytes(root: &Path) -> i64 {
    // The directory may not be there yet: its nearest ancestor is on the same disk.
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    nix::sys::statvfs::statvfs(existing).map_or(0, |stat| {
        i64::try_from(stat.blocks().saturating_mul(stat.fragment_size())).unwrap_or(i64::MAX)
    })
}

fn huge_pages(directory: &Path) -> Capacity {
    let mut pages = Capacity::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let kib = name
            .to_str()
            .and_then(|name| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<i64>().ok());
        let count = std::fs::read_to_string(entry.path().join("nr_hugepages")).ok();
        let count = count.and_then(|text| text.trim().parse::<i64>().ok());
        if let (Some(kib), Some(count)) = (kib, count) {
            let size = Quantity::from_units(kib.saturating_mul(1024), Format::BinarySi);
            pages.insert(format!("hugepages-{size}"), kib.saturating_mul(1024).saturating_mul(count));
        }
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_not_given_to_pods() {
        let capacity = Capacity::from([
            ("cpu".into(), 2000),
            ("memory".into(), 1 << 30),
            ("ephemeral-storage".into(), (1 << 30) + 900),
            ("pods".into(), 110),
        ]);
        let reserved =
            BTreeMap::from([("cpu".to_owned(), "100m".to_owned()), ("memory".to_owned(), "24Mi".to_owned())]);
        let left = allocatable(&capacity, &reserved, &Thresholds::default());
        assert_eq!(left["cpu"], 1900);
        assert_eq!(left["memory"], 900 << 20);
        assert_eq!(left["ephemeral-storage"], 900);
        assert_eq!(left["pods"], 110);
        let written = quantities(&left);
        assert_eq!(written["cpu"], "1900m");
        assert_eq!(written["memory"], "921600Ki");
        assert_eq!(written["ephemeral-storage"], "900");
    }
}
