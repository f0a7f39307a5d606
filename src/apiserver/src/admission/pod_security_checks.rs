//! The checks of the Pod Security Standards, levels baseline and restricted, at their latest version.
//!
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

use serde_json::{Map, Value};

use super::support::{CONTAINER_LISTS, items, text};

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

/// One check that a pod does not pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

/// A pod's spec, with the containers of all lists.
struct Pod<'a> {
    spec: &'a Value,
    containers: Vec<&'a Value>,
    windows: bool,
}

const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SELINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
const RESTRICTED_VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What a pod does not pass at a level, in the order of the standard's names.
pub(super) fn violations(
    level: Level,
    spec: &Value,
    annotations: Option<&Map<String, Value>>,
) -> Vec<Violation> {
    if level == Level::Privileged {
        return Vec::new();
    }
    let containers: Vec<&Value> =
        CONTAINER_LISTS.iter().flat_map(|list| items(spec, &format!("/{list}"))).collect();
    let pod = Pod { spec, containers, windows: text(spec, "/os/name") == "windows" };
    let mut found = Vec::new();
    pod.host_namespaces(&mut found);
    pod.host_path(&mut found);
    pod.host_ports(&mut found);
    pod.host_probes(&mut found);
    pod.privileged(&mut found);
    pod.proc_mount(&mut found);
    pod.seccomp(level, &mut found);
    pod.selinux(&mut found);
    pod.sysctls(&mut found);
    pod.windows_host_process(&mut found);
    pod.app_armor(annotations, &mut found);
    if level == Level::Baseline {
        pod.capabilities_baseline(&mut found);
    } else {
        pod.escalation(&mut found);
        pod.capabilities_restricted(&mut found);
        pod.volumes_restricted(&mut found);
        pod.non_root(&mut found);
        pod.user(&mut found);
    }
    found
}

/// `container "a"` or `containers "a", "b"`, then `must` for one and many alike.
fn named(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("{} {}", if names.len() == 1 { "container" } else { "containers" }, quoted.join(", "))
}

impl<'a> Pod<'a> {
    /// The names of the containers of which something holds.
    fn those(&self, holds: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers.iter().filter(|one| holds(one)).map(|one| text(one, "/name")).collect()
    }

    fn host_namespaces(&self, found: &mut Vec<Violation>) {
        let used: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
            .into_iter()
            .filter(|field| self.spec.get(field).and_then(Value::as_bool) == Some(true))
            .map(|field| format!("{field}=true"))
            .collect();
        if !used.is_empty() {
            found.push(Violation { reason: "host namespaces", detail: used.join(", ") });
        }
    }

    fn host_path(&self, found: &mut Vec<Violation>) {
        let names: Vec<String> = items(self.spec, "/volumes")
            .iter()
            .filter(|volume| volume.get("hostPath").is_some_and(|path| !path.is_null()))
            .map(|volume| format!("{:?}", text(volume, "/name")))
            .collect();
        if !names.is_empty() {
            let word = if names.len() == 1 { "volume" } else { "volumes" };
            found.push(Violation {
                reason: "hostPath volumes",
                detail: format!("{word} {}", names.join(", ")),
            });
        }
    }

    fn host_ports(&self, found: &mut Vec<Violation>) {
        let ports = |container: &Value| -> Vec<String> {
            let used = items(container, "/ports").iter().filter_map(|port| port.get("hostPort")?.as_i64());
            used.filter(|port| *port != 0).map(|port| port.to_string()).collect()
        };
        let names = self.those(|container| !ports(container).is_empty());
        if !names.is_empty() {
            let mut all: Vec<String> =
                self.containers.iter().flat_map(|container| ports(container)).collect();
            all.sort();
            all.dedup();
            let word = if all.len() == 1 { "hostPort" } else { "hostPorts" };
            let verb = if names.len() == 1 { "uses" } else { "use" };
            found.push(Violation {
                reason: "hostPort",
                detail: format!("{} {verb} {word} {}", named(&names), all.join(", ")),
            });
        }
    }

    fn host_probes(&self, found: &mut Vec<Violation>) {
        const PLACES: [&str; 5] = [
            "/livenessProbe",
            "/readinessProbe",
            "/startupProbe",
            "/lifecycle/postStart",
            "/lifecycle/preStop",
        ];
        let names = self.those(|container| {
            PLACES.iter().any(|place| {
                ["httpGet", "tcpSocket"]
                    .iter()
                    .any(|kind| !text(container, &format!("{place}/{kind}/host")).is_empty())
            })
        });
        if !names.is_empty() {
            let verb = if names.len() == 1 { "uses" } else { "use" };
            found.push(Violation {
                reason: "probe or lifecycle host",
                detail: format!("{} {verb} probe or lifecycle hosts", named(&names)),
            });
        }
    }

    fn privileged(&self, found: &mut Vec<Violation>) {
        let privileged = |one: &Value| one.pointer("/securityContext/privileged") == Some(&Value::Bool(true));
        let names = self.those(privileged);
        if !names.is_empty() {
            let detail = format!("{} must not set securityContext.privileged=true", named(&names));
            found.push(Violation { reason: "privileged", detail });
        }
    }

    fn proc_mount(&self, found: &mut Vec<Violation>) {
        // In a user namespace of its own a pod may see all of /proc.
        if self.spec.get("hostUsers").and_then(Value::as_bool) == Some(false) {
            return;
        }
        let other = |one: &Value| !matches!(text(one, "/securityContext/procMount"), "" | "Default");
        let names = self.those(other);
        if !names.is_empty() {
            let detail = format!("{} must not set securityContext.procMount", named(&names));
            found.push(Violation { reason: "procMount", detail });
        }
    }

    fn seccomp(&self, level: Level, found: &mut Vec<Violation>) {
        if level == Level::Restricted && self.windows {
            return;
        }
        const PROFILE: &str = "/securityContext/seccompProfile/type";
        let allowed = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
        let of_pod = text(self.spec, PROFILE);
        let forbidden = |kind: &str| !kind.is_empty() && !allowed(kind);
        let mut details = Vec::new();
        if forbidden(of_pod) {
            details.push("pod".to_owned());
        }
        let names = self.those(|one| forbidden(text(one, PROFILE)));
        if !names.is_empty() {
            details.push(named(&names));
        }
        if !details.is_empty() {
            let detail = format!(
                "{} must not set securityContext.seccompProfile.type to \"Unconfined\"",
                details.join(" and ")
            );
            found.push(Violation { reason: "seccompProfile", detail });
            return;
        }
        if level == Level::Restricted && !allowed(of_pod) {
            let names = self.those(|one| text(one, PROFILE).is_empty());
            if !names.is_empty() {
                let detail = format!(
                    "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
                    named(&names)
                );
                found.push(Violation { reason: "seccompProfile", detail });
            }
        }
    }

    fn selinux(&self, found: &mut Vec<Violation>) {
        let bad = |one: &Value| {
            !SELINUX_TYPES.contains(&text(one, "/securityContext/seLinuxOptions/type"))
                || !text(one, "/securityContext/seLinuxOptions/user").is_empty()
                || !text(one, "/securityContext/seLinuxOptions/role").is_empty()
        };
        let mut details = Vec::new();
        if bad(self.spec) {
            details.push("pod".to_owned());
        }
        let names = self.those(bad);
        if !names.is_empty() {
            details.push(named(&names));
        }
        if !details.is_empty() {
            let detail = format!("{} set forbidden securityContext.seLinuxOptions", details.join(" and "));
            found.push(Violation { reason: "seLinuxOptions", detail });
        }
    }

    fn sysctls(&self, found: &mut Vec<Violation>) {
        let names: Vec<&str> = items(self.spec, "/securityContext/sysctls")
            .iter()
            .map(|sysctl| text(sysctl, "/name"))
            .filter(|name| !SYSCTLS.contains(name))
            .collect();
        if !names.is_empty() {
            found.push(Violation { reason: "forbidden sysctls", detail: names.join(", ") });
        }
    }

    fn windows_host_process(&self, found: &mut Vec<Violation>) {
        const FIELD: &str = "/securityContext/windowsOptions/hostProcess";
        let set = |one: &Value| one.pointer(FIELD) == Some(&Value::Bool(true));
        let names = self.those(set);
        if set(self.spec) || !names.is_empty() {
            let who = if names.is_empty() { "pod".to_owned() } else { named(&names) };
            let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
            found.push(Violation { reason: "hostProcess", detail });
        }
    }

    fn app_armor(&self, annotations: Option<&Map<String, Value>>, found: &mut Vec<Violation>) {
        const FIELD: &str = "/securityContext/appArmorProfile/type";
        const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
        let bad = |one: &Value| text(one, FIELD) == "Unconfined";
        let annotated = annotations.into_iter().flatten().any(|(key, value)| {
            let value = value.as_str().unwrap_or("");
            key.starts_with(ANNOTATION)
                && !(value.is_empty() || value == "runtime/default" || value.starts_with("localhost/"))
        });
        if bad(self.spec) || annotated || !self.those(bad).is_empty() {
            let detail = "must not set AppArmor profile type to \"Unconfined\"".to_owned();
            found.push(Violation { reason: "forbidden AppArmor profile", detail });
        }
    }

    fn capabilities_baseline(&self, found: &mut Vec<Violation>) {
        let extra = |one: &Value| -> Vec<String> {
            let added = items(one, "/securityContext/capabilities/add").iter().filter_map(Value::as_str);
            added.filter(|name| !CAPABILITIES.contains(name)).map(|name| format!("{name:?}")).collect()
        };
        let names = self.those(|one| !extra(one).is_empty());
        if !names.is_empty() {
            let mut all: Vec<String> = self.containers.iter().flat_map(|one| extra(one)).collect();
            all.sort();
            all.dedup();
            let detail = format!(
                "{} must not include {} in securityContext.capabilities.add",
                named(&names),
                all.join(", ")
            );
            found.push(Violation { reason: "non-default capabilities", detail });
        }
    }

    fn escalation(&self, found: &mut Vec<Violation>) {
        if self.windows {
            return;
        }
        let may = |one: &Value| {
            one.pointer("/securityContext/allowPrivilegeEscalation") != Some(&Value::Bool(false))
        };
        let names = self.those(may);
        if !names.is_empty() {
            let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&names));
            found.push(Violation { reason: "allowPrivilegeEscalation != false", detail });
        }
    }

    fn capabilities_restricted(&self, found: &mut Vec<Violation>) {
        if self.windows {
            return;
        }
        let list = |one: &Value, which: &str| -> Vec<String> {
            let list = items(one, &format!("/securityContext/capabilities/{which}"));
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let keeps = self.those(|one| !list(one, "drop").iter().any(|name| name == "ALL"));
        let extra = |one: &Value| -> Vec<String> {
            list(one, "add").into_iter().filter(|name| name != "NET_BIND_SERVICE").collect()
        };
        let adds = self.those(|one| !extra(one).is_empty());
        let mut details = Vec::new();
        if !keeps.is_empty() {
            details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeps)));
        }
        if !adds.is_empty() {
            let mut all: Vec<String> =
                self.containers.iter().flat_map(|one| extra(one)).map(|name| format!("{name:?}")).collect();
            all.sort();
            all.dedup();
            details.push(format!(
                "{} must not include {} in securityContext.capabilities.add",
                named(&adds),
                all.join(", ")
            ));
        }
        if !details.is_empty() {
            found.push(Violation { reason: "unrestricted capabilities", detail: details.join("; ") });
        }
    }

    fn volumes_restricted(&self, found: &mut Vec<Violation>) {
        let (mut names, mut kinds) = (Vec::new(), Vec::new());
        for volume in items(self.spec, "/volumes") {
            let sources = volume.as_object().into_iter().flatten().filter(|(key, _)| *key != "name");
            for (kind, _) in sources.filter(|(kind, _)| !RESTRICTED_VOLUMES.contains(&kind.as_str())) {
                names.push(format!("{:?}", text(volume, "/name")));
                kinds.push(format!("{kind:?}"));
            }
        }
        kinds.sort();
        kinds.dedup();
        if !names.is_empty() {
            let (word, verb) = if names.len() == 1 { ("volume", "uses") } else { ("volumes", "use") };
            let kind_word = if kinds.len() == 1 { "type" } else { "types" };
            let detail = format!(
                "{word} {} {verb} restricted volume {kind_word} {}",
                names.join(", "),
                kinds.join(", ")
            );
            found.push(Violation { reason: "restricted volume types", detail });
        }
    }

    fn non_root(&self, found: &mut Vec<Violation>) {
        // In a user namespace of its own root is nobody outside.
        if self.spec.get("hostUsers").and_then(Value::as_bool) == Some(false) {
            return;
        }
        const FIELD: &str = "/securityContext/runAsNonRoot";
        let of_pod = self.spec.pointer(FIELD).and_then(Value::as_bool);
        let explicit = self.those(|one| one.pointer(FIELD) == Some(&Value::Bool(false)));
        let implicit = self.those(|one| !one.pointer(FIELD).is_some_and(Value::is_boolean));
        let detail = if of_pod == Some(false) && !implicit.is_empty() {
            "pod must not set securityContext.runAsNonRoot=false".to_owned()
        } else if !explicit.is_empty() {
            format!("{} must not set securityContext.runAsNonRoot=false", named(&explicit))
        } else if of_pod != Some(true) && !implicit.is_empty() {
            format!("pod or {} must set securityContext.runAsNonRoot=true", named(&implicit))
        } else {
            return;
        };
        found.push(Violation { reason: "runAsNonRoot != true", detail });
    }

    fn user(&self, found: &mut Vec<Violation>) {
        if self.spec.get("hostUsers").and_then(Value::as_bool) == Some(false) {
            return;
        }
        let root = |one: &Value| one.pointer("/securityContext/runAsUser").and_then(Value::as_i64) == Some(0);
        let mut details = Vec::new();
        if root(self.spec) {
            details.push("pod".to_owned());
        }
        let names = self.those(root);
        if !names.is_empty() {
            details.push(named(&names));
        }
        if !details.is_empty() {
            let detail = format!("{} must not set runAsUser=0", details.join(" and "));
            found.push(Violation { reason: "runAsUser=0", detail });
        }
    }
}

#[cfg(test)]
#[path = "pod_security_checks_tests.rs"]
mod tests;
