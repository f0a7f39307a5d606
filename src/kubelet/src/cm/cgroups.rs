//! The cgroup tree of pods on cgroup v1 and v2, cgroupfs driver:
//! `/<root>`, `/<root>/burstable`, `/<root>/besteffort`, and one `pod<uid>` per pod below its class.

use super::limits::{CpuLimits, milli_cpu_to_shares, pod_limits};
use crate::pod;
use crate::resources::{self, QosClass};
use k8s_openapi::api::core::v1::Pod;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where the kernel's cgroup file systems are mounted everywhere.
const MOUNT: &str = "/sys/fs/cgroup";
/// The v1 controllers whose files the kubelet writes; runc makes directories in the others itself.
const LIMITED_V1: [&str; 3] = ["cpu", "memory", "pids"];
/// The v2 controllers that containers need below the root.
const DELEGATED_V2: [&str; 5] = ["cpuset", "cpu", "io", "memory", "pids"];

/// A cgroup could not be made, limited or removed.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// Making a directory failed.
    #[error("making cgroup {path}")]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Writing a limit failed.
    #[error("writing {value:?} to {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A limit would be below what is used.
    #[error("attempting to set pod memory limit ({limit}) below current usage ({used})")]
    MemoryInUse {
        /// Bytes.
        limit: i64,
        /// Bytes, page cache included.
        used: i64,
    },
}

/// Access to the cgroup tree under one root.
#[derive(Debug, Clone)]
pub struct Cgroups {
    mount: PathBuf,
    root: String,
    version2: bool,
}

impl Cgroups {
    /// The machine's tree; `root` is the name of the top group, `kubepods` as a rule.
    pub fn new(root: &str) -> Self {
        Self::at(Path::new(MOUNT), root)
    }

    fn at(mount: &Path, root: &str) -> Self {
        let version2 = mount.join("cgroup.controllers").exists();
        Self { mount: mount.to_owned(), root: root.trim_matches('/').to_owned(), version2 }
    }

    /// Whether the machine has the unified hierarchy.
    pub fn is_version2(&self) -> bool {
        self.version2
    }

    /// Whether the kernel can limit swap; asking for it where it cannot fails. Known after [`Self::set_up`].
    pub fn limits_swap(&self) -> bool {
        let top = self.class_path(QosClass::Guaranteed);
        let file = if self.version2 {
            under(&self.mount, &top).join("memory.swap.max")
        } else {
            under(&self.mount.join("memory"), &top).join("memory.memsw.limit_in_bytes")
        };
        file.exists()
    }

    /// The pod's group as CRI's `cgroup_parent` wants it: absolute within the cgroup file system.
    pub fn pod_path(&self, pod: &Pod) -> String {
        format!("{}/pod{}", self.class_path(resources::qos_class(pod)), pod::uid(pod))
    }

    fn class_path(&self, class: QosClass) -> String {
        match class {
            QosClass::Guaranteed => format!("/{}", self.root),
            QosClass::Burstable => format!("/{}/burstable", self.root),
            QosClass::BestEffort => format!("/{}/besteffort", self.root),
        }
    }

    /// Makes the top groups; `cpu_milli` and `memory` are what pods may use of the node, `None` unlimited.
    ///
    /// # Errors
    /// When the kernel refuses a directory: without that no pod can run.
    pub fn set_up(&self, cpu_milli: i64, memory: Option<i64>) -> Result<(), CgroupError> {
        if self.version2 {
            self.delegate(&self.mount);
        }
        for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
            self.make(&self.class_path(class))?;
        }
        let top = CpuLimits { shares: milli_cpu_to_shares(cpu_milli), quota: None, period: 0, memory };
        self.limit(&self.class_path(QosClass::Guaranteed), &top)?;
        let least = CpuLimits { shares: milli_cpu_to_shares(0), ..CpuLimits::default() };
        self.limit(&self.class_path(QosClass::BestEffort), &least)
    }

    /// Gives the burstable class the CPU weight that its pods asked for.
    ///
    /// # Errors
    /// When the kernel refuses the weight.
    pub fn weigh_burstable<'a>(&self, pods: impl Iterator<Item = &'a Pod>) -> Result<(), CgroupError> {
        let milli = pods
            .filter(|pod| resources::qos_class(pod) == QosClass::Burstable)
            .map(|pod| resources::pod_request(pod, "cpu"))
            .fold(0_i64, i64::saturating_add);
        let limits = CpuLimits { shares: milli_cpu_to_shares(milli), ..CpuLimits::default() };
        self.limit(&self.class_path(QosClass::Burstable), &limits)
    }

    /// Makes the pod's group and writes its limits. Idempotent: also how a resize reaches the pod.
    ///
    /// # Errors
    /// When the kernel refuses the directory or a limit. [`CgroupError::MemoryInUse`] before anything has changed.
    pub fn apply_pod(&self, pod: &Pod, pids: Option<i64>) -> Result<(), CgroupError> {
        let path = self.pod_path(pod);
        let limits = pod_limits(pod);
        self.make(&path)?;
        self.keep_in_use(&path, limits.memory)?;
        self.limit(&path, &limits)?;
        if let Some(pids) = pids {
            self.write("pids", &path, "pids.max", pids.to_string())?;
        }
        Ok(())
    }

    /// Removes a pod's groups wherever they are: in all classes, and all v1 hierarchies. Processes that are left in them are
    /// killed: a runtime that was killed itself knows no more of a container that it was making. Returns whether none is left;
    /// those that were killed take a moment to end.
    pub fn end_pod(&self, uid: &str) -> bool {
        let mut ended = true;
        for hierarchy in self.hierarchies() {
            for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
                let group = under(&hierarchy, &format!("{}/pod{uid}", self.class_path(class)));
                ended &= !kill_tree(&group);
                remove_tree(&group);
            }
        }
        ended
    }

    /// Removes the whole tree, as far as no process is left in it.
    pub fn remove_all(&self) {
        for hierarchy in self.hierarchies() {
            remove_tree(&under(&hierarchy, &self.root));
        }
    }

    /// The uids of pods that have a group.
    pub fn pods(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for hierarchy in self.hierarchies() {
            for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
                for entry in entries(&under(&hierarchy, &self.class_path(class))) {
                    if let Some(uid) = entry.strip_prefix("pod") {
                        found.insert(uid.to_owned());
                    }
                }
            }
        }
        found
    }

    fn hierarchies(&self) -> Vec<PathBuf> {
        if self.version2 {
            return vec![self.mount.clone()];
        }
        entries(&self.mount)
            .into_iter()
            .map(|name| self.mount.join(name))
            .filter(|path| path.is_dir())
            .collect()
    }

    fn make(&self, path: &str) -> Result<(), CgroupError> {
        if self.version2 {
            let mut directory = self.mount.clone();
            for part in path.split('/').filter(|part| !part.is_empty()) {
                directory.push(part);
                create(&directory)?;
                self.delegate(&directory);
            }
            return Ok(());
        }
        for controller in LIMITED_V1 {
            let hierarchy = self.mount.join(controller);
            if hierarchy.is_dir() {
                let directory = under(&hierarchy, path);
                create(&directory)?;
                if controller == "memory" {
                    // Already so where the kernel has no non-hierarchical mode any more.
                    let _ = std::fs::write(directory.join("memory.use_hierarchy"), "1");
                }
            }
        }
        Ok(())
    }

    /// Passes controllers on to the children of a v2 group. A controller that the machine lacks is no error.
    fn delegate(&self, directory: &Path) {
        let available = std::fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
        let control = directory.join("cgroup.subtree_control");
        let enabled = std::fs::read_to_string(&control).unwrap_or_default();
        for controller in DELEGATED_V2 {
            let has = |text: &str| text.split_whitespace().any(|word| word == controller);
            if !has(&available) || has(&enabled) {
                continue;
            }
            if let Err(error) = std::fs::write(&control, format!("+{controller}")) {
                let busy = error.raw_os_error() == Some(libc::EBUSY);
                if busy && evacuate(directory) && std::fs::write(&control, format!("+{controller}")).is_ok() {
                    continue;
                }
                tracing::warn!(directory = %directory.display(), controller, %error, "cgroup controller not delegated");
            }
        }
    }

    /// Refuses to lower a limit of memory below what is used: v1's kernel answers EBUSY, v2's begins to kill.
    fn keep_in_use(&self, path: &str, limit: Option<i64>) -> Result<(), CgroupError> {
        let files = if self.version2 {
            ["memory.max", "memory.current"]
        } else {
            ["memory.limit_in_bytes", "memory.usage_in_bytes"]
        };
        let [now, used] = files.map(|file| {
            let text = std::fs::read_to_string(self.file("memory", path, file)).ok()?;
            text.trim().parse::<i64>().ok()
        });
        // `max` is no number.
        let now = now.unwrap_or(i64::MAX);
        match (limit, used) {
            (Some(limit), Some(used)) if limit < now && limit < used => {
                Err(CgroupError::MemoryInUse { limit, used })
            }
            _ => Ok(()),
        }
    }

    fn limit(&self, path: &str, limits: &CpuLimits) -> Result<(), CgroupError> {
        if self.version2 {
            self.write("cpu", path, "cpu.weight", shares_to_weight(limits.shares).to_string())?;
            if limits.period > 0 {
                let quota = limits.quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
                self.write("cpu", path, "cpu.max", format!("{quota} {}", limits.period))?;
            }
            if let Some(memory) = limits.memory {
                self.write("memory", path, "memory.max", memory.to_string())?;
            }
            return Ok(());
        }
        self.write("cpu", path, "cpu.shares", limits.shares.to_string())?;
        if limits.period > 0 {
            self.write("cpu", path, "cpu.cfs_period_us", limits.period.to_string())?;
            self.write("cpu", path, "cpu.cfs_quota_us", limits.quota.unwrap_or(-1).to_string())?;
        }
        if let Some(memory) = limits.memory {
            self.write("memory", path, "memory.limit_in_bytes", memory.to_string())?;
        }
        Ok(())
    }

    fn file(&self, controller: &str, path: &str, file: &str) -> PathBuf {
        let base = if self.version2 { self.mount.clone() } else { self.mount.join(controller) };
        under(&base, path).join(file)
    }

    fn write(&self, controller: &str, path: &str, file: &str, value: String) -> Result<(), CgroupError> {
        let path = self.file(controller, path, file);
        if !path.exists() {
            // The kernel was built without this controller: nothing can be limited by it.
            tracing::debug!(path = %path.display(), "no such cgroup file");
            return Ok(());
        }
        std::fs::write(&path, &value).map_err(|source| CgroupError::Write { path, value, source })
    }
}

/// v1's 2..262144 onto v2's 1..10000, as the OCI runtimes do.
fn shares_to_weight(shares: i64) -> i64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Moves the processes of a group that is not the machine's root (a container's own namespace) into a leaf:
/// v2 lets no group have both processes and delegated controllers.
fn evacuate(directory: &Path) -> bool {
    let leaf = directory.join("init");
    if std::fs::create_dir_all(&leaf).is_err() {
        return false;
    }
    let processes = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    processes.lines().all(|process| std::fs::write(leaf.join("cgroup.procs"), process).is_ok())
}

fn create(directory: &Path) -> Result<(), CgroupError> {
    std::fs::create_dir_all(directory)
        .map_err(|source| CgroupError::Create { path: directory.to_owned(), source })
}

fn under(base: &Path, path: &str) -> PathBuf {
    base.join(path.trim_start_matches('/'))
}

fn entries(directory: &Path) -> Vec<String> {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Kills what is in a group and those below it. Returns whether there was something.
fn kill_tree(group: &Path) -> bool {
    let processes = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let processes = processes.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw);
    // What is not of this PID namespace is told as 0, which would be ourselves.
    let processes: Vec<Pid> = processes.filter(|process| process.as_raw() > 0).collect();
    for process in &processes {
        let _ = kill(*process, Signal::SIGKILL);
    }
    let freezer = group.join("freezer.state");
    if freezer.exists() {
        // v1 lets nothing end that is frozen.
        let _ = std::fs::write(freezer, "THAWED");
    }
    let below = entries(group).into_iter().map(|name| group.join(name)).filter(|path| path.is_dir());
    below.fold(!processes.is_empty(), |found, group| kill_tree(&group) || found)
}

/// Groups are removed leaf first, by rmdir alone: their files cannot be unlinked.
fn remove_tree(directory: &Path) {
    for name in entries(directory) {
        let child = directory.join(name);
        if child.is_dir() {
            remove_tree(&child);
        }
    }
    let _ = std::fs::remove_dir(directory);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::process::ExitStatusExt;

    fn burstable() -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u1"}, "spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "1Mi"}}}]}}))
        .unwrap()
    }

    #[test]
    fn version_one_limits_land_in_their_hierarchies() {
        let directory = tempfile::tempdir().unwrap();
        let group = |controller: &str| directory.path().join(controller).join("kubepods/burstable/podu1");
        for (controller, file) in [
            ("cpu", "cpu.shares"),
            ("cpu", "cpu.cfs_period_us"),
            ("cpu", "cpu.cfs_quota_us"),
            ("memory", "memory.limit_in_bytes"),
            ("pids", "pids.max"),
        ] {
            std::fs::create_dir_all(group(controller)).unwrap();
            std::fs::write(group(controller).join(file), "").unwrap();
        }
        let cgroups = Cgroups::at(directory.path(), "kubepods");
        cgroups.apply_pod(&burstable(), Some(100)).unwrap();
        let read =
            |controller: &str, file: &str| std::fs::read_to_string(group(controller).join(file)).unwrap();
        assert_eq!(read("cpu", "cpu.shares"), "512");
        assert_eq!(read("cpu", "cpu.cfs_quota_us"), "-1");
        assert_eq!(read("memory", "memory.limit_in_bytes"), "1048576");
        assert_eq!(read("pids", "pids.max"), "100");
        assert!(cgroups.pods().contains("u1"));
    }

    #[test]
    fn version_two_limits_land_in_one_directory_and_never_below_what_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let group = directory.path().join("kubepods/burstable/podu1");
        std::fs::create_dir_all(&group).unwrap();
        let write = |file: &str, text: &str| std::fs::write(group.join(file), text).unwrap();
        for file in ["cpu.weight", "cpu.max", "memory.max", "memory.current", "pids.max"] {
            write(file, "");
        }
        std::fs::write(directory.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        let cgroups = Cgroups::at(directory.path(), "kubepods");
        let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap();
        cgroups.apply_pod(&burstable(), Some(100)).unwrap();
        assert_eq!([read("cpu.weight"), read("cpu.max")], ["20", "max 100000"]);
        assert_eq!([read("memory.max"), read("pids.max")], ["1048576", "100"]);

        for (now, used, refused) in [
            ("max\n", "2097152\n", true),
            ("4194304\n", "2097152\n", true),
            ("4194304\n", "1048576\n", false),
            // The kernel lets a group be a little above its limit.
            ("1048576\n", "1052672\n", false),
        ] {
            write("memory.max", now);
            write("memory.current", used);
            write("cpu.weight", "1");
            let applied = cgroups.apply_pod(&burstable(), None);
            assert_eq!(matches!(applied, Err(CgroupError::MemoryInUse { .. })), refused, "{now}{used}");
            assert_eq!(read("memory.max") == "1048576", !refused, "{now}{used}");
            assert_eq!(read("cpu.weight") == "1", refused, "{now}{used}");
        }
    }

    #[test]
    fn processes_that_a_pod_leaves_are_killed() {
        let directory = tempfile::tempdir().unwrap();
        let group = directory.path().join("memory/kubepods/burstable/podu1/container");
        std::fs::create_dir_all(&group).unwrap();
        let mut process = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        std::fs::write(group.join("cgroup.procs"), format!("0\n{}\n", process.id())).unwrap();
        let cgroups = Cgroups::at(directory.path(), "kubepods");
        assert!(cgroups.end_pod("u2"), "another pod's");
        assert!(process.try_wait().unwrap().is_none());
        assert!(!cgroups.end_pod("u1"));
        assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGKILL));
        std::fs::remove_file(group.join("cgroup.procs")).unwrap();
        assert!(cgroups.end_pod("u1"));
        assert!(!group.exists());
    }

    #[test]
    fn shares_map_onto_weights() {
        assert_eq!([shares_to_weight(2), shares_to_weight(1024), shares_to_weight(262_144)], [1, 39, 10000]);
    }
}
