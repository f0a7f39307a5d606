//! What the pods of add-ons take when nobody asks them for anything.

use crate::{Report, kib, process_of};
use anyhow::{Context, Result, ensure};
use e2e::node::Node;
use serde_json::{Value, json};
use std::time::Duration;

/// The add-ons that have servers of their own.
const ADDONS: [&str; 7] =
    ["dashboard", "dns", "hostpath-storage", "ingress", "loadbalancer", "metrics-server", "registry"];
/// Rest before memory is looked at.
const REST: Duration = Duration::from_secs(30);

/// RSS of each server, and what of it nobody else has.
pub fn measure(report: &mut Report) -> Result<()> {
    let node = Node::start("bench")?;
    node.run(&format!("enable {}", ADDONS.join(" ")))?;
    std::thread::sleep(REST);
    let mut all = serde_json::Map::new();
    for pod in node.get("pods -A")?["items"].as_array().context("pods")? {
        let process = process_of(pod["metadata"]["uid"].as_str().context("a pod")?)?;
        let command = std::fs::read_to_string(format!("/proc/{process}/cmdline"))?;
        let name = command.split('\0').nth(2).context("an add-on's name")?;
        let figures =
            json!({"rss": kib(process, "VmRSS")? / 1024, "anonymous": kib(process, "RssAnon")? / 1024});
        all.insert(name.to_owned(), figures);
    }
    ensure!(all.len() >= ADDONS.len(), "only {all:?}");
    report.insert("addons_idle_mib".to_owned(), Value::Object(all));
    Ok(())
}
