//! Which labels a kubelet may set on its node, and what its mirror pods must not refer to.

use apimachinery::meta;
use serde_json::Value;

use super::service_account::without_mirror_annotation;
use super::support::text;
use crate::authorization::PodFacts;

/// Labels that kubelets set.
const KUBELET_LABELS: [&str; 12] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Prefixes of labels that are theirs altogether.
const KUBELET_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// The labels among these that are Kubernetes' and not the kubelet's to set, sorted.
pub(super) fn forbidden_labels<'a>(labels: impl IntoIterator<Item = impl AsRef<str> + 'a>) -> Vec<String> {
    let mut forbidden: Vec<String> = labels
        .into_iter()
        .filter(|label| is_kubernetes(label.as_ref()) && !is_kubelet(label.as_ref()))
        .map(|label| label.as_ref().to_owned())
        .collect();
    forbidden.sort();
    forbidden
}

fn prefix(label: &str) -> &str {
    label.split_once('/').map_or("", |(prefix, _)| prefix)
}

fn is_or_below(domain: &str, of: &str) -> bool {
    domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'))
}

fn is_kubernetes(label: &str) -> bool {
    let domain = prefix(label);
    is_or_below(domain, "kubernetes.io") || is_or_below(domain, "k8s.io")
}

fn is_kubelet(label: &str) -> bool {
    KUBELET_LABELS.contains(&label) || KUBELET_PREFIXES.iter().any(|owned| is_or_below(prefix(label), owned))
}

/// The labels that were added, removed or changed.
pub(super) fn modified_labels(old: &Value, new: &Value) -> Vec<String> {
    let mut modified = Vec::new();
    let both = [meta::labels(old), meta::labels(new)];
    for key in both.into_iter().flatten().flat_map(|labels| labels.keys()) {
        if meta::label(old, key) != meta::label(new, key) && !modified.contains(key) {
            modified.push(key.clone());
        }
    }
    modified
}

/// A mirror pod must not refer to anything, lest a kubelet get at it by claiming to run such a pod.
pub(super) fn mirror_pod_references(node: &str, pod: &Value) -> Result<(), String> {
    let refers = |what: &str| Err(format!("node {node:?} can not create pods that reference {what}"));
    if !text(pod, "/spec/serviceAccountName").is_empty() {
        return refers("a service account");
    }
    let facts = PodFacts::from(without_mirror_annotation(pod));
    if !facts.secrets.is_empty() {
        return refers("secrets");
    }
    if !facts.config_maps.is_empty() {
        return refers("configmaps");
    }
    if !facts.claims.is_empty() {
        return refers("persistentvolumeclaims");
    }
    if pod.pointer("/spec/resourceClaims").and_then(Value::as_array).is_some_and(|claims| !claims.is_empty())
    {
        return refers("resourceclaims");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kubelets_set_their_own_labels_and_those_of_nobody() {
        let labels = [
            "kubernetes.io/hostname",
            "node.kubernetes.io/instance-type",
            "x.kubelet.kubernetes.io/y",
            "example.com/team",
            "plain",
            "node-role.kubernetes.io/control-plane",
            "node-restriction.kubernetes.io/secure",
            "kubernetes.io/other",
            "k8s.io/x",
            "notkubernetes.io/x",
        ];
        assert_eq!(
            forbidden_labels(labels),
            [
                "k8s.io/x",
                "kubernetes.io/other",
                "node-restriction.kubernetes.io/secure",
                "node-role.kubernetes.io/control-plane",
            ]
        );
    }

    #[test]
    fn changes_of_labels_are_found_both_ways() {
        let old = json!({"metadata": {"labels": {"a": "1", "b": "1", "c": "1"}}});
        let new = json!({"metadata": {"labels": {"a": "1", "b": "2", "d": "1"}}});
        assert_eq!(modified_labels(&old, &new), ["b", "c", "d"]);
    }
}
