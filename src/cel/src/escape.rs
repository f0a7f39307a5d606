//! Property names as identifiers (`k8s.io/apiserver/pkg/cel/escaping.go`).

const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether the language keeps this word for itself.
pub(crate) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// Whether a name can stand in an expression as it is (the grammar's IDENT).
pub fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    let starts = characters.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic());
    starts && characters.all(|c| c == '_' || c.is_ascii_alphanumeric()) && !is_reserved(name)
}

/// The identifier by which a property is reached; `None` if it cannot be reached.
pub fn escape(property: &str) -> Option<String> {
    if property.is_empty() || property.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if is_reserved(property) {
        return Some(format!("__{property}__"));
    }
    let mut escaped = String::with_capacity(property.len());
    let mut rest = property.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '_' if rest.next_if_eq(&'_').is_some() => escaped.push_str("__underscores__"),
            '.' => escaped.push_str("__dot__"),
            '-' => escaped.push_str("__dash__"),
            '/' => escaped.push_str("__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => escaped.push(c),
            _ => return None,
        }
    }
    Some(escaped)
}

/// The property behind an identifier; `None` if it holds an unknown escape.
pub fn unescape(identifier: &str) -> Option<String> {
    let mut property = String::with_capacity(identifier.len());
    let mut rest = identifier;
    while let Some(start) = rest.find("__") {
        let (before, from) = rest.split_at(start);
        let after = from.get(2..)?;
        let Some(end) =
            after.find('_').filter(|end| *end > 0 && after.get(*end..).is_some_and(|t| t.starts_with("__")))
        else {
            // No closing pair: the first underscore stands for itself.
            property.push_str(before);
            property.push('_');
            rest = from.get(1..)?;
            continue;
        };
        property.push_str(before);
        let word = after.get(..end)?;
        match word {
            "underscores" => property.push_str("__"),
            "dot" => property.push('.'),
            "dash" => property.push('-'),
            "slash" => property.push('/'),
            word if is_reserved(word) && identifier.len() == word.len() + 4 => property.push_str(word),
            _ => return None,
        }
        rest = after.get(end + 2..)?;
    }
    property.push_str(rest);
    Some(property)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_become_identifiers_and_come_back() {
        for (property, identifier) in [
            ("a.dns/name-x", "a__dot__dns__slash__name__dash__x"),
            ("namespace", "__namespace__"),
            ("a__b", "a__underscores__b"),
            ("_a_b_", "_a_b_"),
            ("plain", "plain"),
        ] {
            assert_eq!(escape(property).as_deref(), Some(identifier));
            assert_eq!(unescape(identifier).as_deref(), Some(property));
        }
        for property in ["", "1a", "a b", "ä", "a$"] {
            assert_eq!(escape(property), None, "{property}");
        }
        assert_eq!(unescape("a__unknown__b"), None);
    }
}
