//! The scopes of a quota: `spec.scopes` and `spec.scopeSelector`.

use crate::value::{field, list, text, texts};
use serde_json::Value;
use std::fmt;

/// All of them have to hold an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) name: String,
    operator: String,
    values: Vec<String>,
}

impl Scopes {
    /// The scopes in a quota's spec.
    pub fn of(spec: &Value) -> Self {
        let plain = texts(spec, "scopes").map(|name| Scope {
            name: name.to_owned(),
            operator: "Exists".to_owned(),
            values: Vec::new(),
        });
        let selected =
            list(field(spec, "scopeSelector"), "matchExpressions").iter().map(|expression| Scope {
                name: text(expression, "scopeName").to_owned(),
                operator: text(expression, "operator").to_owned(),
                values: texts(expression, "values").map(str::to_owned).collect(),
            });
        Self(plain.chain(selected).collect())
    }

    /// Whether every object is meant.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them by itself.
    pub fn apart(&self) -> Vec<Self> {
        self.0.iter().map(|scope| Self(vec![scope.clone()])).collect()
    }

    /// The name of the first one; empty where there is none.
    pub fn name(&self) -> &str {
        self.0.first().map_or("", |scope| &scope.name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl fmt::Display for Scopes {
    /// As Go shows requirements: `{PriorityClass In [a b]}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Scope { name, operator, values }) in self.0.iter().enumerate() {
            let gap = if index > 0 { " " } else { "" };
            write!(f, "{gap}{{{name} {operator} [{}]}}", values.join(" "))?;
        }
        Ok(())
    }
}

impl Scope {
    /// Whether the names that an object has in this scope fit; an object without one has none.
    pub(super) fn holds(&self, names: &[&str]) -> bool {
        let named = || names.iter().any(|name| self.values.iter().any(|value| value == name));
        match self.operator.as_str() {
            "Exists" => !names.is_empty(),
            "DoesNotExist" => names.is_empty(),
            "In" => named(),
            // As label selectors: what is absent is not in.
            "NotIn" => {
                names.is_empty() || names.iter().any(|name| !self.values.iter().any(|value| value == name))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_go_by_names() {
        let holds = |operator: &str, names: &[&str]| {
            let spec = json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]}});
            Scopes::of(&spec).iter().all(|scope| scope.holds(names))
        };
        assert!(holds("In", &["high"]) && !holds("In", &["low"]) && !holds("In", &[]));
        assert!(!holds("NotIn", &["high"]) && holds("NotIn", &["low"]) && holds("NotIn", &[]));
        assert!(holds("Exists", &["low"]) && !holds("Exists", &[]) && holds("DoesNotExist", &[]));
    }
}
