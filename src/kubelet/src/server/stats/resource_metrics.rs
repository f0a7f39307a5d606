//! `/metrics/resource`: CPU and memory in the Prometheus text format, which metrics-server scrapes.

use std::fmt::Write;

use jiff::Timestamp;

use super::types::NodeStatistics;

/// One metric family with its samples (labels, value, time).
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    samples: Vec<(String, f64, Option<Timestamp>)>,
}

/// Renders the statistics with upstream's metric names.
pub fn render(statistics: &NodeStatistics) -> String {
    let mut container_cpu = family(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the container in core-seconds",
        "counter",
    );
    let mut container_memory = family(
        "container_memory_working_set_bytes",
        "Current working set of the container in bytes",
        "gauge",
    );
    let mut container_start = family(
        "container_start_time_seconds",
        "Start time of the container since unix epoch in seconds",
        "gauge",
    );
    let mut node_cpu = family(
        "node_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the node in core-seconds",
        "counter",
    );
    let mut node_memory =
        family("node_memory_working_set_bytes", "Current working set of the node in bytes", "gauge");
    let mut pod_cpu = family(
        "pod_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the pod in core-seconds",
        "counter",
    );
    let mut pod_memory =
        family("pod_memory_working_set_bytes", "Current working set of the pod in bytes", "gauge");
    let mut error = family(
        "resource_scrape_error",
        "1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
    );

    push(&mut node_cpu, String::new(), seconds(statistics.cpu.usage_core_nano_seconds), statistics.cpu.time);
    push(&mut node_memory, String::new(), bytes(statistics.memory.working_set_bytes), statistics.memory.time);
    for pod in &statistics.pods {
        let pod_labels = format!("namespace=\"{}\",pod=\"{}\"", pod.namespace, pod.name);
        for container in &pod.containers {
            let labels = format!("container=\"{}\",{pod_labels}", container.name);
            if let Some(cpu) = &container.cpu {
                push(&mut container_cpu, labels.clone(), seconds(cpu.usage_core_nano_seconds), cpu.time);
            }
            if let Some(memory) = &container.memory {
                push(&mut container_memory, labels.clone(), bytes(memory.working_set_bytes), memory.time);
            }
            container_start.samples.push((labels, container.start_time.as_second() as f64, None));
        }
        if let Some(cpu) = &pod.cpu {
            push(&mut pod_cpu, pod_labels.clone(), seconds(cpu.usage_core_nano_seconds), cpu.time);
        }
        if let Some(memory) = &pod.memory {
            push(&mut pod_memory, pod_labels, bytes(memory.working_set_bytes), memory.time);
        }
    }
    error.samples.push((String::new(), 0.0, None));

    let mut text = String::new();
    for family in
        [container_cpu, container_memory, container_start, node_cpu, node_memory, pod_cpu, pod_memory, error]
    {
        write_family(&mut text, &family);
    }
    text
}

fn family(name: &'static str, help: &'static str, kind: &'static str) -> Family {
    Family { name, help, kind, samples: Vec::new() }
}

fn push(family: &mut Family, labels: String, value: Option<f64>, time: Timestamp) {
    if let Some(value) = value {
        family.samples.push((labels, value, Some(time)));
    }
}

fn seconds(nanos: Option<u64>) -> Option<f64> {
    nanos.map(|nanos| nanos as f64 / 1e9)
}

fn bytes(bytes: Option<u64>) -> Option<f64> {
    bytes.map(|bytes| bytes as f64)
}

fn write_family(text: &mut String, family: &Family) {
    if family.samples.is_empty() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {} [STABLE] {}", family.name, family.help);
    let _ = writeln!(text, "# TYPE {} {}", family.name, family.kind);
    for (labels, value, time) in &family.samples {
        let _ = write!(text, "{}", family.name);
        if !labels.is_empty() {
            let _ = write!(text, "{{{labels}}}");
        }
        let _ = write!(text, " {value}");
        if let Some(time) = time {
            let _ = write!(text, " {}", time.as_millisecond());
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{ContainerStatistics, CpuStatistics, PodStatistics};
    use super::*;

    #[test]
    fn containers_are_labelled_and_times_are_milliseconds() {
        let statistics = NodeStatistics {
            pods: vec![PodStatistics {
                namespace: "ns".into(),
                name: "p".into(),
                containers: vec![ContainerStatistics {
                    name: "c".into(),
                    cpu: Some(CpuStatistics {
                        time: Timestamp::from_second(2).unwrap(),
                        usage_core_nano_seconds: Some(1_500_000_000),
                        usage_nano_cores: None,
                    }),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let text = render(&statistics);
        assert!(text.contains(
            "container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"p\"} 1.5 2000\n"
        ));
        assert!(text.contains("# TYPE resource_scrape_error gauge\nresource_scrape_error 0\n"));
    }
}
