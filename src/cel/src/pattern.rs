//! Regular expressions of Go's syntax (RE2), run by the `regex` crate: both match in linear time, and differ in few
//! spellings, which are translated.

use regex::{Regex, RegexBuilder};

/// Most memory that one compiled expression may take. A pattern of a schema compiles to some 10 KiB; Go refuses what
/// would be far larger.
const SIZE_LIMIT_BYTES: usize = 2 * 1024 * 1024;
/// Deepest nesting of groups, below Go's limit of 1000 for the sake of the stack.
const NEST_LIMIT: u32 = 200;

/// Compiles an expression of Go's syntax.
///
/// # Errors
/// Says in a line what is wrong with it.
pub fn compile(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(&translate(text)?)
        .octal(true)
        .size_limit(SIZE_LIMIT_BYTES)
        .nest_limit(NEST_LIMIT)
        .build()
        .map_err(|err| match err {
            regex::Error::CompiledTooBig(_) => {
                format!("error parsing regexp: expression too large: `{text}`")
            }
            // The message shows the expression and points into it; its last line says why.
            err => {
                let shown = err.to_string();
                let why = shown.lines().last().unwrap_or_default().trim_start_matches("error: ");
                format!("error parsing regexp: {why}: `{text}`")
            }
        })
}

/// From Go's spelling to that of the `regex` crate: classes of Perl and word boundaries are ASCII in Go; `[`, `&` and
/// `~` stand for themselves within a class, `{` where it begins no repetition, and `\Q...\E` quotes.
fn translate(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    let mut class = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                None => {
                    return Err(
                        "error parsing regexp: trailing backslash at end of expression: ``".to_owned()
                    );
                }
                Some('d') if class => out.push_str("0-9"),
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('s') if class => out.push_str("\\t\\n\\f\\r\\x20"),
                Some('s') => out.push_str("[\\t\\n\\f\\r\\x20]"),
                Some('S') => out.push_str("[^\\t\\n\\f\\r\\x20]"),
                Some('w') if class => out.push_str("0-9A-Za-z_"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('b') if !class => out.push_str("(?-u:\\b)"),
                Some('Q') if !class => {
                    let mut quoted: String = rest.by_ref().collect();
                    let after = quoted.find("\\E").map(|at| {
                        let after = quoted.get(at + 2..).unwrap_or_default().to_owned();
                        quoted.truncate(at);
                        after
                    });
                    out.push_str(&regex::escape(&quoted));
                    return Ok(out + &translate(&after.unwrap_or_default())?);
                }
                Some(c @ ('<' | '>')) => out.push(c),
                // One digit refers to a group, which RE2 does not know; more are an octal number.
                Some(c @ '1'..='7') if !matches!(rest.peek(), Some('0'..='7')) => {
                    return Err(format!("error parsing regexp: invalid escape sequence: `\\{c}`"));
                }
                Some(c) => out.extend(['\\', c]),
            },
            '[' if !class => {
                class = true;
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // The first `]` of a class stands for itself.
                if rest.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            '[' if rest.peek() == Some(&':') => {
                out.push('[');
                for c in rest.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            ']' if class => {
                class = false;
                out.push(']');
            }
            '[' | '&' | '~' if class => out.extend(['\\', c]),
            '{' if !class && !is_repetition(rest.clone()) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Whether what follows a `{` is `2}`, `2,}` or `2,3}`.
fn is_repetition(rest: impl Iterator<Item = char>) -> bool {
    let (mut digits, mut comma) = (false, false);
    for c in rest {
        match c {
            '0'..='9' => digits = true,
            ',' if digits && !comma => comma = true,
            '}' => return digits,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_spelling_is_understood() {
        for (pattern, matching, other) in [
            (r"^\d+$", "12", "１２"),
            (r"^[\d-]+$", "1-2", "a"),
            (r"^\w+\b$", "a_1", "é"),
            (r"^[^\s]+$", "ab", "a b"),
            (r"^[[a]+$", "[a", "b"),
            (r"^[a&&b]+$", "&", "c"),
            (r"^[]a]+$", "]a", "b"),
            (r"^a{,2}$", "a{,2}", "aa"),
            (r"^a{2}$", "aa", "a"),
            (r"^\Qa.b\E+$", "a.bb", "axb"),
            (r"^[[:alpha:]]+$", "ab", "1"),
            (r"^\<\/\>$", "</>", "<>"),
            (r"^(?i)abc\z", "ABC", "abd"),
            (r"^\pL+$", "é", "1"),
            (r"^\101\07$", "A\u{7}", "1"),
            (r"\bfoo\b", "a foo b", "foob"),
            ("^.$", "é", "éé"),
        ] {
            let regex = compile(pattern).unwrap_or_else(|err| panic!("{pattern}: {err}"));
            assert!(regex.is_match(matching), "{pattern} {matching}");
            assert!(!regex.is_match(other), "{pattern} {other}");
        }
    }

    #[test]
    fn what_is_no_expression_or_too_large_is_refused() {
        let deep = format!("{}a{}", "(".repeat(1000), ")".repeat(1000));
        let large = "((a{1000}){1000}){1000}";
        for bad in ["(", "a**b(", "[a", "[z-a]", large, "(a{1000}){1000}", "(?=a)", r"(a)\1", "a\\", &deep] {
            let err = compile(bad).unwrap_err();
            assert!(err.starts_with("error parsing regexp: "), "{bad}: {err}");
        }
    }
}
