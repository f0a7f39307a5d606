//! The Pod Security Standards, levels baseline and restricted, in the form that each version of Kubernetes gave them.
//!
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::support::{CONTAINER_LISTS, items, text};
use super::{pod_security_baseline as baseline, pod_security_restricted as restricted};

/// How strict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// The minor version of Kubernetes whose form of the standards is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u32);

impl Version {
    pub(super) const LATEST: Self = Self(u32::MAX);

    /// Reads `latest` or `v1.x`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::LATEST);
        }
        let minor = text.strip_prefix("v1.")?;
        let canonical = minor == "0" || minor.starts_with(|first: char| ('1'..='9').contains(&first));
        let digits = minor.bytes().all(|byte| byte.is_ascii_digit());
        if canonical && digits { minor.parse().ok().map(Self) } else { None }
    }

    /// Whether it has what a minor version brought.
    pub(super) fn has(self, minor: u32) -> bool {
        self.0 >= minor
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::LATEST => formatter.write_str("latest"),
            Self(minor) => write!(formatter, "v1.{minor}"),
        }
    }
}

/// One check that a pod does not pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

impl Violation {
    pub(super) fn some(reason: &'static str, detail: String) -> Option<Self> {
        Some(Self { reason, detail })
    }
}

/// One check of the standards.
struct Check {
    level: Level,
    /// The minor version that brought it.
    since: u32,
    /// The minor version from which on another stands in its place at level restricted.
    replaced: u32,
    run: fn(&Pod<'_>) -> Option<Violation>,
}

/// For checks that stay at every level.
const NEVER: u32 = u32::MAX;

const fn check(level: Level, since: u32, replaced: u32, run: fn(&Pod<'_>) -> Option<Violation>) -> Check {
    Check { level, since, replaced, run }
}

/// In the order in which they are told.
const CHECKS: [Check; 19] = [
    check(Level::Baseline, 0, NEVER, baseline::app_armor),
    check(Level::Baseline, 0, 22, baseline::capabilities),
    check(Level::Baseline, 0, NEVER, baseline::host_namespaces),
    check(Level::Baseline, 0, 0, baseline::host_path),
    check(Level::Baseline, 0, NEVER, baseline::host_ports),
    check(Level::Baseline, 34, NEVER, baseline::host_probes),
    check(Level::Baseline, 0, NEVER, baseline::privileged),
    check(Level::Baseline, 0, 35, baseline::proc_mount),
    check(Level::Baseline, 0, NEVER, baseline::selinux),
    check(Level::Baseline, 0, 19, baseline::seccomp),
    check(Level::Baseline, 0, NEVER, baseline::sysctls),
    check(Level::Baseline, 0, NEVER, baseline::windows_host_process),
    check(Level::Restricted, 8, NEVER, restricted::escalation),
    check(Level::Restricted, 22, NEVER, restricted::capabilities),
    check(Level::Restricted, 35, NEVER, baseline::proc_mount_everywhere),
    check(Level::Restricted, 0, NEVER, restricted::volumes),
    check(Level::Restricted, 0, NEVER, restricted::non_root),
    check(Level::Restricted, 23, NEVER, restricted::user),
    check(Level::Restricted, 19, NEVER, restricted::seccomp),
];

/// What a pod does not pass at a level, in the form that a version gave it.
pub(super) fn violations(
    level: Level,
    version: Version,
    spec: &Value,
    annotations: Option<&Map<String, Value>>,
) -> Vec<Violation> {
    if level == Level::Privileged {
        return Vec::new();
    }
    let containers: Vec<&Value> =
        CONTAINER_LISTS.iter().flat_map(|list| items(spec, &format!("/{list}"))).collect();
    let pod = Pod { spec, annotations, containers, version };
    let asked = |check: &&Check| {
        check.level <= level
            && version.has(check.since)
            && !(level == Level::Restricted && check.replaced != NEVER && version.has(check.replaced))
    };
    CHECKS.iter().filter(asked).filter_map(|check| (check.run)(&pod)).collect()
}

/// A pod, with the containers of all lists, and the version of the standards that it is held to.
pub(super) struct Pod<'a> {
    pub(super) spec: &'a Value,
    pub(super) annotations: Option<&'a Map<String, Value>>,
    pub(super) containers: Vec<&'a Value>,
    pub(super) version: Version,
}

impl<'a> Pod<'a> {
    /// The names of the containers of which something holds.
    pub(super) fn those(&self, holds: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers.iter().filter(|one| holds(one)).map(|one| text(one, "/name")).collect()
    }

    /// Who of the pod itself and its containers something holds of, such as `pod and container "a"`.
    pub(super) fn setters(&self, holds: impl Fn(&Value) -> bool) -> Option<String> {
        let names = self.those(&holds);
        let pod = holds(self.spec).then(|| "pod".to_owned());
        let all: Vec<String> = pod.into_iter().chain((!names.is_empty()).then(|| named(&names))).collect();
        (!all.is_empty()).then(|| all.join(" and "))
    }

    /// The different values at a pointer in the pod and its containers that are not good, ordered.
    pub(super) fn bad_values(&self, pointer: &str, good: impl Fn(&str) -> bool) -> BTreeSet<&'a str> {
        let everywhere = std::iter::once(self.spec).chain(self.containers.iter().copied());
        everywhere
            .filter_map(|one| one.pointer(pointer).and_then(Value::as_str))
            .filter(|text| !good(text))
            .collect()
    }

    /// Whether it runs in a user namespace of its own, in which root is nobody outside (KEP-127).
    pub(super) fn has_own_users(&self) -> bool {
        self.spec.get("hostUsers") == Some(&Value::Bool(false))
    }

    /// Whether it is exempt from what only Linux knows.
    pub(super) fn is_windows(&self) -> bool {
        self.version.has(25) && text(self.spec, "/os/name") == "windows"
    }
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn named(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

/// All in quotes, with commas between.
pub(super) fn quoted<'a>(texts: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(|text| format!("\"{}\"", text.as_ref())).collect();
    quoted.join(", ")
}

/// One word or the other.
pub(super) fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

#[cfg(test)]
#[path = "pod_security_checks_tests.rs"]
mod tests;
