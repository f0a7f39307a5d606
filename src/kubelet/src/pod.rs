//! Reading pods: identities, containers of every kind, restart and termination rules. Pure.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec, PodStatus};
use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

/// What a pod without `terminationGracePeriodSeconds` gets: the API's default of 30 s.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// Pods of at least this priority are critical to their node (`system-node-critical` is 2000001000,
/// `system-cluster-critical` 2000000000): they are evicted last and shielded from the OOM killer.
pub const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// The priority of `system-node-critical`.
pub const NODE_CRITICAL_PRIORITY: i32 = 2_000_001_000;

static EMPTY_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);
static EMPTY_STATUS: LazyLock<PodStatus> = LazyLock::new(PodStatus::default);

/// `metadata.uid`; empty when absent.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or("")
}

/// `metadata.name`; empty when absent.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("")
}

/// `metadata.namespace`; empty when absent.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("")
}

/// `spec`, or an empty one.
pub fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&EMPTY_SPEC)
}

/// `status`, or an empty one.
pub fn status(pod: &Pod) -> &PodStatus {
    pod.status.as_ref().unwrap_or(&EMPTY_STATUS)
}

/// `name_namespace(uid)`: how messages name a pod.
pub fn describe(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// Whether the pod shares the node's network.
pub fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network.unwrap_or(false)
}

/// Whether `metadata.deletionTimestamp` is set.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether `status.phase` is one that a pod never leaves.
pub fn is_terminal_phase(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// How long the pod's containers get between SIGTERM and SIGKILL when nothing overrides it.
pub fn spec_grace(pod: &Pod) -> Duration {
    spec(pod)
        .termination_grace_period_seconds
        .map_or(DEFAULT_GRACE, |seconds| Duration::from_secs(seconds.max(0).unsigned_abs()))
}

/// The grace that the API server granted when the pod was deleted, if it was.
pub fn deletion_grace(pod: &Pod) -> Option<Duration> {
    pod.metadata.deletion_timestamp.as_ref()?;
    Some(
        pod.metadata
            .deletion_grace_period_seconds
            .map_or_else(|| spec_grace(pod), |seconds| Duration::from_secs(seconds.max(0).unsigned_abs())),
    )
}

/// `spec.priority`, 0 when absent.
pub fn priority(pod: &Pod) -> i32 {
    spec(pod).priority.unwrap_or(0)
}

/// Whether the pod must survive pressure on its node.
pub fn is_critical(pod: &Pod) -> bool {
    priority(pod) >= CRITICAL_PRIORITY
}

/// The init containers, in order.
pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or(&[])
}

/// The regular containers.
pub fn containers(pod: &Pod) -> &[Container] {
    &spec(pod).containers
}

/// The ephemeral containers (`kubectl debug`), as ordinary containers.
pub fn ephemeral_containers(pod: &Pod) -> Vec<Container> {
    spec(pod).ephemeral_containers.iter().flatten().map(from_ephemeral).collect()
}

/// One of the pod's containers by name, of whichever kind.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    let spec = spec(pod);
    if let Some(found) =
        spec.containers.iter().chain(init_containers(pod)).find(|container| container.name == name)
    {
        return Some(Cow::Borrowed(found));
    }
    let found = spec.ephemeral_containers.iter().flatten().find(|container| container.name == name)?;
    Some(Cow::Owned(from_ephemeral(found)))
}

/// The `fieldPath` that events on a container carry.
pub fn container_field_path(pod: &Pod, name: &str) -> Option<String> {
    let kind = if containers(pod).iter().any(|container| container.name == name) {
        "containers"
    } else if init_containers(pod).iter().any(|container| container.name == name) {
        "initContainers"
    } else if spec(pod).ephemeral_containers.iter().flatten().any(|container| container.name == name) {
        "ephemeralContainers"
    } else {
        return None;
    };
    Some(format!("spec.{kind}{{{name}}}"))
}

/// An init container that keeps running beside the regular ones (KEP-753).
pub fn is_sidecar(init_container: &Container) -> bool {
    init_container.restart_policy.as_deref() == Some("Always")
}

/// `restartPolicy` of a pod or container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Restarted whatever the exit code.
    Always,
    /// Restarted after a failure.
    OnFailure,
    /// Run once.
    Never,
}

impl RestartPolicy {
    fn parse(text: &str) -> Self {
        match text {
            "OnFailure" => Self::OnFailure,
            "Never" => Self::Never,
            _ => Self::Always,
        }
    }
}

/// `spec.restartPolicy`.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    RestartPolicy::parse(spec(pod).restart_policy.as_deref().unwrap_or("Always"))
}

/// The policy of a regular or init container: its own (KEP-5307), else the pod's.
pub fn container_restart_policy(pod: &Pod, container: &Container) -> RestartPolicy {
    container.restart_policy.as_deref().map_or_else(|| restart_policy(pod), RestartPolicy::parse)
}

/// Whether a container that exited with `exit_code` is to run again (KEP-5307: rules before policies).
pub fn restarts_after(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|value| *value == exit_code);
        let matches = match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if matches && rule.action == "Restart" {
            return true;
        }
    }
    match container_restart_policy(pod, container) {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit_code != 0,
        RestartPolicy::Never => false,
    }
}

/// The same, for an init container: a plain one with exit code 0 is done whatever the policy.
pub fn init_restarts_after(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    if is_sidecar(container) {
        return true;
    }
    exit_code != 0 && restarts_after(pod, container, exit_code)
}

fn from_ephemeral(from: &EphemeralContainer) -> Container {
    Container {
        args: from.args.clone(),
        command: from.command.clone(),
        env: from.env.clone(),
        env_from: from.env_from.clone(),
        image: from.image.clone(),
        image_pull_policy: from.image_pull_policy.clone(),
        name: from.name.clone(),
        security_context: from.security_context.clone(),
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        termination_message_path: from.termination_message_path.clone(),
        termination_message_policy: from.termination_message_policy.clone(),
        tty: from.tty,
        volume_devices: from.volume_devices.clone(),
        volume_mounts: from.volume_mounts.clone(),
        working_dir: from.working_dir.clone(),
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn policies_decide_who_runs_again() {
        let of = |policy: &str| pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}]}));
        let again = |pod: &Pod, code| restarts_after(pod, &containers(pod)[0], code);
        assert!(again(&of("Always"), 0));
        assert!(!again(&of("OnFailure"), 0));
        assert!(again(&of("OnFailure"), 1));
        assert!(!again(&of("Never"), 1));
    }

    #[test]
    fn a_container_rule_wins_over_the_policy() {
        let pod = pod(
            json!({"restartPolicy": "Never", "containers": [{"name": "a", "restartPolicy": "Never",
            "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}]}),
        );
        assert!(restarts_after(&pod, &containers(&pod)[0], 42));
        assert!(!restarts_after(&pod, &containers(&pod)[0], 41));
    }

    #[test]
    fn containers_of_every_kind_are_found_by_name() {
        let pod = pod(json!({"containers": [{"name": "a"}], "initContainers": [{"name": "b"}],
            "ephemeralContainers": [{"name": "c", "image": "i"}]}));
        assert_eq!(container(&pod, "c").unwrap().image.as_deref(), Some("i"));
        assert_eq!(container_field_path(&pod, "b").unwrap(), "spec.initContainers{b}");
        assert!(container(&pod, "d").is_none());
    }
}
