//! Measures a release build (`e2e/bench/run.sh`): JSON on standard output, progress on standard error.

#![allow(clippy::indexing_slicing, reason = "a missing field of an answer reads as null")]

mod cluster;
mod disk;
mod ingress;
mod memory;
mod names;
mod nginx;
mod node;
mod reads;
mod watches;
mod writers;
mod writes;
mod wrk;

use anyhow::{Context, Result};
use e2e::api::Api;
use e2e::node::{Node, knarr_bin};
use serde_json::{Value, json};
use std::time::Duration;

/// Starts that are measured; the median and the worst are told.
const STARTS: usize = 5;

/// Where a control plane listens, within its machine.
const ADDRESS: &str = "127.0.0.1:6443";

/// Figures by name.
type Report = serde_json::Map<String, Value>;

fn main() -> Result<()> {
    let mut report = Report::new();
    let size = std::fs::metadata(knarr_bin())?.len();
    report.insert("binary_bytes".to_owned(), json!(size));
    report.insert("fsync_per_second".to_owned(), json!(disk::fsyncs()?));
    let only: Vec<String> = std::env::args().skip(1).collect();
    for (name, measure) in SECTIONS {
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            eprintln!("{name}");
            if let Err(error) = measure(&mut report) {
                report.insert(format!("{name}_failed"), json!(format!("{error:#}")));
            }
        }
    }
    println!("{:#}", Value::Object(report));
    Ok(())
}

/// Measures something.
type Section = fn(&mut Report) -> Result<()>;

/// What is measured; arguments pick some of it.
const SECTIONS: [(&str, Section); 9] = [
    ("starts", starts),
    ("idle", node::whole),
    ("writes", writes),
    ("reads", reads),
    ("shares", cluster::shares),
    ("cluster", cluster::measure),
    ("joins", cluster::joins),
    ("addons", addons),
    ("addons_memory", memory::measure),
];

fn starts(report: &mut Report) -> Result<()> {
    report.insert("exec_to_readyz_ms".to_owned(), spread(&repeat(STARTS, node::exec_to_readyz)?));
    report.insert("exec_to_node_ready_ms".to_owned(), spread(&repeat(STARTS, node::exec_to_ready)?));
    Ok(())
}

fn writes(report: &mut Report) -> Result<()> {
    let server = Node::start_control_plane("bench")?;
    writes::measure(&server, &Api::new(&server.data_dir(), ADDRESS)?, ADDRESS, report)
}

/// Reads of a filled store, and watches of it.
fn reads(report: &mut Report) -> Result<()> {
    let server = Node::start_control_plane("bench")?;
    let api = Api::new(&server.data_dir(), ADDRESS)?;
    reads::measure(&server, &api, ADDRESS, report)?;
    watches::measure(&server, &api, report)
}

/// What the add-ons' own servers do.
fn addons(report: &mut Report) -> Result<()> {
    let node = Node::start("bench")?;
    names::measure(&node, report)?;
    ingress::measure(&node, report)
}

fn repeat(times: usize, measure: impl Fn() -> Result<Duration>) -> Result<Vec<Duration>> {
    (0..times).map(|_| measure()).collect()
}

/// Median and worst, in milliseconds.
fn spread(all: &[Duration]) -> Value {
    json!({"p50": percentile(all, 50), "worst": percentile(all, 100), "n": all.len()})
}

fn percentile(all: &[Duration], percent: usize) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(0.0, |d| (d.as_secs_f64() * 1e5).round() / 100.0)
}

/// Runs something within the node's network namespace.
fn on_machine<T: Send>(node: &Node, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    node.machine.run(work)
}

/// The server's own process: the harness knows that of `nsenter`, which becomes it.
fn server_pid(node: &Node) -> Result<u32> {
    let text = std::fs::read_to_string(node.data_dir().join("knarr.pid"))?;
    Ok(text.trim().parse()?)
}

/// The process of a pod that runs knarr.
fn process_of(uid: &str) -> Result<u32> {
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let read = |file: &str| std::fs::read(path.join(file)).unwrap_or_default();
        if String::from_utf8_lossy(&read("cgroup")).contains(uid)
            && read("cmdline").starts_with(b"/knarr\0addon\0")
        {
            return Ok(path.file_name().context("a number")?.to_string_lossy().parse()?);
        }
    }
    anyhow::bail!("pod {uid} has no process")
}

fn cpu_ticks(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name in brackets: fields 14 and 15 of proc_pid_stat(5) are user and system time.
    let fields: Vec<&str> = text.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
    let field = |at: usize| fields.get(at - 3).context("a field").and_then(|f| Ok(f.parse::<u64>()?));
    Ok(field(14)? + field(15)?)
}

fn rss_kib(pid: u32) -> Result<u64> {
    kib(pid, "VmRSS")
}

/// One of the figures of proc_pid_status(5).
fn kib(pid: u32, figure: &'static str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == figure).context(figure)?;
    Ok(value.split_whitespace().next().context("a number")?.parse()?)
}
