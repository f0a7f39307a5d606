//! Creates: how many a second, and how long the slowest take.

use crate::Report;
use crate::wrk::{self, Load};
use anyhow::Result;
use e2e::api::Api;
use e2e::node::Node;
use serde_json::json;
use std::time::Duration;

/// How long each number of writers writes.
const WRITING: Duration = Duration::from_secs(5);

/// ConfigMaps of 1 KiB by 1, 16 and 64 writers, pods by 16.
pub fn measure(node: &Node, api: &Api, address: &str, report: &mut Report) -> Result<()> {
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "m-"},
        "data": {"k": "x".repeat(1024)}})
    .to_string();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-"},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "busybox"}]}})
    .to_string();
    let token = wrk::token(node, api)?;
    for (resource, body, connections) in [
        ("configmaps", &config_map, 1),
        ("configmaps", &config_map, 16),
        ("configmaps", &config_map, 64),
        ("pods", &pod, 16),
    ] {
        let url = format!("https://{address}/api/v1/namespaces/default/{resource}");
        let load = Load { url: &url, body: Some(body), connections, lasting: WRITING };
        let outcome = wrk::run(node, Some(&token), &load)?;
        let name = format!("create_{resource}_{connections}_writers");
        report.insert(name, json!({"per_second": outcome.per_second, "p99_ms": outcome.p99}));
    }
    Ok(())
}
