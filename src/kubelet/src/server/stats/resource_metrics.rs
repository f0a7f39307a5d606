//! `/metrics/resource`: CPU and memory in the Prometheus text format, which metrics-server scrapes.

use super::exposition::{self, counter, gauge, number, seconds};
use super::types::NodeStatistics;

/// Renders the statistics with upstream's metric names.
pub fn render(statistics: &NodeStatistics) -> String {
    let mut container_cpu = counter(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    let mut container_memory =
        gauge("container_memory_working_set_bytes", "Current working set of the container in bytes");
    let mut container_start =
        gauge("container_start_time_seconds", "Start time of the container since unix epoch in seconds");
    let mut node_cpu =
        counter("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds");
    let mut node_memory = gauge("node_memory_working_set_bytes", "Current working set of the node in bytes");
    let mut pod_cpu =
        counter("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds");
    let mut pod_memory = gauge("pod_memory_working_set_bytes", "Current working set of the pod in bytes");
    let mut error = gauge(
        "resource_scrape_error",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );

    let (cpu, memory) = (&statistics.cpu, &statistics.memory);
    node_cpu.push("", seconds(cpu.usage_core_nano_seconds), cpu.time);
    node_memory.push("", number(memory.working_set_bytes), memory.time);
    for pod in &statistics.pods {
        let pod_labels = format!("namespace=\"{}\",pod=\"{}\"", pod.namespace, pod.name);
        for container in &pod.containers {
            let labels = format!("container=\"{}\",{pod_labels}", container.name);
            if let Some(cpu) = &container.cpu {
                container_cpu.push(&labels, seconds(cpu.usage_core_nano_seconds), cpu.time);
            }
            if let Some(memory) = &container.memory {
                container_memory.push(&labels, number(memory.working_set_bytes), memory.time);
            }
            container_start.push_now(&labels, container.start_time.as_second() as f64);
        }
        if let Some(cpu) = &pod.cpu {
            pod_cpu.push(&pod_labels, seconds(cpu.usage_core_nano_seconds), cpu.time);
        }
        if let Some(memory) = &pod.memory {
            pod_memory.push(&pod_labels, number(memory.working_set_bytes), memory.time);
        }
    }
    error.push_now("", 0.0);
    let families =
        [container_cpu, container_memory, container_start, node_cpu, node_memory, pod_cpu, pod_memory, error];
    exposition::write(&families, "[STABLE] ")
}

#[cfg(test)]
mod tests {
    use super::super::types::{ContainerStatistics, CpuStatistics, PodStatistics};
    use super::*;
    use jiff::Timestamp;

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
