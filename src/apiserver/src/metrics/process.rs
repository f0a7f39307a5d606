//! The process, as Prometheus' clients tell of it, and the build.

use crate::discovery;
use apimachinery::metrics::head;
use std::fmt::Write;
use std::fs;

/// The unit of times in `/proc` (`USER_HZ`, which is 100 wherever Linux runs).
const TICKS_PER_SECOND: f64 = 100.0;
/// The unit of resident memory in `/proc/self/stat` is pages; `/proc/self/status` has it in KiB.
const KIBIBYTE: u64 = 1024;

/// Writes `process_*` and `kubernetes_build_info`. What `/proc` does not tell is left out.
pub(crate) fn write(out: &mut String) -> std::fmt::Result {
    let version = discovery::version();
    let text = |field: &str| version.get(field).and_then(|value| value.as_str()).unwrap_or("").to_owned();
    head(out, "kubernetes_build_info", "gauge", "What this is.")?;
    let labels = [
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ];
    let labels: Vec<String> =
        labels.iter().map(|(label, field)| format!("{label}=\"{}\"", text(field))).collect();
    writeln!(out, "kubernetes_build_info{{{}}} 1", labels.join(","))?;
    let mut gauge = |name: &str, kind: &str, help: &str, value: Option<f64>| match value {
        Some(value) => {
            head(out, name, kind, help)?;
            writeln!(out, "{name} {value}")
        }
        None => Ok(()),
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name before it is in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
    let ticks = field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS_PER_SECOND);
    gauge("process_cpu_seconds_total", "counter", "Processor time used.", ticks)?;
    let started = field(22).zip(boot_time()).map(|(since_boot, boot)| boot + since_boot / TICKS_PER_SECOND);
    gauge("process_start_time_seconds", "gauge", "When the process began, in Unix time.", started)?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|amount| (amount * KIBIBYTE) as f64)
    };
    gauge("process_resident_memory_bytes", "gauge", "Memory in use.", kibibytes("VmRSS:"))?;
    gauge("process_virtual_memory_bytes", "gauge", "Address space in use.", kibibytes("VmSize:"))?;
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    gauge("process_open_fds", "gauge", "File descriptors in use.", open)?;
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let limit = limit.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    gauge("process_max_fds", "gauge", "File descriptors that may be in use.", limit)
}

/// In Unix time.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_tells_of_itself() {
        let mut out = String::new();
        write(&mut out).unwrap();
        let value = |name: &str| -> f64 {
            let line = out.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is not in\n{out}")).parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let now = jiff::Timestamp::now().as_second() as f64;
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(out.contains("minor=\"36\""));
    }
}
