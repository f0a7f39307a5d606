//! Regular expressions as RE2 reads them, for the `regex` crate.

use regex::{Regex, RegexBuilder};

/// Bytes that a compiled expression may need: enough for any in sensible use, too few for `(a{1000}){1000}`.
const SIZE_LIMIT: usize = 1 << 20;

/// Compiles an expression, or says why it cannot be.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern);
    RegexBuilder::new(&translated).size_limit(SIZE_LIMIT).dfa_size_limit(SIZE_LIMIT).build().map_err(
        |error| {
            let what = match &error {
                regex::Error::CompiledTooBig(_) => "expression nests too deeply or is too large".to_owned(),
                other => other
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or("invalid syntax")
                    .trim_start_matches("error: ")
                    .to_owned(),
            };
            format!("error parsing regexp: {what}: `{pattern}`")
        },
    )
}

/// The same expression in the crate's syntax: RE2's classes are of ASCII, its sets know neither nesting nor
/// operators, and `\Q...\E` quotes.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    let mut in_set = false;
    while let Some(c) = rest.next() {
        match (c, in_set) {
            ('\\', _) => match rest.next() {
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str("[\\t\\n\\f\\r\\x20]"),
                Some('S') => out.push_str("[^\\t\\n\\f\\r\\x20]"),
                Some('b') if !in_set => out.push_str("(?-u:\\b)"),
                Some('Q') if !in_set => {
                    let mut quoted = String::new();
                    while let Some(c) = rest.next() {
                        if c == '\\' && rest.next_if_eq(&'E').is_some() {
                            break;
                        }
                        quoted.push(c);
                    }
                    out.push_str(&regex::escape(&quoted));
                }
                Some(c) => {
                    out.push('\\');
                    out.push(c);
                }
                None => out.push('\\'),
            },
            ('[', false) => {
                in_set = true;
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // A bracket that comes first stands for itself.
                if rest.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            ('[', true) if rest.peek() == Some(&':') => out.push('['),
            ('[', true) => out.push_str("\\["),
            (':', true)
                if rest.peek() == Some(&']')
                    && out.rfind("[:").is_some_and(|at| {
                        out.get(at + 2..)
                            .is_some_and(|name| name.chars().all(|c| c.is_ascii_alphabetic() || c == '^'))
                    }) =>
            {
                rest.next();
                out.push_str(":]");
            }
            (']', true) => {
                in_set = false;
                out.push(']');
            }
            ('&' | '~', true) => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_as_re2_does() {
        for (pattern, text, expected) in [
            (r"^\d+$", "123", true),
            (r"^\d+$", "١٢٣", false),
            (r"^\w+$", "é", false),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^[[a]+$", "[a", true),
            (r"^[a&&b]+$", "&", true),
            (r"^[]a]+$", "]a", true),
            (r"\Qa.b\E", "axb", false),
            (r"\bfoo\b", "a foo b", true),
            ("^.$", "é", true),
            ("(?i)ABC", "abc", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} {text}");
        }
        for pattern in ["(", "a**b(", "(a{1000}){1000}", "[z-a]", r"(?=a)", r"(a)\1"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
