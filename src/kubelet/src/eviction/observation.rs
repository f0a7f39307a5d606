//! Measuring the node.

use super::thresholds::Signal;
use nix::sys::statvfs::statvfs;
use std::collections::BTreeMap;
use std::path::Path;

/// A quantity of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// What is left.
    pub available: u64,
    /// What there is.
    pub capacity: u64,
}

/// All signals at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// By signal; what could not be measured is absent.
    pub signals: BTreeMap<Signal, Measured>,
}

/// Measures memory, the disks of `root` and (when it is another) of images, and process ids.
pub fn observe_node(root: &Path, images: Option<&Path>) -> Observation {
    let mut signals = BTreeMap::new();
    if let Some(memory) = std::fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(parse_memory) {
        signals.insert(Signal::MemoryAvailable, memory);
    }
    if let Some((bytes, inodes)) = disk(root) {
        signals.insert(Signal::NodeFsAvailable, bytes);
        insert_inodes(&mut signals, Signal::NodeFsInodesFree, inodes);
    }
    if let Some((bytes, inodes)) = images.and_then(disk) {
        signals.insert(Signal::ImageFsAvailable, bytes);
        insert_inodes(&mut signals, Signal::ImageFsInodesFree, inodes);
    }
    if let Some(pids) = pids() {
        signals.insert(Signal::PidAvailable, pids);
    }
    Observation { signals }
}

fn insert_inodes(signals: &mut BTreeMap<Signal, Measured>, signal: Signal, inodes: Measured) {
    // File systems that make inodes as they go (btrfs) report none at all.
    if inodes.capacity > 0 {
        signals.insert(signal, inodes);
    }
}

/// Bytes and inodes of the file system that `path` is on.
pub fn disk(path: &Path) -> Option<(Measured, Measured)> {
    let stat = statvfs(path).ok()?;
    let block = stat.fragment_size();
    let bytes = Measured {
        available: stat.blocks_available().saturating_mul(block),
        capacity: stat.blocks().saturating_mul(block),
    };
    let inodes = Measured { available: stat.files_free(), capacity: stat.files() };
    Some((bytes, inodes))
}

/// `MemAvailable` counts what the kernel can take back from caches.
fn parse_memory(text: &str) -> Option<Measured> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Measured { available: field("MemAvailable:")?, capacity: field("MemTotal:")? })
}

fn pids() -> Option<Measured> {
    let max: u64 = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim().parse().ok()?;
    let threads: u64 = std::fs::read_to_string("/proc/sys/kernel/threads-max").ok()?.trim().parse().ok()?;
    // "0.10 0.08 0.05 2/345 6789": the fourth word's second half counts all threads.
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let used: u64 = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    let capacity = max.min(threads);
    Some(Measured { available: capacity.saturating_sub(used), capacity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "MemTotal:       2048 kB\nMemFree: 1 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(parse_memory(text), Some(Measured { available: 1 << 20, capacity: 2 << 20 }));
    }
}
