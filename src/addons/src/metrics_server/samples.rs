//! What kubelets tell (`/metrics/resource`), and what two answers of theirs say about use. Pure.

use std::collections::HashMap;

/// What a kubelet counts of a node or a container, in seconds of CPU and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// CPU seconds so far, with the time in milliseconds.
    pub cpu: Option<(f64, i64)>,
    /// Bytes in use, with the time in milliseconds.
    pub memory: Option<(f64, i64)>,
    /// When the container started, in seconds.
    pub started: Option<f64>,
}

/// A container as its kubelet names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerName {
    /// Namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
}

/// One answer of a kubelet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape {
    /// The node itself.
    pub node: Sample,
    /// Its containers.
    pub containers: HashMap<ContainerName, Sample>,
}

/// What was used over a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Use {
    /// Billionths of a core.
    pub cpu_nano: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// End of the time, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Length of the time in milliseconds.
    pub window_ms: i64,
}

/// A container that is younger than this has not used enough to tell, in milliseconds: less would make peaks of its start.
const SHORTEST_MS: i64 = 10_000;

impl Scrape {
    /// Reads the Prometheus text format; lines of other metrics, and lines that make no sense, are left out.
    pub fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            scrape.line(line);
        }
        scrape
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (series, rest) = match line.split_once('}') {
            Some((series, rest)) => (series, rest),
            None => line.split_once(' ')?,
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let mut numbers = rest.split_ascii_whitespace();
        let value: f64 =
            numbers.next()?.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)?;
        let time = numbers.next().and_then(|time| time.parse().ok());
        let sample = match name.split_once('_')?.0 {
            "node" => &mut self.node,
            "container" => {
                let label = |wanted: &str| {
                    labels.split(',').find_map(|label| {
                        let (key, value) = label.split_once('=')?;
                        (key == wanted).then(|| value.trim_matches('"').to_owned())
                    })
                };
                let name = ContainerName {
                    namespace: label("namespace")?,
                    pod: label("pod")?,
                    container: label("container")?,
                };
                self.containers.entry(name).or_default()
            }
            _ => return None,
        };
        match name {
            "node_cpu_usage_seconds_total" | "container_cpu_usage_seconds_total" => {
                sample.cpu = Some((value, time?));
            }
            "node_memory_working_set_bytes" | "container_memory_working_set_bytes" => {
                sample.memory = Some((value, time?));
            }
            "container_start_time_seconds" => sample.started = Some(value),
            _ => {}
        }
        Some(())
    }
}

/// What was used between two samples of the same thing. Of a container that started since the first one, or has none, since
/// its start. None when that cannot be told yet.
pub fn used(before: Option<&Sample>, now: &Sample) -> Option<Use> {
    let ((cpu, at), (memory, _)) = (now.cpu?, now.memory?);
    let started = now.started.map(|seconds| (seconds * 1000.0) as i64);
    let known = before.and_then(|before| before.cpu).filter(|(past, time)| {
        // The counter of a container that was started again begins anew.
        *past <= cpu && *time < at && started.is_none_or(|started| started <= *time)
    });
    let (past, since) = match known {
        Some(known) => known,
        None => (0.0, started.filter(|started| at - started >= SHORTEST_MS)?),
    };
    let window_ms = at.checked_sub(since).filter(|window| *window > 0)?;
    Some(Use {
        cpu_nano: ((cpu - past) * 1e12 / window_ms as f64).round() as u64,
        memory_bytes: memory as u64,
        at_ms: at,
        window_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP container_cpu_usage_seconds_total [STABLE] x
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"p\"} 12.5 1700000015000
container_memory_working_set_bytes{container=\"c\",namespace=\"n\",pod=\"p\"} 1.048576e+06 1700000015000
container_start_time_seconds{container=\"c\",namespace=\"n\",pod=\"p\"} 1.69999e+09
node_cpu_usage_seconds_total 100 1700000015000
node_memory_working_set_bytes 5000 1700000015000
pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 13 1700000015000
container_cpu_usage_seconds_total{container=\"bad\",namespace=\"n\"} 12.5 1
container_cpu_usage_seconds_total{container=\"nan\",namespace=\"n\",pod=\"p\"} NaN 1
node_cpu_usage_seconds_total
}{
resource_scrape_error 0
";

    #[test]
    fn what_a_kubelet_says_is_read() {
        let scrape = Scrape::parse(TEXT);
        assert_eq!(scrape.node.cpu, Some((100.0, 1_700_000_015_000)));
        assert_eq!(scrape.containers.len(), 1, "{:?}", scrape.containers.keys());
        let (name, sample) = scrape.containers.iter().next().unwrap();
        assert_eq!((name.namespace.as_str(), name.pod.as_str(), name.container.as_str()), ("n", "p", "c"));
        assert_eq!(sample.memory, Some((1_048_576.0, 1_700_000_015_000)));
        assert_eq!(sample.started, Some(1_699_990_000.0));
    }

    fn sample(cpu: f64, at: i64, started: Option<f64>) -> Sample {
        Sample { cpu: Some((cpu, at)), memory: Some((7.0, at)), started }
    }

    #[test]
    fn use_is_the_difference_over_the_time_between() {
        let one = used(Some(&sample(10.0, 100_000, None)), &sample(13.0, 115_000, None)).unwrap();
        assert_eq!((one.cpu_nano, one.memory_bytes, one.window_ms), (200_000_000, 7, 15_000));
        assert_eq!(used(None, &sample(13.0, 115_000, None)), None);
        assert_eq!(used(Some(&sample(10.0, 115_000, None)), &sample(13.0, 115_000, None)), None);
    }

    #[test]
    fn a_container_that_started_since_counts_from_its_start() {
        let young = sample(3.0, 115_000, Some(100.0));
        assert_eq!(used(Some(&sample(50.0, 95_000, Some(10.0))), &young).unwrap().cpu_nano, 200_000_000);
        assert_eq!(used(None, &young).unwrap().window_ms, 15_000);
        assert_eq!(used(None, &sample(3.0, 105_000, Some(100.0))), None, "too young to tell");
    }
}
