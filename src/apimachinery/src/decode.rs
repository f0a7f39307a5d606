//! Strict decoding of request bodies: JSON and YAML into a tree, with duplicate keys told apart from
//! syntax errors, and bounds on depth and size that hold before anything is built.

use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::{Cell, RefCell};
use std::fmt;

/// Deepest nesting that is read. encoding/json of Go allows 10,000; objects of the API stay far below
/// this, and recursion over a tree must not exhaust a worker's stack. serde_json's own limit is 128.
pub const MAX_DEPTH: usize = 120;

/// The most memory that the tree of one body may take, roughly. A body of 3 MiB of ordinary objects stays far below;
/// one of nothing but empty objects would otherwise grow two hundred times.
const MAX_TREE_BYTES: usize = 64 << 20;

/// How much a tree may still grow.
pub(crate) struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(MAX_TREE_BYTES))
    }
}

impl Budget {
    /// A value in its place, without what it points to.
    pub(crate) const VALUE: usize = 32;
    /// An object: a node of its tree, which has room for eleven entries.
    pub(crate) const OBJECT: usize = 640;

    /// Takes some of it, or tells how much there was.
    pub(crate) fn spend(&self, bytes: usize) -> Result<(), usize> {
        let left = self.0.get().checked_sub(bytes).ok_or(MAX_TREE_BYTES)?;
        self.0.set(left);
        Ok(())
    }
}

/// A decoded body.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The tree. Of duplicate keys the last one counts.
    pub value: Value,
    /// Paths of duplicate keys, such as `spec.replicas`, in the order in which they were met.
    pub duplicates: Vec<String>,
}

/// Why a body cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The text is not JSON.
    #[error("{0}")]
    Json(String),
    /// The text is not YAML, or YAML that JSON cannot say.
    #[error("error converting YAML to JSON: {0}")]
    Yaml(String),
}

/// Reads JSON.
///
/// # Errors
/// When the bytes are not exactly one JSON value, nest deeper than [`MAX_DEPTH`], or would make too large a tree.
pub fn json(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    json_within(bytes, &Budget::default())
}

pub(crate) fn json_within(bytes: &[u8], budget: &Budget) -> Result<Decoded, DecodeError> {
    let sink = Sink::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node { sink: &sink, path: &Trail::Root, depth: 0, budget }
        .deserialize(&mut deserializer)
        .map_err(|e| DecodeError::Json(e.to_string()))?;
    deserializer.end().map_err(|e| DecodeError::Json(e.to_string()))?;
    Ok(Decoded { value, duplicates: sink.0.into_inner() })
}

/// Reads YAML (one document) into the tree that its JSON form would give.
///
/// # Errors
/// When the text is not YAML, has duplicate keys, more than one document, or outgrows the parser's budget
/// for aliases, depth and events.
pub fn yaml(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|e| DecodeError::Yaml(e.to_string()))?;
    let value: Value = serde_saphyr::from_str(text).map_err(|e| DecodeError::Yaml(e.to_string()))?;
    Ok(Decoded { value, duplicates: Vec::new() })
}

/// Reads a type from YAML (one document) by way of the tree of its JSON form, as Kubernetes does: one decoder of YAML
/// for all types keeps the program small.
///
/// # Errors
/// Those of [`yaml`], and when the tree is not one of that type.
pub fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<T, DecodeError> {
    let mut tree = yaml(text.as_bytes())?.value;
    leave_out_nulls(&mut tree);
    serde_json::from_value(tree).map_err(|e| DecodeError::Json(e.to_string()))
}

/// A member that is null is as good as none, to Go: `resources:` with nothing behind it.
fn leave_out_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(leave_out_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_nulls),
        _ => {}
    }
}

/// Writes YAML as `kubectl -o yaml` would show it.
///
/// # Errors
/// When the tree holds something YAML cannot say.
pub fn to_yaml(value: &Value) -> Result<String, DecodeError> {
    serde_saphyr::to_string(value).map_err(|e| DecodeError::Yaml(e.to_string()))
}

#[derive(Default)]
struct Sink(RefCell<Vec<String>>);

enum Trail<'a> {
    Root,
    Key(&'a Trail<'a>, &'a str),
    Index(&'a Trail<'a>, usize),
}

impl fmt::Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trail::Root => Ok(()),
            Trail::Key(Trail::Root, key) => f.write_str(key),
            Trail::Key(parent, key) => write!(f, "{parent}.{key}"),
            Trail::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

struct Node<'a> {
    sink: &'a Sink,
    path: &'a Trail<'a>,
    depth: usize,
    budget: &'a Budget,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.spend(Budget::VALUE)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut items = Vec::new();
        loop {
            let path = Trail::Index(self.path, items.len());
            match seq.next_element_seed(Node { sink: self.sink, path: &path, depth, budget: self.budget })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        self.spend(Budget::OBJECT)?;
        let mut entries = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = Trail::Key(self.path, &key);
            let value =
                map.next_value_seed(Node { sink: self.sink, path: &path, depth, budget: self.budget })?;
            if entries.contains_key(&key) {
                self.sink.0.borrow_mut().push(path.to_string());
            }
            entries.insert(key, value);
        }
        Ok(Value::Object(entries))
    }
}

impl Node<'_> {
    fn spend<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        self.budget
            .spend(bytes)
            .map_err(|limit| E::custom(format!("the object takes more than {limit} bytes")))
    }

    fn deeper<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format!("exceeded max depth of {MAX_DEPTH}")));
        }
        Ok(self.depth + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_member_with_nothing_behind_it_is_none() {
        #[derive(serde::Deserialize)]
        struct Read {
            #[serde(default)]
            items: Vec<String>,
        }
        assert!(from_yaml::<Read>("items:\n").unwrap().items.is_empty());
        assert_eq!(from_yaml::<Read>("items: [a]\n").unwrap().items, ["a"]);
    }

    #[test]
    fn duplicate_keys_are_told_with_their_paths_and_the_last_one_counts() {
        let decoded = json(br#"{"spec":{"a":1,"list":[{"b":1,"b":2}],"a":2}}"#).unwrap();
        assert_eq!(decoded.value, json!({"spec": {"a": 2, "list": [{"b": 2}]}}));
        assert_eq!(decoded.duplicates, ["spec.list[0].b", "spec.a"]);
    }

    #[test]
    fn what_is_not_one_value_is_refused() {
        for text in ["", "{", "{} {}", "nul", "[1,]", "\u{0}"] {
            assert!(json(text.as_bytes()).is_err(), "{text}");
        }
        assert!(json(&[b'"', 0xff, b'"']).is_err());
    }

    #[test]
    fn deep_nesting_is_refused_and_not_a_crash() {
        let text = "[".repeat(100_000);
        assert!(json(text.as_bytes()).is_err());
        assert!(yaml(text.as_bytes()).is_err());
    }

    #[test]
    fn a_body_that_would_grow_huge_is_refused() {
        let empty_objects = format!("[{}{{}}]", "{},".repeat(1_000_000));
        assert!(json(empty_objects.as_bytes()).unwrap_err().to_string().contains("takes more than"));
        let numbers = format!("[{}0]", "0,".repeat(1_000_000));
        assert!(json(numbers.as_bytes()).is_ok());
    }

    #[test]
    fn numbers_come_back_as_they_were_written() {
        for text in
            ["1.1844674407370957e20", "0.1", "5e-324", "2.2250738585072011e-308", "123456789.12345678"]
        {
            let read = json(text.as_bytes()).unwrap().value;
            assert_eq!(read.as_f64(), text.parse().ok(), "{text}");
            assert_eq!(json(read.to_string().as_bytes()).unwrap().value, read, "{text}");
        }
    }

    #[test]
    fn yaml_reads_as_its_json_form() {
        let decoded = yaml(b"a: yes\nb: 0x10\nc: [1, 'x']\nd: ~\ne: 1.5\n").unwrap();
        assert_eq!(decoded.value["c"], json!([1, "x"]));
        assert_eq!(decoded.value["d"], Value::Null);
        assert_eq!(decoded.value["e"], json!(1.5));
        assert_eq!(decoded.value["a"], json!(true));
    }

    #[test]
    fn yaml_bombs_are_refused() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..12 {
            let previous = format!("*a{}", i - 1);
            text.push_str(&format!("a{i}: &a{i} [{}]\n", vec![previous; 9].join(",")));
        }
        assert!(yaml(text.as_bytes()).is_err());
    }

    #[test]
    fn duplicate_keys_in_yaml_are_an_error() {
        assert!(yaml(b"a: 1\na: 2\n").is_err());
    }
}
