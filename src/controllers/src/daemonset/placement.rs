//! Which nodes a daemon belongs on, and what its pods look like there. Pure.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{
        Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
        Toleration,
    },
};

use crate::{
    node_affinity,
    node_taints::{self, NO_EXECUTE, NO_SCHEDULE},
    pods,
};

/// Taints that daemons tolerate: key, effect, and whether only those on the host network do.
const TOLERATED: [(&str, &str, bool); 7] = [
    (node_taints::NOT_READY, NO_EXECUTE, false),
    (node_taints::UNREACHABLE, NO_EXECUTE, false),
    ("node.kubernetes.io/disk-pressure", NO_SCHEDULE, false),
    ("node.kubernetes.io/memory-pressure", NO_SCHEDULE, false),
    ("node.kubernetes.io/pid-pressure", NO_SCHEDULE, false),
    (node_taints::UNSCHEDULABLE, NO_SCHEDULE, false),
    ("node.kubernetes.io/network-unavailable", NO_SCHEDULE, true),
];

/// Whether a daemon belongs on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// It should be started there.
    pub(super) should_run: bool,
    /// If it is there it may stay.
    pub(super) may_stay: bool,
}

/// Decides by the template's node name, selectors and tolerations.
pub(super) fn placement(set: &DaemonSet, node: &Node) -> Placement {
    let spec = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let spec = spec.cloned().unwrap_or_default();
    let name = node.metadata.name.as_deref();
    let fits_name = spec.node_name.as_deref().is_none_or(|wanted| wanted.is_empty() || Some(wanted) == name);
    if !fits_name || !node_affinity::matches(&spec, node) {
        return Placement { should_run: false, may_stay: false };
    }
    let tolerations = tolerations(&spec);
    let untolerated = |effects: &[&str]| {
        let mut taints =
            node_taints::taints(node).iter().filter(|taint| effects.contains(&taint.effect.as_str()));
        taints.any(|taint| !tolerations.iter().any(|toleration| node_taints::tolerates(toleration, taint)))
    };
    if untolerated(&[NO_SCHEDULE, NO_EXECUTE]) {
        return Placement { should_run: false, may_stay: !untolerated(&[NO_EXECUTE]) };
    }
    Placement { should_run: true, may_stay: true }
}

fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut tolerations = spec.tolerations.clone().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    for (key, effect, on_host_network) in TOLERATED {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if (host_network || !on_host_network) && !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    tolerations
}

/// Makes a pod spec one that can only be scheduled to `node`.
pub(super) fn pin(spec: &mut PodSpec, node: &str) {
    spec.tolerations = Some(tolerations(spec));
    let term = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        }]),
        match_expressions: None,
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    // The node was chosen by the old terms; the pod needs only to get there.
    node_affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node that a daemon's pod is on, or will be.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    let bound = pods::node_name(pod);
    if !bound.is_empty() {
        return Some(bound);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let named = fields.into_iter().find(|field| field.key == "metadata.name" && field.operator == "In")?;
    named.values.as_ref()?.first().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::{
            apps::v1::DaemonSetSpec,
            core::v1::{NodeSpec, PodTemplateSpec, Taint},
        },
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };

    use super::*;

    fn node(taints: &[(&str, &str)]) -> Node {
        let taint = |(key, effect): &(&str, &str)| Taint {
            key: (*key).into(),
            effect: (*effect).into(),
            ..Taint::default()
        };
        Node {
            metadata: ObjectMeta { name: Some("n1".into()), ..ObjectMeta::default() },
            spec: Some(NodeSpec { taints: Some(taints.iter().map(taint).collect()), ..NodeSpec::default() }),
            ..Node::default()
        }
    }

    fn set(spec: PodSpec) -> DaemonSet {
        let template = PodTemplateSpec { spec: Some(spec), ..PodTemplateSpec::default() };
        DaemonSet {
            spec: Some(DaemonSetSpec { template, ..DaemonSetSpec::default() }),
            ..DaemonSet::default()
        }
    }

    #[test]
    fn daemons_run_despite_troubles_of_the_node_but_respect_taints_of_people() {
        let plain = set(PodSpec::default());
        for (taints, should_run, may_stay) in [
            (&[][..], true, true),
            (
                &[(node_taints::NOT_READY, NO_EXECUTE), (node_taints::UNSCHEDULABLE, NO_SCHEDULE)][..],
                true,
                true,
            ),
            (&[("gpu", NO_SCHEDULE)][..], false, true),
            (&[("gpu", NO_EXECUTE)][..], false, false),
            (&[("node.kubernetes.io/network-unavailable", NO_SCHEDULE)][..], false, true),
        ] {
            assert_eq!(placement(&plain, &node(taints)), Placement { should_run, may_stay }, "{taints:?}");
        }
        let selecting = set(PodSpec {
            node_selector: Some([("a".to_owned(), "b".to_owned())].into()),
            ..PodSpec::default()
        });
        assert_eq!(placement(&selecting, &node(&[])), Placement { should_run: false, may_stay: false });
    }

    #[test]
    fn a_pinned_pod_names_its_node_before_it_is_bound() {
        let mut spec = PodSpec::default();
        pin(&mut spec, "n1");
        let pod = Pod { spec: Some(spec), ..Pod::default() };
        assert_eq!(node_of(&pod), Some("n1"));
        assert!(node_affinity::matches(pod.spec.as_ref().unwrap(), &node(&[])));
    }
}
