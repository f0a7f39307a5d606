//! A short account of how two JSON trees differ, for messages about forbidden changes.

use serde_json::Value;
use std::fmt::Write;

/// The longest account: enough for a person, little enough for a Status.
const MAX_LINES: usize = 40;

/// Lines of `- path: old` and `+ path: new` for every difference.
pub fn diff(old: &Value, new: &Value) -> String {
    let mut lines = Vec::new();
    walk(String::new(), old, new, &mut lines);
    let more = lines.len() > MAX_LINES;
    lines.truncate(MAX_LINES);
    let mut out = lines.join("\n");
    if more {
        out.push_str("\n  ...");
    }
    out.push('\n');
    out
}

fn walk(path: String, old: &Value, new: &Value, lines: &mut Vec<String>) {
    if old == new || lines.len() > MAX_LINES {
        return;
    }
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let (a, b) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
                walk(if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, a, b, lines);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for i in 0..a.len().max(b.len()) {
                let (a, b) = (a.get(i).unwrap_or(&Value::Null), b.get(i).unwrap_or(&Value::Null));
                walk(format!("{path}[{i}]"), a, b, lines);
            }
        }
        _ => {
            let mut line = String::new();
            if !old.is_null() {
                let _ = write!(line, "- {path}: {old}");
            }
            if !new.is_null() {
                let _ = write!(line, "{}+ {path}: {new}", if line.is_empty() { "" } else { "\n" });
            }
            lines.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_differences_are_told() {
        let old = json!({"a": 1, "b": [{"c": "x"}], "d": 1});
        let new = json!({"a": 1, "b": [{"c": "y"}, 2]});
        assert_eq!(diff(&old, &new), "- b[0].c: \"x\"\n+ b[0].c: \"y\"\n+ b[1]: 2\n- d: 1\n");
    }
}
