//! Paths of fields within a schema: `.spec.foo`, `['a.b'].c`.

use apimachinery::field::Path;

use crate::schema::{Additional, StructuralSchema};

/// The path as errors write it, and the schema that it leads to. `brackets`: whether `['name']` is allowed.
///
/// # Errors
/// Says what is wrong with the path.
pub(crate) fn resolve<'a>(
    json_path: &str,
    schema: &'a StructuralSchema,
    brackets: bool,
) -> Result<(Path, &'a StructuralSchema), String> {
    let mut walk = Walk { path: Path::default(), schema: Some(schema) };
    let mut tokens = tokens(json_path).into_iter();
    while let Some(token) = tokens.next() {
        match token {
            "[" if !brackets => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let token = tokens.next().ok_or("unexpected end of JSON path")?;
                let quoted = token.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
                let name = quoted.ok_or_else(|| format!("expected single quoted string but got {token}"))?;
                walk.step(&unescape(name)?)?;
                match tokens.next().ok_or("unexpected end of JSON path")? {
                    "]" => {}
                    token => return Err(format!("expected ] but got {token}")),
                }
            }
            "." => walk.step(tokens.next().ok_or("unexpected end of JSON path")?)?,
            token => return Err(format!("expected [ or . but got: {token}")),
        }
    }
    let schema = walk.schema.ok_or("does not refer to a valid field")?;
    Ok((walk.path, schema))
}

struct Walk<'a> {
    path: Path,
    /// None below `additionalProperties: true`.
    schema: Option<&'a StructuralSchema>,
}

impl Walk<'_> {
    fn step(&mut self, name: &str) -> Result<(), String> {
        let schema = self.schema.ok_or("does not refer to a valid field")?;
        if !schema.properties.is_empty() {
            self.path = self.path.child(name);
            self.schema = Some(schema.property(name).ok_or("does not refer to a valid field")?);
        } else if schema.additional != Additional::Unset {
            self.path = self.path.key(name);
            self.schema = schema.additional_schema();
        } else {
            return Err("does not refer to a valid field".to_owned());
        }
        Ok(())
    }
}

/// Splits into `.`, `[`, `]`, quoted texts and what is between.
fn tokens(json_path: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = json_path;
    while !rest.is_empty() {
        let end = if rest.starts_with(['.', '[', ']']) {
            1
        } else if rest.starts_with('\'') {
            let mut escaped = false;
            rest.char_indices()
                .skip(1)
                .find(|(_, c)| {
                    let closes = *c == '\'' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    closes
                })
                .map_or(rest.len(), |(at, _)| at + 1)
        } else {
            rest.find(['.', '[', ']']).unwrap_or(rest.len())
        };
        let Some((token, after)) = rest.split_at_checked(end) else { break };
        out.push(token);
        rest = after;
    }
    out
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match rest.next() {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some('\'') => '\'',
            Some('\\') => '\\',
            other => {
                let shown: String = other.into_iter().collect();
                return Err(format!("invalid string literal: invalid escape char \\{shown}"));
            }
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_through_the_schema() {
        let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {
            "a": {"type": "object", "properties": {"b.c": {"type": "string"}}},
            "m": {"type": "object", "additionalProperties": {"type": "string"}}}}))
        .unwrap();
        for (path, wanted) in [
            (".a", Ok("a")),
            (".a['b.c']", Ok("a.b.c")),
            (".m['k']", Ok("m[k]")),
            (".m.k", Ok("m[k]")),
            (".x", Err("does not refer to a valid field")),
            (".a.b.c", Err("does not refer to a valid field")),
            ("a", Err("expected [ or . but got: a")),
            (".", Err("unexpected end of JSON path")),
            (".a[b]", Err("expected single quoted string but got b")),
            (".a['b.c'", Err("unexpected end of JSON path")),
            (".m['\\x']", Err("invalid string literal: invalid escape char \\x")),
        ] {
            let found = resolve(path, &schema, true).map(|(path, _)| path.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), wanted, "{path}");
        }
        assert_eq!(resolve(".a['b.c']", &schema, false).unwrap_err(), "array notation is not allowed");
    }
}
