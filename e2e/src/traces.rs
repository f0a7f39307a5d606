//! What a machine has that a node may leave behind.

use crate::node::Node;
use anyhow::{Context, Result, ensure};

/// Links, routes, rules and mounts of a node's machine, to be compared with those of another time.
///
/// # Errors
/// When they cannot be listed.
pub fn of(node: &Node) -> Result<String> {
    let folder = node.data_dir();
    let folder = folder.parent().context("a folder")?.display().to_string();
    node.machine.shell(&format!(
        "ip -o link | sed 's/^[0-9]*: //'; ip -4 route show table all; nft list ruleset; grep -c '{folder}' /proc/mounts || true"
    ))
}

/// The cgroup that the pods of a node are in, by its name.
///
/// # Errors
/// When no pod runs.
pub fn cgroup_of_pods(node: &Node) -> Result<String> {
    let tasks = node.run("ctr tasks ls")?;
    let pid = tasks.lines().nth(1).and_then(|line| line.split_whitespace().nth(1)).context("a task")?;
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let name = cgroups.lines().find_map(|line| line.split('/').find(|part| part.starts_with("kubepods")));
    Ok(name.context("a cgroup")?.to_owned())
}

/// Fails while a cgroup of that name is there.
///
/// # Errors
/// With all that are there.
pub fn cgroup_is_gone(node: &Node, name: &str) -> Result<()> {
    let left = node.machine.shell(&format!("find /sys/fs/cgroup -maxdepth 2 -name '{name}'"))?;
    ensure!(left.is_empty(), "cgroups are left: {left}");
    Ok(())
}
