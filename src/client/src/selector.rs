//! Label selectors over typed objects.

use std::collections::BTreeMap;

use apimachinery::labels::{self, Operator, Requirement};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels as typed objects have them.
pub type Labels = BTreeMap<String, String>;

/// A compiled label selector.
///
/// `metav1.LabelSelector` semantics: requirements are joined by and; an empty selector matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(labels::Selector);

impl Selector {
    /// Matches everything.
    pub fn everything() -> Self {
        Self(labels::Selector::everything())
    }

    /// Matches nothing.
    pub fn nothing() -> Self {
        Self(labels::Selector::nothing())
    }

    /// Compiles a selector; a missing one matches nothing, as in all workload APIs, and so does one that is not valid,
    /// so that nothing is adopted or deleted by mistake.
    pub fn new(selector: Option<&LabelSelector>) -> Self {
        let Some(selector) = selector else { return Self::nothing() };
        let Self(mut compiled) = Self::exactly(selector.match_labels.as_ref());
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => return Self::nothing(),
            };
            let values = expression.values.clone().unwrap_or_default();
            match Requirement::new(&expression.key, operator, values) {
                Ok(requirement) => compiled.requirements.push(requirement),
                Err(_) => return Self::nothing(),
            }
        }
        Self(compiled)
    }

    /// Matches labels that have all of these; the selector form of Services and ReplicationControllers.
    pub fn exactly(labels: Option<&Labels>) -> Self {
        let pairs = labels.into_iter().flatten();
        Self(labels::Selector::from_map(pairs.map(|(key, value)| (key.as_str(), value.as_str()))))
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_everything()
    }

    /// Whether these labels are selected.
    pub fn matches(&self, labels: Option<&Labels>) -> bool {
        self.0.matches(&labels)
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
