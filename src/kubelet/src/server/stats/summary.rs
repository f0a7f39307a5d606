//! The Summary API (`/stats/summary`, k8s.io/kubelet `stats/v1alpha1`).

use apimachinery::time::rfc3339;
use serde_json::{Map, Value, json};

use super::types::{
    ContainerStatistics, CpuStatistics, FilesystemStatistics, MemoryStatistics, NetworkStatistics,
    NodeStatistics, PodStatistics,
};

/// The summary as JSON; with `only_cpu_and_memory` what metrics-server needs and nothing else.
pub fn summary(statistics: &NodeStatistics, only_cpu_and_memory: bool) -> Value {
    let mut node = Map::new();
    node.insert("nodeName".into(), json!(statistics.node_name));
    node.insert("startTime".into(), json!(rfc3339(statistics.start_time)));
    node.insert("cpu".into(), cpu(&statistics.cpu));
    node.insert("memory".into(), memory(&statistics.memory));
    if !only_cpu_and_memory {
        node.insert("network".into(), network(&statistics.network));
        node.insert("fs".into(), filesystem(&statistics.fs));
        if let Some(image_fs) = &statistics.image_fs {
            let fs = filesystem(image_fs);
            node.insert("runtime".into(), json!({"imageFs": fs.clone(), "containerFs": fs}));
        }
        node.insert(
            "rlimit".into(),
            json!({
                "time": rfc3339(statistics.cpu.time),
                "maxpid": statistics.max_pid,
                "curproc": statistics.process_count,
            }),
        );
    }
    let pods: Vec<Value> = statistics.pods.iter().map(|one| pod(one, only_cpu_and_memory)).collect();
    json!({"node": node, "pods": pods})
}

fn pod(pod: &PodStatistics, only_cpu_and_memory: bool) -> Value {
    let mut object = Map::new();
    object.insert("podRef".into(), json!({"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}));
    object.insert("startTime".into(), json!(rfc3339(pod.start_time)));
    let containers: Vec<Value> =
        pod.containers.iter().map(|one| container(one, only_cpu_and_memory)).collect();
    object.insert("containers".into(), Value::Array(containers));
    insert(&mut object, "cpu", pod.cpu.as_ref().map(cpu));
    insert(&mut object, "memory", pod.memory.as_ref().map(memory));
    if !only_cpu_and_memory {
        insert(&mut object, "network", pod.network.as_ref().map(network));
        insert(&mut object, "ephemeral-storage", pod.ephemeral_storage.as_ref().map(filesystem));
        let processes = pod.process_count.map(|count| json!({"process_count": count}));
        insert(&mut object, "process_stats", processes);
    }
    Value::Object(object)
}

fn container(container: &ContainerStatistics, only_cpu_and_memory: bool) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), json!(container.name));
    object.insert("startTime".into(), json!(rfc3339(container.start_time)));
    insert(&mut object, "cpu", container.cpu.as_ref().map(cpu));
    insert(&mut object, "memory", container.memory.as_ref().map(memory));
    if !only_cpu_and_memory {
        insert(&mut object, "rootfs", container.rootfs.as_ref().map(filesystem));
        insert(&mut object, "logs", container.logs.as_ref().map(filesystem));
    }
    Value::Object(object)
}

fn cpu(cpu: &CpuStatistics) -> Value {
    let mut object = Map::new();
    object.insert("time".into(), json!(rfc3339(cpu.time)));
    insert(&mut object, "usageNanoCores", cpu.usage_nano_cores.map(Value::from));
    insert(&mut object, "usageCoreNanoSeconds", cpu.usage_core_nano_seconds.map(Value::from));
    Value::Object(object)
}

fn memory(memory: &MemoryStatistics) -> Value {
    let mut object = Map::new();
    object.insert("time".into(), json!(rfc3339(memory.time)));
    insert(&mut object, "availableBytes", memory.available_bytes.map(Value::from));
    insert(&mut object, "usageBytes", memory.usage_bytes.map(Value::from));
    insert(&mut object, "workingSetBytes", memory.working_set_bytes.map(Value::from));
    insert(&mut object, "rssBytes", memory.rss_bytes.map(Value::from));
    insert(&mut object, "pageFaults", memory.page_faults.map(Value::from));
    insert(&mut object, "majorPageFaults", memory.major_page_faults.map(Value::from));
    Value::Object(object)
}

fn network(network: &NetworkStatistics) -> Value {
    let interfaces: Vec<Value> = network
        .interfaces
        .iter()
        .map(|interface| {
            json!({
                "name": interface.name,
                "rxBytes": interface.rx_bytes,
                "rxErrors": interface.rx_errors,
                "txBytes": interface.tx_bytes,
                "txErrors": interface.tx_errors,
            })
        })
        .collect();
    // The default interface is inlined beside the list.
    let mut object = match interfaces.first() {
        Some(Value::Object(first)) => first.clone(),
        _ => Map::new(),
    };
    object.insert("time".into(), json!(rfc3339(network.time)));
    object.insert("interfaces".into(), Value::Array(interfaces));
    Value::Object(object)
}

fn filesystem(fs: &FilesystemStatistics) -> Value {
    let mut object = Map::new();
    object.insert("time".into(), json!(rfc3339(fs.time)));
    insert(&mut object, "availableBytes", fs.available_bytes.map(Value::from));
    insert(&mut object, "capacityBytes", fs.capacity_bytes.map(Value::from));
    insert(&mut object, "usedBytes", fs.used_bytes.map(Value::from));
    insert(&mut object, "inodesFree", fs.inodes_free.map(Value::from));
    insert(&mut object, "inodes", fs.inodes.map(Value::from));
    insert(&mut object, "inodesUsed", fs.inodes_used.map(Value::from));
    Value::Object(object)
}

fn insert(object: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_interface_is_inlined_and_unknown_numbers_are_left_out() {
        let statistics = NodeStatistics {
            node_name: "n".into(),
            network: NetworkStatistics {
                interfaces: vec![super::super::InterfaceStatistics {
                    name: "eth0".into(),
                    rx_bytes: 5,
                    ..Default::default()
                }],
                ..Default::default()
            },
            ..Default::default()
        };
        let summary = summary(&statistics, false);
        assert_eq!(summary["node"]["network"]["rxBytes"], 5);
        assert_eq!(summary["node"]["network"]["interfaces"][0]["name"], "eth0");
        assert!(summary["node"]["cpu"].get("usageNanoCores").is_none());
        assert_eq!(summary["node"]["startTime"], "1970-01-01T00:00:00Z");
    }
}
