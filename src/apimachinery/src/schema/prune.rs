//! The walk that every decoded object of a built-in kind takes, with the outcome that Go's decoder would have:
//! `null` is absent, unknown fields are dropped and told, a value of a wrong type is an error.

use serde_json::{Map, Value};

use super::scalar::{self, ScalarError};
use super::set::{Node, SchemaRef};
use super::types::{Field, SchemaOr, Shape};

/// Unknown fields that are told of one object: Kubernetes' strict decoder stops at as many.
const MAX_UNKNOWN: usize = 100;

/// A value that its field cannot hold; the text is that of Go's decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldTypeError {
    /// JSON of another type than the field's.
    #[error("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {wanted}")]
    Type {
        /// What was found: `string`, `number 1.5`, `object`, ...
        found: String,
        /// Go's name of the innermost struct: `DeploymentSpec`.
        owner: String,
        /// Names of the fields that lead there, without list positions: `spec.replicas`.
        path: String,
        /// Go's name of the type: `int32`, `[]v1.Container`, ...
        wanted: String,
    },
    /// The object itself is something else.
    #[error("json: cannot unmarshal {found} into Go value of type {wanted}")]
    Root {
        /// What was found.
        found: String,
        /// Go's name of the type.
        wanted: String,
    },
    /// A text that is no quantity, time or base64: the parser's own message.
    #[error("{0}")]
    Content(String),
}

/// Takes a decoded object to the form that Kubernetes would have after decoding: drops nulls, unknown fields and
/// optional lists and maps with nothing in them, checks types, brings quantities and times to canonical form, fills in
/// the defaults of the schema and the structs that are always written.
///
/// For whole objects of built-in kinds: a patch or an apply configuration would gain fields that it does not set.
///
/// Returns the paths of unknown fields, as `spec.containers[0].foo`, at most 100.
///
/// # Errors
/// At the first value (in order of field names) that its field cannot hold. The object is half done then.
pub fn prune(schema: &SchemaRef, obj: &mut Value) -> Result<Vec<String>, FieldTypeError> {
    let mut walk = Walk { path: Vec::new(), unknown: Vec::new() };
    walk.value(schema.node(), "", obj)?;
    Ok(walk.unknown)
}

/// Fills in the defaults that the schema declares, wherever their parents exist. [`prune()`] does it too.
pub fn apply_defaults(schema: &SchemaRef, obj: &mut Value) {
    defaults(schema.node(), obj);
}

fn defaults(node: Node<'_>, value: &mut Value) {
    match (node.shape(), value) {
        (Shape::Struct { fields, fills, .. }, Value::Object(map)) => {
            if *fills {
                fill(fields, map);
            }
            for (key, value) in map {
                if let Some(child) = node.child(key) {
                    defaults(child, value);
                }
            }
        }
        (Shape::Map { value: inner, .. }, Value::Object(map)) => {
            map.values_mut().for_each(|value| defaults(node.at(*inner), value));
        }
        (Shape::List { item, .. }, Value::Array(items)) => {
            items.iter_mut().for_each(|value| defaults(node.at(*item), value));
        }
        _ => {}
    }
}

fn fill(fields: &[Field], map: &mut Map<String, Value>) {
    for field in fields {
        if (field.always || field.default.is_some())
            && map.get(field.name.as_ref()).is_none_or(Value::is_null)
        {
            let value = field.default.as_deref().cloned().unwrap_or_else(|| Value::Object(Map::new()));
            map.insert(field.name.clone().into_owned(), value);
        }
    }
}

enum Segment<'a> {
    Field(&'a str),
    Key(String),
    Index(usize),
}

struct Walk<'a> {
    path: Vec<Segment<'a>>,
    unknown: Vec<String>,
}

impl<'a> Walk<'a> {
    /// `owner` is Go's name of the struct that holds the value, or that holds the lists and maps around it.
    fn value(&mut self, node: Node<'a>, owner: &'a str, value: &mut Value) -> Result<(), FieldTypeError> {
        match node.shape() {
            Shape::Any(_) => Ok(()),
            Shape::Scalar(scalar) => {
                scalar::decode(*scalar, value).map_err(|err| self.scalar_error(err, owner))
            }
            Shape::Struct { fields, fills, .. } => match value {
                Value::Object(map) => {
                    if *fills {
                        fill(fields, map);
                    }
                    self.structure(node, fields, map)
                }
                _ => Err(self.mismatch(node, owner, value)),
            },
            Shape::Map { value: inner, .. } => match value {
                Value::Object(map) => self.map(node.at(*inner), owner, map),
                _ => Err(self.mismatch(node, owner, value)),
            },
            Shape::List { item, .. } => match value {
                Value::Array(items) => self.list(node.at(*item), owner, items),
                _ => Err(self.mismatch(node, owner, value)),
            },
            Shape::SchemaOr { form, schema } => match (form, value) {
                (SchemaOr::Array, Value::Array(items)) => self.list(node.at(*schema), owner, items),
                (SchemaOr::Bool, Value::Bool(_)) => Ok(()),
                (SchemaOr::Strings, Value::Array(items)) if items.iter().all(Value::is_string) => Ok(()),
                (_, value) => self.value(node.at(*schema), owner, value),
            },
        }
    }

    fn structure(
        &mut self,
        node: Node<'a>,
        fields: &'a [Field],
        map: &mut Map<String, Value>,
    ) -> Result<(), FieldTypeError> {
        let owner = go_name(node);
        let keep_unknown = node.ty().preserve_unknown;
        let mut outcome = Ok(());
        // Both sides are sorted by name, so one pass over each suffices.
        let mut rest = fields.iter().peekable();
        map.retain(|key, value| {
            if outcome.is_err() {
                return true;
            }
            while rest.next_if(|field| field.name.as_ref() < key.as_str()).is_some() {}
            let Some(field) = rest.peek().filter(|field| field.name.as_ref() == key.as_str()) else {
                if !keep_unknown {
                    self.tell_unknown(key);
                }
                return keep_unknown;
            };
            if value.is_null() {
                return node.at(field.ty).ty().nullable;
            }
            let child = node.at(field.ty);
            self.path.push(Segment::Field(field.name.as_ref()));
            outcome = self.value(child, owner, value);
            self.path.pop();
            field.required || !is_empty(child, value)
        });
        outcome
    }

    fn map(
        &mut self,
        node: Node<'a>,
        owner: &'a str,
        map: &mut Map<String, Value>,
    ) -> Result<(), FieldTypeError> {
        // Keys are only told of in paths to unknown fields, which scalars have none of.
        let plain = matches!(node.shape(), Shape::Scalar(_) | Shape::Any(_));
        for (key, value) in map {
            if value.is_null() {
                *value = zero(node);
                continue;
            }
            if !plain {
                self.path.push(Segment::Key(key.clone()));
            }
            self.value(node, owner, value)?;
            if !plain {
                self.path.pop();
            }
        }
        Ok(())
    }

    fn list(&mut self, node: Node<'a>, owner: &'a str, items: &mut [Value]) -> Result<(), FieldTypeError> {
        for (index, value) in items.iter_mut().enumerate() {
            if value.is_null() {
                *value = zero(node);
                continue;
            }
            self.path.push(Segment::Index(index));
            self.value(node, owner, value)?;
            self.path.pop();
        }
        Ok(())
    }

    fn tell_unknown(&mut self, key: &str) {
        if self.unknown.len() >= MAX_UNKNOWN {
            return;
        }
        let mut path = String::new();
        for segment in &self.path {
            match segment {
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
                Segment::Field(name) => push_name(&mut path, name),
                Segment::Key(name) => push_name(&mut path, name),
            }
        }
        push_name(&mut path, key);
        self.unknown.push(path);
    }

    fn mismatch(&self, node: Node<'_>, owner: &str, value: &Value) -> FieldTypeError {
        self.type_error(scalar::found(value).to_owned(), owner, go_type(node))
    }

    fn scalar_error(&self, err: ScalarError, owner: &str) -> FieldTypeError {
        match err {
            ScalarError::Content(message) => FieldTypeError::Content(message),
            ScalarError::Type { found, wanted } => self.type_error(found, owner, wanted.to_owned()),
        }
    }

    fn type_error(&self, found: String, owner: &str, wanted: String) -> FieldTypeError {
        let names: Vec<&str> = self
            .path
            .iter()
            .filter_map(|segment| match segment {
                Segment::Field(name) => Some(*name),
                Segment::Key(_) | Segment::Index(_) => None,
            })
            .collect();
        if names.is_empty() {
            return FieldTypeError::Root { found, wanted };
        }
        FieldTypeError::Type { found, owner: owner.to_owned(), path: names.join("."), wanted }
    }
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// A list or map with nothing in it: Go leaves it out where the field is optional.
fn is_empty(node: Node<'_>, value: &Value) -> bool {
    match (node.shape(), value) {
        (Shape::List { .. }, Value::Array(items)) => items.is_empty(),
        (Shape::Map { .. }, Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

/// What Go makes of `null` as an item of a list or a value of a map.
fn zero(node: Node<'_>) -> Value {
    match node.shape() {
        Shape::Scalar(scalar) => scalar::zero(*scalar),
        Shape::Struct { .. } => Value::Object(Map::new()),
        Shape::Any(_) | Shape::Map { .. } | Shape::List { .. } | Shape::SchemaOr { .. } => Value::Null,
    }
}

/// Go's name of a struct: the end of the definition's name.
fn go_name(node: Node<'_>) -> &str {
    let name = node.name();
    name.rsplit('.').next().unwrap_or(name)
}

/// Go's name of a type, as its decoder prints it.
fn go_type(node: Node<'_>) -> String {
    match node.shape() {
        Shape::Scalar(scalar) => match scalar.name() {
            "bytes" => "[]uint8".to_owned(),
            "double" => "float64".to_owned(),
            "Quantity" => "resource.Quantity".to_owned(),
            "IntOrString" => "intstr.IntOrString".to_owned(),
            name @ ("Time" | "MicroTime") => format!("v1.{name}"),
            name => name.to_owned(),
        },
        Shape::Any(any) => any.name().to_owned(),
        Shape::Struct { .. } => {
            let mut parts = node.name().rsplit('.');
            let kind = parts.next().unwrap_or_default();
            format!("{}.{kind}", parts.next().unwrap_or_default())
        }
        Shape::Map { value, .. } => format!("map[string]{}", go_type(node.at(*value))),
        Shape::List { item, .. } => format!("[]{}", go_type(node.at(*item))),
        Shape::SchemaOr { form, .. } => format!("v1.{}", form.name()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::schema::text;

    const TABLE: &str = "\
: api.apps.v1.Deployment
= apps/v1 Deployment
spec api.apps.v1.DeploymentSpec 2
: api.apps.v1.DeploymentSpec
replicas int32 1
paused bool 2
containers [map:name]api.core.v1.Container 3
data {}bytes 4
limits {}Quantity 5
at Time 6
seen MicroTime 7
port IntOrString 8
raw RawExtension 9
extra {}api.core.v1.Container 10
: api.core.v1.Container
name! string 1
args [atomic]string 2
protocol string 3 default=\"TCP\"
resources api.core.v1.Resources 4 always
: api.core.v1.Resources
claims []string 1
limits! {}Quantity 2
";

    fn run(mut obj: Value) -> (Value, Result<Vec<String>, String>) {
        let set = Arc::new(text::parse(TABLE).unwrap());
        let id = set.by_name("api.apps.v1.Deployment").unwrap();
        let outcome = prune(&SchemaRef::new(set, id), &mut obj).map_err(|err| err.to_string());
        (obj, outcome)
    }

    fn error(obj: Value) -> String {
        run(obj).1.unwrap_err()
    }

    #[test]
    fn unknown_fields_are_dropped_and_told_by_path() {
        let (obj, unknown) = run(json!({"foo": 1, "spec": {
            "replicas": 3, "bar": {}, "containers": [{"name": "a"}, {"name": "b", "image": "x"}],
            "extra": {"k": {"z": 1}}}}));
        assert_eq!(unknown.unwrap(), ["foo", "spec.bar", "spec.containers[1].image", "spec.extra.k.z"]);
        assert_eq!(
            obj,
            json!({"spec": {"replicas": 3, "extra": {"k": {"protocol": "TCP", "resources": {}}},
                "containers": [{"name": "a", "protocol": "TCP", "resources": {}},
                    {"name": "b", "protocol": "TCP", "resources": {}}]}})
        );
    }

    #[test]
    fn null_is_absent_in_a_struct_and_zero_in_a_list_or_map() {
        let (obj, unknown) =
            run(json!({"spec": {"replicas": null, "containers": [{"name": null, "args": [null]}],
            "limits": {"cpu": null}, "protocol": null}}));
        assert_eq!(unknown.unwrap(), ["spec.protocol"]);
        assert_eq!(
            obj,
            json!({"spec": {"containers": [{"args": [""], "protocol": "TCP", "resources": {}}], "limits": {"cpu": "0"}}})
        );
    }

    #[test]
    fn a_wrong_type_is_told_as_go_tells_it() {
        assert_eq!(
            error(json!({"spec": {"replicas": "3"}})),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        assert_eq!(
            error(json!({"spec": {"containers": [{"args": [1]}]}})),
            "json: cannot unmarshal number into Go struct field Container.spec.containers.args of type string"
        );
        assert_eq!(
            error(json!({"spec": {"containers": {}}})),
            "json: cannot unmarshal object into Go struct field DeploymentSpec.spec.containers of type []v1.Container"
        );
        assert_eq!(
            error(json!({"spec": {"replicas": 3_000_000_000_i64}})),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        assert_eq!(
            error(json!({"spec": []})),
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"
        );
        assert_eq!(error(json!([])), "json: cannot unmarshal array into Go value of type v1.Deployment");
    }

    #[test]
    fn quantities_and_times_take_their_canonical_form() {
        let (obj, _) = run(json!({"spec": {"limits": {"cpu": "1000m", "memory": 0.5},
            "at": "2024-01-02T03:04:05.678+02:00", "seen": "2024-01-02T03:04:05.678901Z", "port": "http"}}));
        assert_eq!(
            obj,
            json!({"spec": {"limits": {"cpu": "1", "memory": "500m"},
                "at": "2024-01-02T01:04:05Z", "seen": "2024-01-02T03:04:05.678901Z", "port": "http"}})
        );
    }

    #[test]
    fn bad_content_gets_the_parsers_own_message() {
        assert_eq!(
            error(json!({"spec": {"at": "yesterday"}})),
            "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\""
        );
        assert_eq!(
            error(json!({"spec": {"at": "2024-01-02 03:04"}})),
            "parsing time \"2024-01-02 03:04\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \" 03:04\" as \"T\""
        );
        assert_eq!(error(json!({"spec": {"data": {"a": "b!=="}}})), "illegal base64 data at input byte 1");
        assert!(error(json!({"spec": {"limits": {"cpu": "one"}}})).starts_with("quantities must match"));
        assert_eq!(
            error(json!({"spec": {"port": true}})),
            "json: cannot unmarshal bool into Go struct field DeploymentSpec.spec.port of type int32"
        );
    }

    #[test]
    fn optional_lists_and_maps_with_nothing_in_them_are_left_out() {
        let (obj, _) = run(json!({"spec": {"data": {}, "containers": [{"args": [], "protocol": "UDP",
            "resources": {"claims": [], "limits": {}}}]}}));
        assert_eq!(obj, json!({"spec": {"containers": [{"protocol": "UDP", "resources": {"limits": {}}}]}}));
    }

    #[test]
    fn what_has_no_schema_is_kept_whole() {
        let raw = json!({"spec": {"raw": {"anything": [null, {"x": null}]}}});
        assert_eq!(run(raw.clone()), (raw, Ok(vec![])));
    }
}
