//! Field selectors: `fieldSelector=metadata.name=x,status.phase!=Running`.

use crate::labels::SelectorError;

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// The field's path.
    pub field: String,
    /// What it is compared with.
    pub value: String,
    /// Whether it must be equal (or must not).
    pub equal: bool,
}

/// A conjunction of terms. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    /// All have to hold.
    pub terms: Vec<Term>,
}

impl FieldSelector {
    /// Reads the query syntax; `\\`, `\,` and `\=` escape within values.
    ///
    /// # Errors
    /// When a term has no operator or an escape is not known.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let found = ["!=", "==", "="]
                .iter()
                .filter_map(|op| part.find(op).map(|at| (at, *op)))
                .min_by_key(|(at, op)| (*at, std::cmp::Reverse(op.len())));
            let Some((at, operator)) = found else {
                return Err(SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            let (field, rest) = part.split_at(at);
            let value = unescape(rest.strip_prefix(operator).unwrap_or(rest))?;
            terms.push(Term { field: field.trim().to_owned(), value, equal: operator != "!=" });
        }
        Ok(Self { terms })
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that a field must equal, where there is such a term.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }

    /// Whether all terms hold. A field that `lookup` does not know is empty.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|t| (lookup(&t.field).unwrap_or("") == t.value) == t.equal)
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == ',' {
            parts.push(text.get(start..at).unwrap_or(""));
            start = at + 1;
        }
    }
    parts.push(text.get(start..).unwrap_or(""));
    parts
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(e @ ('\\' | ',' | '=')) => out.push(e),
            _ => {
                return Err(SelectorError(format!(
                    "invalid field selector: invalid escape sequence in {value}"
                )));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_with_their_operators() {
        let selector = FieldSelector::parse("metadata.name=a,status.phase!=Running,x==y").unwrap();
        assert_eq!(selector.terms.len(), 3);
        assert_eq!(selector.exact("metadata.name"), Some("a"));
        assert_eq!(selector.exact("status.phase"), None);
        assert_eq!(selector.exact("x"), Some("y"));
        assert!(selector.matches(|f| match f {
            "metadata.name" => Some("a"),
            "x" => Some("y"),
            _ => None,
        }));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(FieldSelector::parse(r"a=b\,c\=d\\").unwrap().exact("a"), Some(r"b,c=d\"));
        assert!(FieldSelector::parse(r"a=\x").is_err());
    }

    #[test]
    fn a_term_without_an_operator_is_refused() {
        assert!(FieldSelector::parse("metadata.name").is_err());
        assert!(FieldSelector::parse("").unwrap().is_everything());
    }
}
