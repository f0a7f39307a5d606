//! The Node object as the kubelet makes it. Pure.

use apimachinery::platform::architecture;
use k8s_openapi::api::core::v1::{Node, NodeSpec, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// The labels that every Node carries, and those of the configuration.
pub fn labels(node_name: &str, configured: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = [
        ("beta.kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("kubernetes.io/hostname", node_name),
        ("kubernetes.io/os", "linux"),
    ];
    let mut labels: BTreeMap<String, String> =
        own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    labels.extend(configured.iter().map(|(key, value)| (key.clone(), value.clone())));
    labels
}

/// A new Node.
pub fn new_node(node_name: &str, labels: BTreeMap<String, String>, taints: &[Taint]) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(node_name.to_owned()),
            labels: Some(labels),
            annotations: Some(BTreeMap::from([(
                "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                "true".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints: (!taints.is_empty()).then(|| taints.to_vec()), ..NodeSpec::default() }),
        status: None,
    }
}

/// The labels of an existing Node that have to be set.
pub fn missing_labels(node: &Node, wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let present = node.metadata.labels.as_ref();
    wanted
        .iter()
        .filter(|(key, value)| present.and_then(|labels| labels.get(*key)) != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_nodes_get_only_what_they_lack() {
        let wanted = labels("n", &BTreeMap::from([("role".to_owned(), "x".to_owned())]));
        let mut node = new_node("n", wanted.clone(), &[]);
        assert!(missing_labels(&node, &wanted).is_empty());
        node.metadata.labels.as_mut().unwrap().remove("role");
        assert_eq!(missing_labels(&node, &wanted).len(), 1);
    }
}
