//! Label selectors over typed objects.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels as typed objects have them.
pub type Labels = BTreeMap<String, String>;

/// A compiled label selector.
///
/// `metav1.LabelSelector` semantics: requirements are joined by and; an empty selector matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Equals(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
    // An operator that does not exist: matches nothing, so that nothing is adopted or deleted by mistake.
    Never,
}

impl Selector {
    /// Matches everything.
    pub fn everything() -> Self {
        Self { requirements: Vec::new() }
    }

    /// Matches nothing.
    pub fn nothing() -> Self {
        Self { requirements: vec![Requirement::Never] }
    }

    /// Compiles a selector; a missing one matches nothing, as in all workload APIs.
    pub fn new(selector: Option<&LabelSelector>) -> Self {
        let Some(selector) = selector else { return Self::nothing() };
        let mut compiled = Self::exactly(selector.match_labels.as_ref());
        for expression in selector.match_expressions.iter().flatten() {
            let key = expression.key.clone();
            let values = expression.values.clone().unwrap_or_default();
            compiled.requirements.push(match expression.operator.as_str() {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::DoesNotExist(key),
                _ => Requirement::Never,
            });
        }
        compiled
    }

    /// Matches labels that have all of these; the selector form of Services and ReplicationControllers.
    pub fn exactly(labels: Option<&Labels>) -> Self {
        let pairs = labels.into_iter().flatten();
        Self {
            requirements: pairs.map(|(key, value)| Requirement::Equals(key.clone(), value.clone())).collect(),
        }
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether these labels are selected.
    pub fn matches(&self, labels: Option<&Labels>) -> bool {
        let get = |key: &String| labels.and_then(|labels| labels.get(key));
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::Equals(key, value) => get(key) == Some(value),
            Requirement::In(key, values) => get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => get(key).is_none_or(|value| !values.contains(value)),
            Requirement::Exists(key) => get(key).is_some(),
            Requirement::DoesNotExist(key) => get(key).is_none(),
            Requirement::Never => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn expression(operator: &str, values: &[&str]) -> LabelSelector {
        let values = (!values.is_empty()).then(|| values.iter().map(|value| (*value).to_owned()).collect());
        let requirement = LabelSelectorRequirement { key: "tier".into(), operator: operator.into(), values };
        LabelSelector { match_expressions: Some(vec![requirement]), match_labels: None }
    }

    #[test]
    fn expressions_follow_the_api_conventions() {
        let (web, none) = (labels(&[("tier", "web")]), labels(&[]));
        for (operator, values, on_web, on_none) in [
            ("In", &["web", "db"][..], true, false),
            ("NotIn", &["web"][..], false, true),
            ("NotIn", &["db"][..], true, true),
            ("Exists", &[][..], true, false),
            ("DoesNotExist", &[][..], false, true),
            ("Gt", &["1"][..], false, false),
        ] {
            let selector = Selector::new(Some(&expression(operator, values)));
            assert_eq!(selector.matches(Some(&web)), on_web, "{operator} {values:?}");
            assert_eq!(selector.matches(Some(&none)), on_none, "{operator} {values:?}");
            assert_eq!(selector.matches(None), on_none, "{operator} {values:?}");
        }
    }

    #[test]
    fn a_missing_selector_matches_nothing_and_an_empty_one_everything() {
        assert!(!Selector::new(None).matches(Some(&labels(&[("a", "b")]))));
        assert!(Selector::new(Some(&LabelSelector::default())).matches(None));
    }
}
