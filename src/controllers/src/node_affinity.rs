//! Matching nodes against selectors and affinity.

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether the node is one that the pod's `nodeSelector` and required node affinity allow.
pub fn matches(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let mut selector = spec.node_selector.iter().flatten();
    if !selector.all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value))) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    // No term at all selects nothing; a missing requirement selects everything.
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let labels = node.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    let field = |key: &str| match key {
        "metadata.name" => node.metadata.name.as_deref(),
        _ => None,
    };
    expressions.iter().all(|requirement| requirement_matches(requirement, label(&requirement.key)))
        && fields.iter().all(|requirement| requirement_matches(requirement, field(&requirement.key)))
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|candidate| candidate == value));
    let compare = |test: fn(i64, i64) -> bool| {
        let bound = values.first().and_then(|bound| bound.parse::<i64>().ok());
        let value = value.and_then(|value| value.parse::<i64>().ok());
        matches!((value, bound), (Some(value), Some(bound)) if test(value, bound))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|value, bound| value > bound),
        "Lt" => compare(|value, bound| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{Affinity, NodeAffinity, NodeSelector},
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };

    use super::*;

    fn requirement(key: &str, operator: &str, values: &[&str]) -> NodeSelectorRequirement {
        let values = Some(values.iter().map(|value| (*value).to_owned()).collect());
        NodeSelectorRequirement { key: key.into(), operator: operator.into(), values }
    }

    #[test]
    fn terms_are_alternatives_of_joined_requirements() {
        let node = Node {
            metadata: ObjectMeta {
                name: Some("n1".into()),
                labels: Some(
                    [("disk".to_owned(), "ssd".to_owned()), ("cores".to_owned(), "8".to_owned())].into(),
                ),
                ..ObjectMeta::default()
            },
            ..Node::default()
        };
        let term = |expressions: Vec<NodeSelectorRequirement>, fields: Vec<NodeSelectorRequirement>| {
            NodeSelectorTerm { match_expressions: Some(expressions), match_fields: Some(fields) }
        };
        for (terms, expected) in [
            (vec![], false),
            (vec![term(vec![], vec![])], false),
            (vec![term(vec![requirement("disk", "In", &["hdd", "ssd"])], vec![])], true),
            (vec![term(vec![requirement("cores", "Gt", &["8"])], vec![])], false),
            (
                vec![term(
                    vec![requirement("cores", "Gt", &["7"]), requirement("gpu", "DoesNotExist", &[])],
                    vec![],
                )],
                true,
            ),
            (vec![term(vec![], vec![requirement("metadata.name", "In", &["n2"])])], false),
            (
                vec![
                    term(vec![requirement("disk", "In", &["hdd"])], vec![]),
                    term(vec![], vec![requirement("metadata.name", "In", &["n1"])]),
                ],
                true,
            ),
        ] {
            let selector = NodeSelector { node_selector_terms: terms.clone() };
            let affinity = NodeAffinity {
                required_during_scheduling_ignored_during_execution: Some(selector),
                ..NodeAffinity::default()
            };
            let spec = PodSpec {
                affinity: Some(Affinity { node_affinity: Some(affinity), ..Affinity::default() }),
                ..PodSpec::default()
            };
            assert_eq!(matches(&spec, &node), expected, "{terms:?}");
        }
    }
}
