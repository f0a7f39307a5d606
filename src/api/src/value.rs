//! Reading and defaulting fields of a JSON tree. Reading never fails: what is absent, or of another type than
//! asked for, is empty. (Types were checked against the schema when the object was decoded.)

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// A field's value; null when absent.
pub fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or(&NULL)
}

/// The value at the end of a path of fields; null when absent.
pub fn at<'a>(object: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(object, |value, name| field(value, name))
}

/// Whether a field is there (a decoded object holds no nulls).
pub fn has(object: &Value, name: &str) -> bool {
    object.get(name).is_some_and(|v| !v.is_null())
}

/// A string field; empty when absent.
pub fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    field(object, name).as_str().unwrap_or("")
}

/// The string at the end of a path; empty when absent.
pub fn text_at<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).as_str().unwrap_or("")
}

/// An integer field.
pub fn int(object: &Value, name: &str) -> Option<i64> {
    field(object, name).as_i64()
}

/// The integer at the end of a path.
pub fn int_at(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path).as_i64()
}

/// A boolean field.
pub fn boolean(object: &Value, name: &str) -> Option<bool> {
    field(object, name).as_bool()
}

/// Whether a boolean field is there and true.
pub fn is_true(object: &Value, name: &str) -> bool {
    boolean(object, name) == Some(true)
}

/// A list field; empty when absent.
pub fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    field(object, name).as_array().map_or(&[], Vec::as_slice)
}

/// The list at the end of a path; empty when absent.
pub fn list_at<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).as_array().map_or(&[], Vec::as_slice)
}

/// The strings of a list field.
pub fn texts<'a>(object: &'a Value, name: &str) -> impl Iterator<Item = &'a str> + Clone {
    list(object, name).iter().filter_map(Value::as_str)
}

/// The entries of a map field; none when absent.
pub fn entries<'a>(object: &'a Value, name: &str) -> impl Iterator<Item = (&'a str, &'a Value)> + Clone {
    field(object, name).as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

/// Whether a field is absent or an empty string, list, map, zero or false: what Go's `omitempty` leaves out.
pub fn is_empty(object: &Value, name: &str) -> bool {
    is_empty_value(field(object, name))
}

/// Whether a value is what Go's `omitempty` leaves out.
pub fn is_empty_value(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

/// Booleans that are no pointers in Go, so that false is the same as absent.
const PLAIN_BOOLEANS: [&str; 9] =
    ["hostIPC", "hostNetwork", "hostPID", "optional", "paused", "readOnly", "stdin", "stdinOnce", "tty"];

/// Whether two fields are equal, an absent one being the same as an empty one.
pub fn same(a: &Value, b: &Value) -> bool {
    (is_empty_value(a) && is_empty_value(b)) || equivalent(a, b)
}

/// Whether two trees say the same to Kubernetes: an empty list, map or text within them is as good as absent, and
/// so is false where the field is no pointer (`equality.Semantic.DeepEqual` after decoding).
pub fn equivalent(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let counts = |name: &str, v: &Value| match v {
                Value::Null => false,
                Value::Bool(false) => !PLAIN_BOOLEANS.contains(&name),
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(members) => !members.is_empty(),
                _ => true,
            };
            x.iter().all(|(name, v)| match y.get(name) {
                Some(other) => equivalent(v, other) || !(counts(name, v) || counts(name, other)),
                None => !counts(name, v),
            }) && y.iter().all(|(name, v)| x.contains_key(name) || !counts(name, v))
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(a, b)| equivalent(a, b))
        }
        _ => a == b,
    }
}

/// Sets a field that is absent.
pub fn default(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut()
        && map.get(name).is_none_or(Value::is_null)
    {
        map.insert(name.to_owned(), value.into());
    }
}

/// Sets a field that is absent or the empty string: how fields that are no pointers in Go are defaulted.
pub fn default_text(object: &mut Value, name: &str, value: &str) {
    if let Some(map) = object.as_object_mut()
        && map.get(name).and_then(Value::as_str).is_none_or(str::is_empty)
    {
        map.insert(name.to_owned(), Value::from(value));
    }
}

/// Sets a field that is absent or zero: how numbers that are no pointers in Go are defaulted.
pub fn default_int(object: &mut Value, name: &str, value: i64) {
    if let Some(map) = object.as_object_mut()
        && map.get(name).and_then(Value::as_i64).unwrap_or(0) == 0
    {
        map.insert(name.to_owned(), Value::from(value));
    }
}

/// A field that is an object, to change it.
pub fn object_mut<'a>(object: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    object.get_mut(name).filter(|v| v.is_object())
}

/// A field as an object, made where it is absent. `None` when `object` is no JSON object.
pub fn ensure_object<'a>(object: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let entry = object.as_object_mut()?.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    Some(entry)
}

/// The items of a list field, to change them.
pub fn list_mut<'a>(object: &'a mut Value, name: &str) -> &'a mut [Value] {
    object.get_mut(name).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// The object at the end of a path, to change it.
pub fn at_mut<'a>(object: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(object, |value, name| object_mut(value, name))
}

/// Sets a field.
pub fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(name.to_owned(), value.into());
    }
}

/// Removes a field.
pub fn remove(object: &mut Value, name: &str) -> Option<Value> {
    object.as_object_mut()?.remove(name)
}

/// Makes a field what it is in `from`: copied, or removed where it is absent there.
pub fn copy(object: &mut Value, from: &Value, name: &str) {
    match from.get(name) {
        Some(value) => set(object, name, value.clone()),
        None => {
            remove(object, name);
        }
    }
}

/// Removes a field that `omitempty` would leave out.
pub fn drop_empty(object: &mut Value, name: &str) {
    if has(object, name) && is_empty(object, name) {
        remove(object, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_fields_read_as_empty() {
        let object = json!({"a": {"b": "x"}, "n": 3});
        assert_eq!(text_at(&object, &["a", "b"]), "x");
        assert_eq!(text_at(&object, &["a", "b", "c"]), "");
        assert_eq!(text(&object, "n"), "");
        assert!(list(&object, "a").is_empty());
        assert_eq!(entries(&object, "a").count(), 1);
    }

    #[test]
    fn what_is_empty_is_as_good_as_absent() {
        let a = json!({"x": [{"tty": false, "y": [], "z": {}, "n": 1}], "s": ""});
        assert!(equivalent(&a, &json!({"x": [{"n": 1}]})));
        assert!(!equivalent(&a, &json!({"x": [{"n": 2}]})));
        assert!(!equivalent(&json!({"automount": false}), &json!({})));
    }

    #[test]
    fn defaults_fill_only_what_is_missing() {
        let mut object = json!({"s": "", "t": "x", "z": 0});
        default_text(&mut object, "s", "d");
        default_text(&mut object, "t", "d");
        default_int(&mut object, "z", 5);
        default(&mut object, "s", "e");
        default(&mut object, "new", true);
        assert_eq!(object, json!({"s": "d", "t": "x", "z": 5, "new": true}));
    }
}
