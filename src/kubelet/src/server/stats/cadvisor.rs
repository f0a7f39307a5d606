//! `/metrics/cadvisor`: what dashboards read of containers, pods' networks and the machine, under the names of cAdvisor.
//!
//! Samples of a pod as a whole have an empty `container`, those of the machine the `id` `/`.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

use super::exposition::{self, Family, counter, gauge, number, seconds};
use super::types::{
    CpuStatistics, FilesystemStatistics, MemoryStatistics, NetworkStatistics, NodeStatistics, PodStatistics,
};
use crate::cm::{QUOTA_PERIOD_MICROSECONDS, milli_cpu_to_quota, milli_cpu_to_shares};
use crate::pod;

/// Renders the statistics. `pods` are those of the node, `cgroup` says in which control group one of them is.
pub fn render(statistics: &NodeStatistics, pods: &[Arc<Pod>], cgroup: impl Fn(&Pod) -> String) -> String {
    let known: HashMap<&str, &Arc<Pod>> = pods.iter().map(|pod| (pod::uid(pod), pod)).collect();
    let mut families = Families::new();
    let now = statistics.cpu.time;
    let machine = labels("", "/", "", "", "", "");
    families.cpu(&machine, &statistics.cpu);
    families.memory(&machine, &statistics.memory);
    families.network(&machine, &statistics.network);
    families.filesystem(&machine, &statistics.fs);
    families.seen(&machine, statistics.start_time, now);
    let memory = &statistics.memory;
    if let (Some(free), Some(used)) = (memory.available_bytes, memory.working_set_bytes) {
        families.machine_memory.push_now("", (free + used) as f64);
    }
    if let Ok(cores) = std::thread::available_parallelism() {
        families.machine_cores.push_now("", cores.get() as f64);
    }
    for pod in &statistics.pods {
        let known = known.get(pod.uid.as_str()).copied();
        let group = known.map(|pod| cgroup(pod)).unwrap_or_default();
        families.pod(pod, known.map(Arc::as_ref), &group, now);
    }
    exposition::write(families.all(), "")
}

struct Families {
    cpu_usage: Family,
    fs_usage: Family,
    fs_limit: Family,
    last_seen: Family,
    failures: Family,
    memory_rss: Family,
    memory_usage: Family,
    memory_working_set: Family,
    received_bytes: Family,
    receive_errors: Family,
    sent_bytes: Family,
    send_errors: Family,
    processes: Family,
    cpu_period: Family,
    cpu_quota: Family,
    cpu_shares: Family,
    memory_limit: Family,
    start_time: Family,
    machine_cores: Family,
    machine_memory: Family,
}

impl Families {
    fn new() -> Self {
        Self {
            cpu_usage: counter("container_cpu_usage_seconds_total", "CPU time used, in core seconds."),
            fs_usage: gauge("container_fs_usage_bytes", "Bytes used on the file system."),
            fs_limit: gauge("container_fs_limit_bytes", "Bytes that the file system holds."),
            last_seen: gauge("container_last_seen", "When it was last measured, since 1970."),
            failures: counter("container_memory_failures_total", "Page faults."),
            memory_rss: gauge("container_memory_rss", "Bytes of anonymous memory."),
            memory_usage: gauge("container_memory_usage_bytes", "Bytes of memory charged, caches included."),
            memory_working_set: gauge(
                "container_memory_working_set_bytes",
                "Bytes of memory that cannot be reclaimed easily.",
            ),
            received_bytes: counter("container_network_receive_bytes_total", "Bytes received."),
            receive_errors: counter("container_network_receive_errors_total", "Errors while receiving."),
            sent_bytes: counter("container_network_transmit_bytes_total", "Bytes sent."),
            send_errors: counter("container_network_transmit_errors_total", "Errors while sending."),
            processes: gauge("container_processes", "Processes."),
            cpu_period: gauge("container_spec_cpu_period", "Period of the CPU quota, in microseconds."),
            cpu_quota: gauge("container_spec_cpu_quota", "CPU quota in a period, in microseconds."),
            cpu_shares: gauge("container_spec_cpu_shares", "CPU shares."),
            memory_limit: gauge("container_spec_memory_limit_bytes", "Limit of memory; 0 for none."),
            start_time: gauge("container_start_time_seconds", "When it started, since 1970."),
            machine_cores: gauge("machine_cpu_cores", "Logical processors."),
            machine_memory: gauge("machine_memory_bytes", "Bytes of memory."),
        }
    }

    /// In the order of their names.
    fn all(&self) -> [&Family; 20] {
        [
            &self.cpu_usage,
            &self.fs_limit,
            &self.fs_usage,
            &self.last_seen,
            &self.failures,
            &self.memory_rss,
            &self.memory_usage,
            &self.memory_working_set,
            &self.received_bytes,
            &self.receive_errors,
            &self.sent_bytes,
            &self.send_errors,
            &self.processes,
            &self.cpu_period,
            &self.cpu_quota,
            &self.cpu_shares,
            &self.memory_limit,
            &self.start_time,
            &self.machine_cores,
            &self.machine_memory,
        ]
    }

    fn pod(&mut self, pod: &PodStatistics, known: Option<&Pod>, group: &str, now: Timestamp) {
        let whole = labels("", group, "", "", &pod.namespace, &pod.name);
        pod.cpu.iter().for_each(|cpu| self.cpu(&whole, cpu));
        pod.memory.iter().for_each(|memory| self.memory(&whole, memory));
        pod.network.iter().for_each(|network| self.network(&whole, network));
        self.processes.push(&whole, number(pod.process_count), now);
        self.seen(&whole, pod.start_time, now);
        for container in &pod.containers {
            let status = known.and_then(|pod| status_of(pod, &container.name));
            let id = status
                .and_then(|status| status.container_id.as_deref()?.split("://").nth(1))
                .unwrap_or_default();
            let image = status.map_or("", |status| status.image.as_str());
            let path = if id.is_empty() { group.to_owned() } else { format!("{group}/{id}") };
            let own = labels(&container.name, &path, image, id, &pod.namespace, &pod.name);
            container.cpu.iter().for_each(|cpu| self.cpu(&own, cpu));
            container.memory.iter().for_each(|memory| self.memory(&own, memory));
            container.rootfs.iter().for_each(|fs| self.filesystem(&own, fs));
            self.seen(&own, container.start_time, now);
            if let Some(spec) = known.and_then(|pod| spec_of(pod, &container.name)) {
                self.limits(&own, spec);
            }
        }
    }

    fn cpu(&mut self, labels: &str, cpu: &CpuStatistics) {
        let labels = format!("{labels},cpu=\"total\"");
        self.cpu_usage.push(&labels, seconds(cpu.usage_core_nano_seconds), cpu.time);
    }

    fn memory(&mut self, labels: &str, memory: &MemoryStatistics) {
        let time = memory.time;
        self.memory_rss.push(labels, number(memory.rss_bytes), time);
        self.memory_usage.push(labels, number(memory.usage_bytes), time);
        self.memory_working_set.push(labels, number(memory.working_set_bytes), time);
        for (kind, count) in [("pgfault", memory.page_faults), ("pgmajfault", memory.major_page_faults)] {
            let labels = format!("{labels},failure_type=\"{kind}\",scope=\"container\"");
            self.failures.push(&labels, number(count), time);
        }
    }

    fn network(&mut self, labels: &str, network: &NetworkStatistics) {
        for interface in &network.interfaces {
            let labels = format!("{labels},interface=\"{}\"", escaped(&interface.name));
            for (family, count) in [
                (&mut self.received_bytes, interface.rx_bytes),
                (&mut self.receive_errors, interface.rx_errors),
                (&mut self.sent_bytes, interface.tx_bytes),
                (&mut self.send_errors, interface.tx_errors),
            ] {
                family.push(&labels, number(Some(count)), network.time);
            }
        }
    }

    fn filesystem(&mut self, labels: &str, fs: &FilesystemStatistics) {
        self.fs_usage.push(labels, number(fs.used_bytes), fs.time);
        self.fs_limit.push(labels, number(fs.capacity_bytes), fs.time);
    }

    fn seen(&mut self, labels: &str, started: Timestamp, now: Timestamp) {
        self.last_seen.push(labels, Some(now.as_second() as f64), now);
        self.start_time.push(labels, Some(started.as_second() as f64), now);
    }

    fn limits(&mut self, labels: &str, spec: &Container) {
        let amount = |limits: bool, name: &str| {
            let resources = spec.resources.as_ref()?;
            let of = if limits { &resources.limits } else { &resources.requests };
            of.as_ref()?.get(name)?.0.parse::<apimachinery::quantity::Quantity>().ok()
        };
        let cpu_limit = amount(true, "cpu").map_or(0, |limit| limit.milli_value());
        let cpu_request = amount(false, "cpu").map_or(cpu_limit, |request| request.milli_value());
        self.cpu_period.push_now(labels, QUOTA_PERIOD_MICROSECONDS as f64);
        self.cpu_shares.push_now(labels, milli_cpu_to_shares(cpu_request) as f64);
        if cpu_limit > 0 {
            self.cpu_quota.push_now(labels, milli_cpu_to_quota(cpu_limit) as f64);
        }
        self.memory_limit.push_now(labels, amount(true, "memory").map_or(0, |limit| limit.value()) as f64);
    }
}

fn labels(container: &str, id: &str, image: &str, name: &str, namespace: &str, pod: &str) -> String {
    format!(
        "container=\"{container}\",id=\"{}\",image=\"{}\",name=\"{name}\",namespace=\"{namespace}\",pod=\"{pod}\"",
        escaped(id),
        escaped(image)
    )
}

/// A label's value as the text format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn status_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    all.into_iter().flatten().flatten().find(|status| status.name == name)
}

fn spec_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    pod::init_containers(pod).iter().chain(pod::containers(pod)).find(|container| container.name == name)
}

#[cfg(test)]
mod tests {
    use super::super::types::{ContainerStatistics, InterfaceStatistics};
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_pods_and_the_machine_are_told_apart() {
        let at = Timestamp::from_second(2).unwrap();
        let cpu = |seconds: u64| CpuStatistics {
            time: at,
            usage_core_nano_seconds: Some(seconds * 1_000_000_000),
            usage_nano_cores: None,
        };
        let memory = MemoryStatistics { time: at, working_set_bytes: Some(7), ..Default::default() };
        let interface = InterfaceStatistics { name: "eth0".into(), rx_bytes: 5, ..Default::default() };
        let statistics = NodeStatistics {
            cpu: cpu(9),
            memory: MemoryStatistics { available_bytes: Some(3), ..memory.clone() },
            pods: vec![PodStatistics {
                namespace: "ns".into(),
                name: "p".into(),
                uid: "u".into(),
                cpu: Some(cpu(3)),
                network: Some(NetworkStatistics { time: at, interfaces: vec![interface] }),
                containers: vec![ContainerStatistics {
                    name: "c".into(),
                    start_time: at,
                    cpu: Some(cpu(1)),
                    memory: Some(memory),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1Ki"}}}]},
            "status": {"containerStatuses": [{"name": "c", "image": "r/i:1", "imageID": "", "ready": true,
                "restartCount": 0, "containerID": "containerd://abc"}]},
        }))
        .unwrap();
        let text = render(&statistics, &[Arc::new(pod)], |_| "/kubepods/podu".into());
        let own = r#"container="c",id="/kubepods/podu/abc",image="r/i:1",name="abc",namespace="ns",pod="p""#;
        let whole = r#"container="",id="/kubepods/podu",image="",name="",namespace="ns",pod="p""#;
        let machine = r#"container="",id="/",image="",name="",namespace="",pod="""#;
        for line in [
            format!("container_cpu_usage_seconds_total{{{own},cpu=\"total\"}} 1 2000"),
            format!("container_cpu_usage_seconds_total{{{whole},cpu=\"total\"}} 3 2000"),
            format!("container_cpu_usage_seconds_total{{{machine},cpu=\"total\"}} 9 2000"),
            format!("container_memory_working_set_bytes{{{own}}} 7 2000"),
            format!("container_network_receive_bytes_total{{{whole},interface=\"eth0\"}} 5 2000"),
            format!("container_spec_cpu_quota{{{own}}} 50000"),
            format!("container_spec_cpu_period{{{own}}} 100000"),
            format!("container_spec_cpu_shares{{{own}}} 512"),
            format!("container_spec_memory_limit_bytes{{{own}}} 1024"),
            format!("container_start_time_seconds{{{own}}} 2 2000"),
            "machine_memory_bytes 10".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("# TYPE container_cpu_usage_seconds_total counter").count(), 1);
    }
}
