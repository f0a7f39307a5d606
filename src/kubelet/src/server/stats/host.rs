//! The machine's own numbers, out of /proc.

use jiff::Timestamp;

use super::types::{CpuStatistics, InterfaceStatistics, MemoryStatistics, NetworkStatistics};

/// Length of a clock tick in /proc/stat: USER_HZ is 100 on every architecture Linux runs on.
const TICK_NANOS: u64 = 10_000_000;

/// What /proc says about the machine.
#[derive(Default)]
pub(super) struct Host {
    pub start_time: Timestamp,
    pub cpu: CpuStatistics,
    pub memory: MemoryStatistics,
    pub network: NetworkStatistics,
    pub max_pid: u64,
    pub process_count: u64,
}

/// Reads everything; what cannot be read stays empty.
pub(super) fn collect(now: Timestamp) -> Host {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/stat");
    Host {
        start_time: boot_time(&stat),
        cpu: CpuStatistics { time: now, usage_nano_cores: None, usage_core_nano_seconds: busy_nanos(&stat) },
        memory: memory(&read("/proc/meminfo"), &read("/proc/vmstat"), now),
        network: NetworkStatistics {
            time: now,
            interfaces: interfaces(&read("/proc/net/dev"), &read("/proc/net/route")),
        },
        max_pid: read("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(0),
        process_count: processes(&read("/proc/loadavg")),
    }
}

fn boot_time(stat: &str) -> Timestamp {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|seconds| seconds.trim().parse().ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or_default()
}

/// Everything but idle and iowait of the `cpu` line. Guest time is contained in user time already.
fn busy_nanos(stat: &str) -> Option<u64> {
    let fields: Vec<u64> = stat
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))?
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    let at = |index: usize| fields.get(index).copied().unwrap_or(0);
    let ticks = at(0) + at(1) + at(2) + at(5) + at(6) + at(7);
    Some(ticks.saturating_mul(TICK_NANOS))
}

fn memory(meminfo: &str, vmstat: &str, now: Timestamp) -> MemoryStatistics {
    let kib = |name: &str| {
        meminfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|value| value.split_whitespace().next())
            .and_then(|value| value.parse::<u64>().ok())
            .map(|value| value * 1024)
    };
    let event = |name: &str| {
        vmstat
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .and_then(|value| value.trim().parse::<u64>().ok())
    };
    let total = kib("MemTotal");
    let usage = total.zip(kib("MemFree")).map(|(total, free)| total.saturating_sub(free));
    let working_set =
        usage.zip(kib("Inactive(file)")).map(|(usage, inactive)| usage.saturating_sub(inactive));
    MemoryStatistics {
        time: now,
        available_bytes: total.zip(working_set).map(|(total, used)| total.saturating_sub(used)),
        usage_bytes: usage,
        working_set_bytes: working_set,
        rss_bytes: kib("AnonPages"),
        page_faults: event("pgfault"),
        major_page_faults: event("pgmajfault"),
    }
}

/// All interfaces but loopback and pod ends, the one with the default route first.
fn interfaces(dev: &str, route: &str) -> Vec<InterfaceStatistics> {
    let default = route.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        (fields.next()? == "00000000").then(|| name.to_owned())
    });
    let mut found: Vec<InterfaceStatistics> = dev
        .lines()
        .filter_map(|line| {
            let (name, counters) = line.split_once(':')?;
            let name = name.trim();
            if name == "lo" || name.starts_with("veth") || name.starts_with("knarr") {
                return None;
            }
            let counters: Vec<u64> =
                counters.split_whitespace().filter_map(|field| field.parse().ok()).collect();
            let at = |index: usize| counters.get(index).copied().unwrap_or(0);
            Some(InterfaceStatistics {
                name: name.to_owned(),
                rx_bytes: at(0),
                rx_errors: at(2),
                tx_bytes: at(8),
                tx_errors: at(10),
            })
        })
        .collect();
    found.sort_by_key(|interface| Some(&interface.name) != default.as_ref());
    found
}

/// The last but one field of /proc/loadavg is "running/all" scheduling entities.
fn processes(loadavg: &str) -> u64 {
    loadavg
        .split_whitespace()
        .nth(3)
        .and_then(|field| field.split_once('/'))
        .and_then(|(_, all)| all.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_leaves_idle_and_iowait_out() {
        assert_eq!(busy_nanos("cpu  1 2 3 1000 500 4 5 6 0 0\n"), Some(21 * TICK_NANOS));
    }

    #[test]
    fn the_default_routes_interface_comes_first() {
        let dev =
            "h\nh\n lo: 1 0 0 0 0 0 0 0 1\n eth1: 5 1 2 0 0 0 0 0 6 1 3\n eth0: 7 1 0 0 0 0 0 0 8 1 0\n";
        let route = "Iface\tDestination\neth0\t00000000\t01\n";
        let found = interfaces(dev, route);
        assert_eq!(found.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["eth0", "eth1"]);
        assert_eq!((found[1].rx_errors, found[1].tx_bytes, found[1].tx_errors), (2, 6, 3));
    }

    #[test]
    fn memory_counts_inactive_files_as_available() {
        let memory = memory(
            "MemTotal: 100 kB\nMemFree: 40 kB\nInactive(file): 10 kB\n",
            "pgfault 7\n",
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(memory.working_set_bytes, Some(50 * 1024));
        assert_eq!(memory.available_bytes, Some(50 * 1024));
        assert_eq!(memory.page_faults, Some(7));
    }
}
