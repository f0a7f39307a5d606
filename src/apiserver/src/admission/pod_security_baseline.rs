//! The checks of level baseline.

use std::collections::BTreeSet;

use serde_json::Value;

use super::pod_security_checks::{Pod, Violation, named, plural, quoted};
use super::support::{items, text};

/// Which capabilities may be added.
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
/// Which sysctls may be set, and the minor version since which.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];
/// Which SELinux types may be set, and the minor version since which.
const SELINUX_TYPES: [(&str, u32); 5] = [
    ("", 0),
    ("container_t", 0),
    ("container_init_t", 0),
    ("container_kvm_t", 0),
    ("container_engine_t", 31),
];
/// Where containers name hosts that are asked.
const PROBES: [&str; 5] =
    ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
const SECCOMP: &str = "/securityContext/seccompProfile/type";

/// The capabilities of a list (`add`, `drop`) of a container.
pub(super) fn listed<'a>(container: &'a Value, list: &str) -> Vec<&'a str> {
    let list = items(container, &format!("/securityContext/capabilities/{list}"));
    list.iter().filter_map(Value::as_str).collect()
}

/// Which containers add capabilities that they may not; `None` when none does.
pub(super) fn added(pod: &Pod<'_>, may: impl Fn(&str) -> bool) -> Option<String> {
    let extra = |one: &Value| listed(one, "add").iter().any(|name| !may(name));
    let names = pod.those(extra);
    let all: BTreeSet<&str> =
        pod.containers.iter().flat_map(|one| listed(one, "add")).filter(|name| !may(name)).collect();
    (!names.is_empty()).then(|| {
        format!("{} must not include {} in securityContext.capabilities.add", named(&names), quoted(&all))
    })
}

pub(super) fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    const FIELD: &str = "/securityContext/appArmorProfile/type";
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let good = |kind: &str| matches!(kind, "RuntimeDefault" | "Localhost");
    let bad = |one: &Value| one.pointer(FIELD).and_then(Value::as_str).is_some_and(|kind| !good(kind));
    let mut values: Vec<String> = pod.bad_values(FIELD, good).into_iter().map(str::to_owned).collect();
    let annotated: BTreeSet<String> = pod
        .annotations
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(ANNOTATION))
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(_, text)| {
            !(text.is_empty() || *text == "runtime/default" || text.starts_with("localhost/"))
        })
        .map(|(key, text)| format!("{key}={text:?}"))
        .collect();
    let notes = plural(annotated.len(), "annotation", "annotations").to_owned();
    let setters = pod.setters(bad).into_iter().chain((!annotated.is_empty()).then_some(notes));
    let setters: Vec<String> = setters.collect();
    values.extend(annotated);
    if values.is_empty() {
        return None;
    }
    let reason = plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
    let detail =
        format!("{} must not set AppArmor profile type to {}", setters.join(" and "), quoted(&values));
    Violation::some(reason, detail)
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let detail = added(pod, |name| CAPABILITIES.contains(&name))?;
    Violation::some("non-default capabilities", detail)
}

pub(super) fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let used: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.spec.get(field) == Some(&Value::Bool(true)))
        .map(|field| format!("{field}=true"))
        .collect();
    if used.is_empty() { None } else { Violation::some("host namespaces", used.join(", ")) }
}

pub(super) fn host_path(pod: &Pod<'_>) -> Option<Violation> {
    let names: Vec<&str> = items(pod.spec, "/volumes")
        .iter()
        .filter(|volume| volume.get("hostPath").is_some_and(|path| !path.is_null()))
        .map(|volume| text(volume, "/name"))
        .collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural(names.len(), "volume", "volumes"), quoted(&names));
    Violation::some("hostPath volumes", detail)
}

pub(super) fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let ports = |container: &Value| -> Vec<String> {
        let used = items(container, "/ports").iter().filter_map(|port| port.get("hostPort")?.as_i64());
        used.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let names = pod.those(|container| !ports(container).is_empty());
    if names.is_empty() {
        return None;
    }
    let all: BTreeSet<String> = pod.containers.iter().flat_map(|container| ports(container)).collect();
    let detail = format!(
        "{} {} {} {}",
        named(&names),
        plural(names.len(), "uses", "use"),
        plural(all.len(), "hostPort", "hostPorts"),
        all.into_iter().collect::<Vec<_>>().join(", ")
    );
    Violation::some("hostPort", detail)
}

pub(super) fn host_probes(pod: &Pod<'_>) -> Option<Violation> {
    let hosts = |container: &Value| -> Vec<String> {
        let all = PROBES.iter().flat_map(|place| {
            ["httpGet", "tcpSocket"].map(|kind| text(container, &format!("{place}/{kind}/host")).to_owned())
        });
        all.filter(|host| !host.is_empty()).collect()
    };
    let mut names = pod.those(|container| !hosts(container).is_empty());
    if names.is_empty() {
        return None;
    }
    names.sort_unstable();
    let all: BTreeSet<String> = pod.containers.iter().flat_map(|container| hosts(container)).collect();
    let detail = format!(
        "{} {} {} {}",
        named(&names),
        plural(names.len(), "uses", "use"),
        plural(all.len(), "probe or lifecycle host", "probe or lifecycle hosts"),
        quoted(&all)
    );
    Violation::some("probe or lifecycle host", detail)
}

pub(super) fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let privileged = |one: &Value| one.pointer("/securityContext/privileged") == Some(&Value::Bool(true));
    let names = pod.those(privileged);
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must not set securityContext.privileged=true", named(&names));
    Violation::some("privileged", detail)
}

/// Since 1.35 a pod in a user namespace of its own may see all of /proc.
pub(super) fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    if pod.version.has(35) && pod.has_own_users() { None } else { proc_mount_everywhere(pod) }
}

pub(super) fn proc_mount_everywhere(pod: &Pod<'_>) -> Option<Violation> {
    let other = |one: &Value| text(one, "/securityContext/procMount").to_owned();
    let is_bad = |kind: &str| !matches!(kind, "" | "Default");
    let names = pod.those(|one| is_bad(&other(one)));
    if names.is_empty() {
        return None;
    }
    let all: BTreeSet<String> =
        pod.containers.iter().map(|one| other(one)).filter(|kind| is_bad(kind)).collect();
    let detail = format!("{} must not set securityContext.procMount to {}", named(&names), quoted(&all));
    Violation::some("procMount", detail)
}

pub(super) fn selinux(pod: &Pod<'_>) -> Option<Violation> {
    const OPTIONS: &str = "/securityContext/seLinuxOptions";
    let good =
        |kind: &str| SELINUX_TYPES.iter().any(|(allowed, since)| *allowed == kind && pod.version.has(*since));
    let sets = |one: &Value, field: &str| !text(one, &format!("{OPTIONS}/{field}")).is_empty();
    let of_type = |one: &Value| !good(text(one, &format!("{OPTIONS}/type")));
    let setters = pod.setters(|one| of_type(one) || sets(one, "user") || sets(one, "role"))?;
    let mut details = Vec::new();
    let types = pod.bad_values(&format!("{OPTIONS}/type"), good);
    if !types.is_empty() {
        details.push(format!("{} {}", plural(types.len(), "type", "types"), quoted(&types)));
    }
    for field in ["user", "role"] {
        if pod.setters(|one| sets(one, field)).is_some() {
            details.push(format!("{field} may not be set"));
        }
    }
    let detail = format!("{setters} set forbidden securityContext.seLinuxOptions: {}", details.join("; "));
    Violation::some("seLinuxOptions", detail)
}

/// Annotations had it before 1.19 brought fields.
pub(super) fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.version.has(19) { seccomp_fields(pod) } else { seccomp_annotations(pod) }
}

pub(super) fn is_seccomp(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

/// Profiles that are set and may not be.
pub(super) fn seccomp_fields(pod: &Pod<'_>) -> Option<Violation> {
    let bad =
        |one: &Value| one.pointer(SECCOMP).and_then(Value::as_str).is_some_and(|kind| !is_seccomp(kind));
    let setters = pod.setters(bad)?;
    let values = quoted(&pod.bad_values(SECCOMP, is_seccomp));
    let detail = format!("{setters} must not set securityContext.seccompProfile.type to {values}");
    Violation::some("seccompProfile", detail)
}

fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let keys = pod
        .containers
        .iter()
        .map(|one| format!("container.seccomp.security.alpha.kubernetes.io/{}", text(one, "/name")));
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned()).chain(keys);
    let bad: BTreeSet<String> = keys
        .filter_map(|key| {
            let text = pod.annotations?.get(&key)?.as_str()?;
            let good = matches!(text, "runtime/default" | "docker/default") || text.starts_with("localhost/");
            (!good).then(|| format!("{key}={text:?}"))
        })
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural(bad.len(), "annotation", "annotations");
    let detail = format!("forbidden {word} {}", bad.into_iter().collect::<Vec<_>>().join(", "));
    Violation::some("seccompProfile", detail)
}

pub(super) fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let allowed =
        |name: &str| SYSCTLS.iter().any(|(allowed, since)| *allowed == name && pod.version.has(*since));
    let names: Vec<&str> = items(pod.spec, "/securityContext/sysctls")
        .iter()
        .map(|sysctl| text(sysctl, "/name"))
        .filter(|name| !allowed(name))
        .collect();
    if names.is_empty() { None } else { Violation::some("forbidden sysctls", names.join(", ")) }
}

pub(super) fn windows_host_process(pod: &Pod<'_>) -> Option<Violation> {
    const FIELD: &str = "/securityContext/windowsOptions/hostProcess";
    let setters = pod.setters(|one| one.pointer(FIELD) == Some(&Value::Bool(true)))?;
    let detail = format!("{setters} must not set securityContext.windowsOptions.hostProcess=true");
    Violation::some("hostProcess", detail)
}
