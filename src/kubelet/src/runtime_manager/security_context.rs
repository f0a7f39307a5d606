//! Security contexts as CRI wants them. Pure.

use crate::pod;
use k8s_cri::v1;
use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile,
};
use thiserror::Error;

/// Parts of `/proc` and `/sys` that containers must not see (`procMount: Default`).
const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Parts of `/proc` that containers may only read (`procMount: Default`).
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A container must not start as it is.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SecurityError {
    /// `runAsNonRoot` and user 0.
    #[error("container's runAsUser breaks non-root policy (pod: {0:?}, container: {1})")]
    RunAsRoot(String, String),
    /// `runAsNonRoot` and an image that runs as root.
    #[error("container has runAsNonRoot and image will run as root (pod: {0:?}, container: {1})")]
    ImageRoot(String, String),
    /// `runAsNonRoot` and an image with a user by name.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({2}), cannot verify user is non-root (pod: {0:?}, container: {1})"
    )]
    ImageUserName(String, String, String),
}

/// The user that an image runs as when nobody says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// By number.
    pub uid: Option<i64>,
    /// By name.
    pub name: String,
}

/// The sandbox's context: namespaces, groups, and the most of what its containers need.
pub fn sandbox_context(pod: &Pod) -> v1::LinuxSandboxSecurityContext {
    let context = pod::spec(pod).security_context.as_ref();
    let privileged = pod::containers(pod)
        .iter()
        .chain(pod::init_containers(pod))
        .any(|container| container.security_context.as_ref().and_then(|c| c.privileged).unwrap_or(false));
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, None)),
        selinux_options: context.and_then(|context| context.se_linux_options.as_ref()).map(selinux),
        run_as_user: context.and_then(|context| context.run_as_user).map(int64),
        run_as_group: context
            // CRI: a group needs a user beside it.
            .filter(|context| context.run_as_user.is_some())
            .and_then(|context| context.run_as_group)
            .map(int64),
        supplemental_groups: supplemental_groups(context),
        supplemental_groups_policy: groups_policy(context),
        privileged,
        // The pause process needs nothing more.
        seccomp: Some(profile(v1::security_profile::ProfileType::RuntimeDefault, "")),
        ..v1::LinuxSandboxSecurityContext::default()
    }
}

/// The context of one container. `target` is the id of the container whose processes an ephemeral one sees.
///
/// # Errors
/// When `runAsNonRoot` forbids it to start.
pub fn container_context(
    pod: &Pod,
    container: &Container,
    image_user: &ImageUser,
    target: Option<&str>,
) -> Result<v1::LinuxContainerSecurityContext, SecurityError> {
    let of_pod = pod::spec(pod).security_context.as_ref();
    let own = container.security_context.as_ref();
    let privileged = own.and_then(|own| own.privileged).unwrap_or(false);
    let user = own.and_then(|own| own.run_as_user).or(of_pod.and_then(|c| c.run_as_user));
    let group = own.and_then(|own| own.run_as_group).or(of_pod.and_then(|c| c.run_as_group));
    let non_root = own.and_then(|own| own.run_as_non_root).or(of_pod.and_then(|c| c.run_as_non_root));
    if non_root == Some(true) {
        verify_non_root(pod, container, user, image_user)?;
    }
    let capabilities = own.and_then(|own| own.capabilities.as_ref()).map(|capabilities| v1::Capability {
        add_capabilities: capabilities.add.clone().unwrap_or_default(),
        drop_capabilities: capabilities.drop.clone().unwrap_or_default(),
        add_ambient_capabilities: Vec::new(),
    });
    let unmasked = own.and_then(|own| own.proc_mount.as_deref()) == Some("Unmasked");
    let paths = |paths: &[&str]| {
        if unmasked || privileged {
            Vec::new()
        } else {
            paths.iter().map(|path| (*path).to_owned()).collect()
        }
    };
    let selinux_options = own
        .and_then(|own| own.se_linux_options.as_ref())
        .or(of_pod.and_then(|context| context.se_linux_options.as_ref()))
        .map(selinux);
    let seccomp_profile =
        own.and_then(|own| own.seccomp_profile.as_ref()).or(of_pod.and_then(|c| c.seccomp_profile.as_ref()));
    let apparmor_profile = own
        .and_then(|own| own.app_armor_profile.as_ref())
        .or(of_pod.and_then(|c| c.app_armor_profile.as_ref()));
    Ok(v1::LinuxContainerSecurityContext {
        capabilities,
        privileged,
        namespace_options: Some(namespaces(pod, target)),
        selinux_options,
        // The runtime takes the image's user only when it is told of none.
        run_as_user: user.or(image_user.uid).map(int64),
        run_as_username: if user.is_none() && image_user.uid.is_none() {
            image_user.name.clone()
        } else {
            String::new()
        },
        run_as_group: group.map(int64),
        readonly_rootfs: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        supplemental_groups: supplemental_groups(of_pod),
        supplemental_groups_policy: groups_policy(of_pod),
        no_new_privs: own.and_then(|own| own.allow_privilege_escalation) == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(if privileged {
            unconfined()
        } else {
            seccomp_profile.map_or_else(unconfined, seccomp)
        }),
        apparmor: apparmor(pod, container, apparmor_profile),
        ..v1::LinuxContainerSecurityContext::default()
    })
}

fn verify_non_root(
    pod: &Pod,
    container: &Container,
    user: Option<i64>,
    image_user: &ImageUser,
) -> Result<(), SecurityError> {
    let names = || (pod::describe(pod), container.name.clone());
    match user {
        Some(0) => {
            let (pod, container) = names();
            Err(SecurityError::RunAsRoot(pod, container))
        }
        Some(_) => Ok(()),
        None => match (image_user.uid, image_user.name.as_str()) {
            (Some(uid), _) if uid != 0 => Ok(()),
            (None, name) if !name.is_empty() => {
                let (pod, container) = names();
                Err(SecurityError::ImageUserName(pod, container, name.to_owned()))
            }
            _ => {
                let (pod, container) = names();
                Err(SecurityError::ImageRoot(pod, container))
            }
        },
    }
}

fn namespaces(pod: &Pod, target: Option<&str>) -> v1::NamespaceOption {
    let spec = pod::spec(pod);
    let node_or =
        |host: Option<bool>, other| if host == Some(true) { v1::NamespaceMode::Node } else { other };
    let own_pid = if spec.share_process_namespace == Some(true) {
        v1::NamespaceMode::Pod
    } else {
        v1::NamespaceMode::Container
    };
    let pid = node_or(spec.host_pid, own_pid);
    let (pid, target_id) = match target {
        Some(target) if pid == v1::NamespaceMode::Container => (v1::NamespaceMode::Target, target.to_owned()),
        _ => (pid, String::new()),
    };
    v1::NamespaceOption {
        network: node_or(spec.host_network, v1::NamespaceMode::Pod) as i32,
        pid: pid as i32,
        ipc: node_or(spec.host_ipc, v1::NamespaceMode::Pod) as i32,
        target_id,
        userns_options: None,
    }
}

fn supplemental_groups(context: Option<&PodSecurityContext>) -> Vec<i64> {
    let mut groups = context.and_then(|context| context.supplemental_groups.clone()).unwrap_or_default();
    groups.extend(context.and_then(|context| context.fs_group));
    groups
}

fn groups_policy(context: Option<&PodSecurityContext>) -> i32 {
    let strict = context.and_then(|context| context.supplemental_groups_policy.as_deref()) == Some("Strict");
    let policy =
        if strict { v1::SupplementalGroupsPolicy::Strict } else { v1::SupplementalGroupsPolicy::Merge };
    policy as i32
}

fn seccomp(wanted: &SeccompProfile) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    match wanted.type_.as_str() {
        "RuntimeDefault" => profile(ProfileType::RuntimeDefault, ""),
        "Localhost" => profile(ProfileType::Localhost, wanted.localhost_profile.as_deref().unwrap_or("")),
        _ => unconfined(),
    }
}

/// The field, else the annotation that preceded it; nothing said means the runtime's default where the kernel
/// has AppArmor.
fn apparmor(
    pod: &Pod,
    container: &Container,
    wanted: Option<&AppArmorProfile>,
) -> Option<v1::SecurityProfile> {
    use v1::security_profile::ProfileType;
    if let Some(wanted) = wanted {
        return Some(match wanted.type_.as_str() {
            "Localhost" => profile(ProfileType::Localhost, wanted.localhost_profile.as_deref().unwrap_or("")),
            "RuntimeDefault" => profile(ProfileType::RuntimeDefault, ""),
            _ => unconfined(),
        });
    }
    let key = format!("container.apparmor.security.beta.kubernetes.io/{}", container.name);
    let annotation = pod.metadata.annotations.as_ref()?.get(&key)?;
    Some(match annotation.strip_prefix("localhost/") {
        Some(name) => profile(ProfileType::Localhost, name),
        None if annotation == "unconfined" => unconfined(),
        None => profile(ProfileType::RuntimeDefault, ""),
    })
}

fn unconfined() -> v1::SecurityProfile {
    profile(v1::security_profile::ProfileType::Unconfined, "")
}

fn profile(kind: v1::security_profile::ProfileType, reference: &str) -> v1::SecurityProfile {
    v1::SecurityProfile { profile_type: kind as i32, localhost_ref: reference.to_owned() }
}

fn selinux(options: &SELinuxOptions) -> v1::SeLinuxOption {
    v1::SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    }
}

fn int64(value: i64) -> v1::Int64Value {
    v1::Int64Value { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn context(
        pod_context: serde_json::Value,
        own: serde_json::Value,
        user: ImageUser,
    ) -> Result<v1::LinuxContainerSecurityContext, SecurityError> {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"securityContext": pod_context, "containers": [{"name": "a", "securityContext": own}]}}))
            .unwrap();
        container_context(&pod, &pod::containers(&pod)[0], &user, None)
    }

    #[test]
    fn the_container_overrides_the_pod() {
        let found = context(
            json!({"runAsUser": 1000, "fsGroup": 2000, "seccompProfile": {"type": "RuntimeDefault"}}),
            json!({"runAsUser": 1001, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}),
            ImageUser::default(),
        )
        .unwrap();
        assert_eq!(found.run_as_user.unwrap().value, 1001);
        assert_eq!(found.supplemental_groups, [2000]);
        assert!(found.no_new_privs);
        assert_eq!(found.capabilities.unwrap().drop_capabilities, ["ALL"]);
        assert_eq!(
            found.seccomp.unwrap().profile_type,
            v1::security_profile::ProfileType::RuntimeDefault as i32
        );
        assert_eq!(found.masked_paths.len(), 12);
    }

    #[test]
    fn privileged_containers_are_unconfined() {
        let own = json!({"privileged": true, "seccompProfile": {"type": "RuntimeDefault"}});
        let found = context(json!({}), own, ImageUser::default()).unwrap();
        assert!(found.privileged && found.masked_paths.is_empty());
        assert_eq!(found.seccomp, Some(unconfined()));
    }

    #[test]
    fn root_is_refused_where_it_must_not_be() {
        let non_root = || json!({"runAsNonRoot": true});
        let user = |uid| ImageUser { uid: Some(uid), name: String::new() };
        assert!(context(non_root(), json!({}), user(1000)).is_ok());
        assert!(matches!(context(non_root(), json!({}), user(0)), Err(SecurityError::ImageRoot(..))));
        assert!(matches!(
            context(non_root(), json!({"runAsUser": 0}), user(5)),
            Err(SecurityError::RunAsRoot(..))
        ));
        let named = ImageUser { uid: None, name: "www".into() };
        assert!(matches!(context(non_root(), json!({}), named), Err(SecurityError::ImageUserName(..))));
    }
}
