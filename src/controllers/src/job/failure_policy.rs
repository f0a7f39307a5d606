//! What a failed pod means (KEP-3329). Pure.

use k8s_openapi::api::{
    batch::v1::{PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule},
    core::v1::{ContainerStatus, Pod},
};

use crate::pods;

/// The verdict on one failed pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts towards the back-off limit.
    Count,
    /// It does not count.
    Ignore,
    /// Its index fails at once.
    FailIndex,
    /// The job fails, for this reason.
    FailJob(String),
}

/// Applies the first rule that matches.
pub(super) fn judge(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Verdict {
    let rules = policy.map(|policy| policy.rules.as_slice()).unwrap_or_default();
    for (number, rule) in rules.iter().enumerate() {
        let Some(cause) = cause(rule, pod) else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(format!("{cause} matching FailJob rule at index {number}")),
            // Actions that came later than this must not be guessed at.
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

fn cause(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if let Some(requirement) = &rule.on_exit_codes {
        let status = pod.status.as_ref()?;
        let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let (container, code) = all.filter_map(|status| matching_exit(requirement, status)).next()?;
        return Some(format!(
            "Container {container} for pod {namespace}/{name} failed with exit code {code}"
        ));
    }
    rule.on_pod_conditions.iter().flatten().find_map(|pattern| {
        let status = pattern.status.as_deref().unwrap_or("True");
        let found = pods::condition(pod, &pattern.type_).filter(|condition| condition.status == status)?;
        Some(format!("Pod {namespace}/{name} has condition {}", found.type_))
    })
}

fn matching_exit(
    requirement: &PodFailurePolicyOnExitCodesRequirement,
    status: &ContainerStatus,
) -> Option<(String, i32)> {
    if requirement.container_name.as_ref().is_some_and(|name| *name != status.name) {
        return None;
    }
    let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
    let listed = requirement.values.contains(&code);
    // Success is never a cause of failure.
    let matches = code != 0
        && match requirement.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
    matches.then(|| (status.name.clone(), code))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{
        batch::v1::PodFailurePolicyOnPodConditionsPattern,
        core::v1::{ContainerState, ContainerStateTerminated, PodCondition, PodStatus},
    };

    use super::*;

    fn exited(code: i32) -> Pod {
        let terminated = ContainerStateTerminated { exit_code: code, ..ContainerStateTerminated::default() };
        let state = ContainerState { terminated: Some(terminated), ..ContainerState::default() };
        let status =
            ContainerStatus { name: "main".into(), state: Some(state), ..ContainerStatus::default() };
        let disrupted = PodCondition {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
            ..PodCondition::default()
        };
        Pod {
            status: Some(PodStatus {
                container_statuses: Some(vec![status]),
                conditions: (code == 137).then(|| vec![disrupted]),
                ..PodStatus::default()
            }),
            ..Pod::default()
        }
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let disruption = PodFailurePolicyRule {
            action: "Ignore".into(),
            on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                type_: "DisruptionTarget".into(),
                status: None,
            }]),
            on_exit_codes: None,
        };
        let codes = |action: &str, operator: &str, values: &[i32]| PodFailurePolicyRule {
            action: action.into(),
            on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                container_name: None,
                operator: operator.into(),
                values: values.to_vec(),
            }),
            on_pod_conditions: None,
        };
        let policy = PodFailurePolicy {
            rules: vec![disruption, codes("FailJob", "In", &[42]), codes("FailIndex", "NotIn", &[1, 137])],
        };
        assert_eq!(judge(Some(&policy), &exited(137)), Verdict::Ignore);
        assert!(
            matches!(judge(Some(&policy), &exited(42)), Verdict::FailJob(cause) if cause.contains("exit code 42"))
        );
        assert_eq!(judge(Some(&policy), &exited(3)), Verdict::FailIndex);
        assert_eq!(judge(Some(&policy), &exited(1)), Verdict::Count);
        assert_eq!(judge(None, &exited(42)), Verdict::Count);
    }
}
