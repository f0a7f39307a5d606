//! Label selectors: the query syntax of `labelSelector=` and the `LabelSelector` object
//! (Kubernetes documentation, "Labels and Selectors").

use crate::{scan, validation};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are Kubernetes' own operators")]
pub enum Operator {
    In,
    NotIn,
    Equals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub values: Vec<String>,
}

/// A conjunction of requirements. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// All have to hold.
    pub requirements: Vec<Requirement>,
    nothing: bool,
}

/// Something that has labels.
pub trait Labels {
    /// The value of a label.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for serde_json::Map<String, Value> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl<T: Labels> Labels for Option<T> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

impl<T: Labels> Labels for &T {
    fn label(&self, key: &str) -> Option<&str> {
        (*self).label(key)
    }
}

/// Why a selector is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl Requirement {
    /// A checked requirement.
    ///
    /// # Errors
    /// When the key is no label key, or the number or form of the values does not fit the operator.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        if let Some(why) = validation::qualified_name(key).first() {
            return Err(SelectorError(format!("key: Invalid value: \"{key}\": {why}")));
        }
        let fits = match operator {
            Operator::In | Operator::NotIn => !values.is_empty(),
            Operator::Equals | Operator::NotEquals => values.len() == 1,
            Operator::Exists | Operator::DoesNotExist => values.is_empty(),
            Operator::GreaterThan | Operator::LessThan => {
                values.len() == 1 && values.iter().all(|v| v.parse::<i64>().is_ok())
            }
        };
        if !fits {
            return Err(SelectorError(match operator {
                Operator::In | Operator::NotIn => {
                    "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                        .to_owned()
                }
                Operator::Exists | Operator::DoesNotExist => {
                    "values: Invalid value: values set must be empty for exists and does not exist".to_owned()
                }
                Operator::GreaterThan | Operator::LessThan => {
                    "values: Invalid value: for 'Gt', 'Lt' operators, the value must be an integer".to_owned()
                }
                _ => "values: Invalid value: exact-match compatibility requires one single value".to_owned(),
            }));
        }
        for (i, value) in values.iter().enumerate() {
            if let Some(why) = validation::label_value(value).first() {
                return Err(SelectorError(format!("values[{i}][{key}]: Invalid value: \"{value}\": {why}")));
            }
        }
        Ok(Self { key: key.to_owned(), operator, values })
    }

    /// Whether the labels meet the requirement.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let value = labels.label(&self.key);
        match (self.operator, value) {
            (Operator::In | Operator::Equals, Some(v)) => self.values.iter().any(|w| w == v),
            (Operator::In | Operator::Equals, None) => false,
            (Operator::NotIn | Operator::NotEquals, Some(v)) => !self.values.iter().any(|w| w == v),
            (Operator::NotIn | Operator::NotEquals, None) => true,
            (Operator::Exists, v) => v.is_some(),
            (Operator::DoesNotExist, v) => v.is_none(),
            (Operator::GreaterThan | Operator::LessThan, v) => {
                let left = v.and_then(|v| v.parse::<i64>().ok());
                let right = self.values.first().and_then(|v| v.parse::<i64>().ok());
                match (left, right) {
                    (Some(l), Some(r)) if self.operator == Operator::GreaterThan => l > r,
                    (Some(l), Some(r)) => l < r,
                    _ => false,
                }
            }
        }
    }
}

impl Selector {
    /// Selects everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Requires each label of a map, as the selector of a Service does.
    pub fn from_map<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirements = labels
            .into_iter()
            .map(|(key, value)| Requirement {
                key: key.to_owned(),
                operator: Operator::Equals,
                values: vec![value.to_owned()],
            })
            .collect();
        Self { requirements, nothing: false }
    }

    /// From a `metav1.LabelSelector` object. Null selects nothing, an empty one everything.
    ///
    /// # Errors
    /// When an operator is unknown or a requirement is not valid.
    pub fn from_label_selector(selector: &Value) -> Result<Self, SelectorError> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
            for (key, value) in labels {
                let value = value.as_str().unwrap_or("").to_owned();
                requirements.push(Requirement::new(key, Operator::In, vec![value])?);
            }
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |field| expression.get(field).and_then(Value::as_str).unwrap_or("");
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!("\"{other}\" is not a valid label selector operator")));
                }
            };
            let values = expression
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            requirements.push(Requirement::new(text("key"), operator, values)?);
        }
        Ok(Self { requirements, nothing: false })
    }

    /// Reads the query syntax: `a=b,c!=d,e in (f,g),h,!i,j>3`.
    ///
    /// # Errors
    /// When the text is no selector, in the words of kube-apiserver where they are known.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Parser { rest: text }.selector()
    }

    /// Whether the labels meet all requirements.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            let first = r.values.first().map_or("", String::as_str);
            match r.operator {
                Operator::In => write!(f, "{} in ({})", r.key, r.values.join(","))?,
                Operator::NotIn => write!(f, "{} notin ({})", r.key, r.values.join(","))?,
                Operator::Equals => write!(f, "{}={first}", r.key)?,
                Operator::NotEquals => write!(f, "{}!={first}", r.key)?,
                Operator::Exists => f.write_str(&r.key)?,
                Operator::DoesNotExist => write!(f, "!{}", r.key)?,
                Operator::GreaterThan => write!(f, "{}>{first}", r.key)?,
                Operator::LessThan => write!(f, "{}<{first}", r.key)?,
            }
        }
        Ok(())
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn selector(mut self) -> Result<Selector, SelectorError> {
        let mut requirements = Vec::new();
        self.skip_space();
        while !self.rest.is_empty() {
            requirements.push(self.requirement()?);
            self.skip_space();
            if self.rest.is_empty() {
                break;
            }
            if !self.eat(",") {
                return Err(self.unexpected("',' or 'end of string'"));
            }
            self.skip_space();
            if self.rest.is_empty() {
                return Err(self.unexpected("identifier after ','"));
            }
        }
        Ok(Selector { requirements, nothing: false })
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.eat("!") {
            self.skip_space();
            let key = self.word();
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        let key = self.word();
        if key.is_empty() {
            return Err(self.unexpected("!, identifier, or 'end of string'"));
        }
        self.skip_space();
        if self.rest.is_empty() || self.rest.starts_with(',') {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        for (token, operator) in [
            ("==", Operator::Equals),
            ("=", Operator::Equals),
            ("!=", Operator::NotEquals),
            (">", Operator::GreaterThan),
            ("<", Operator::LessThan),
        ] {
            if self.eat(token) {
                self.skip_space();
                let value = self.word().to_owned();
                return Requirement::new(key, operator, vec![value]);
            }
        }
        let operator = match self.word() {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            other => {
                return Err(SelectorError(format!(
                    "unable to parse requirement: found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                )));
            }
        };
        self.skip_space();
        if !self.eat("(") {
            return Err(self.unexpected("'('"));
        }
        let mut values = Vec::new();
        loop {
            self.skip_space();
            values.push(self.word().to_owned());
            self.skip_space();
            if self.eat(")") {
                break;
            }
            if !self.eat(",") {
                return Err(self.unexpected("',' or ')'"));
            }
        }
        values.sort();
        values.dedup();
        Requirement::new(key, operator, values)
    }

    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '!' | '(' | ')' | '<' | '>'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn eat(&mut self, token: &str) -> bool {
        scan::eat(&mut self.rest, token)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn unexpected(&self, expected: &str) -> SelectorError {
        let found: String = self.rest.chars().take(20).collect();
        SelectorError(format!("unable to parse requirement: found '{found}', expected: {expected}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn every_operator_of_the_query_syntax_selects_what_it_says() {
        let web = labels(&[("app", "web"), ("tier", "front"), ("n", "5")]);
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier=front", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (web, db)", true),
            ("app notin (web)", false),
            ("other notin (web)", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("n>4", true),
            ("n<4", false),
            ("empty=", false),
        ] {
            assert_eq!(Selector::parse(selector).unwrap().matches(&web), expected, "{selector}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["a=b=c", "a in ()x", "a in b", "=b", ",", "a,", "a~b", "-x=1", "a=b c", "x in (a", "n>b"]
        {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn label_selector_objects_are_read() {
        let selector = Selector::from_label_selector(&json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back"]}],
        }))
        .unwrap();
        assert!(selector.matches(&labels(&[("app", "web")])));
        assert!(!selector.matches(&labels(&[("app", "web"), ("tier", "back")])));
        assert!(Selector::from_label_selector(&json!({})).unwrap().matches(&labels(&[])));
        assert!(!Selector::from_label_selector(&Value::Null).unwrap().matches(&labels(&[])));
    }

    #[test]
    fn selectors_print_in_the_syntax_they_are_read_in() {
        for text in ["a=b,c!=d", "e in (f,g),h,!i", "j>3"] {
            assert_eq!(Selector::parse(text).unwrap().to_string(), text);
        }
    }
}
