//! Finds labels and selectable fields in stored bytes without building the whole object.

use api::{Kind, KindRef};
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt;
use storage::{Attrs, Extractor};

/// Extracts what selectors can name, for every built-in kind.
pub struct FieldExtractor {
    /// By `/registry/{group}/{plural}/`.
    by_prefix: HashMap<String, Plan>,
}

struct Plan {
    kind: KindRef,
    /// Members of the object that hold selectable fields.
    members: Vec<&'static str>,
}

impl FieldExtractor {
    /// An extractor for the built-in kinds.
    pub fn built_in() -> Self {
        let mut by_prefix = HashMap::new();
        for resource in api::registry().resources() {
            let names: Vec<&'static str> =
                resource.kind.selectable_fields(&Value::Null).into_iter().map(|(name, _)| name).collect();
            if names.is_empty() {
                continue;
            }
            let mut members: Vec<&'static str> =
                names.iter().filter_map(|name| name.split('.').next()).collect();
            members.sort_unstable();
            members.dedup();
            if resource.is_storage_version() {
                let prefix = super::key::prefix(&resource.gvr.group_resource(), "");
                by_prefix.insert(prefix, Plan { kind: resource.kind.clone(), members });
            }
        }
        Self { by_prefix }
    }
}

impl Extractor for FieldExtractor {
    fn extract(&self, key: &str, value: &[u8]) -> Attrs {
        let plan = storage::resource_prefix(key).ok().and_then(|prefix| self.by_prefix.get(prefix));
        let members = plan.map_or(&[][..], |plan| &plan.members);
        let mut deserializer = serde_json::Deserializer::from_slice(value);
        let Ok(skeleton) = deserializer.deserialize_map(Skeleton { members }) else {
            return Attrs::default();
        };
        attributes(plan.map(|plan| &*plan.kind), &skeleton)
    }
}

/// What selectors can name of an object of a built-in kind: what [`FieldExtractor`] finds in its bytes.
pub(super) fn attributes(kind: Option<&dyn Kind>, object: &Value) -> Attrs {
    let mut attrs = Attrs::builder();
    for (key, value) in apimachinery::meta::labels(object).into_iter().flatten() {
        attrs = attrs.label(key, value.as_str().unwrap_or(""));
    }
    attrs = attrs
        .field("metadata.name", apimachinery::meta::name(object))
        .field("metadata.namespace", apimachinery::meta::namespace(object));
    for (name, value) in kind.into_iter().flat_map(|kind| kind.selectable_fields(object)) {
        attrs = attrs.field(name, &value);
    }
    attrs.build()
}

/// Reads an object's scalars, the scalars of some of its members, and of its metadata what is needed; the rest
/// is skipped.
struct Skeleton<'a> {
    members: &'a [&'static str],
}

impl<'de> Visitor<'de> for Skeleton<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if name == "metadata" {
                let value = access.next_value_seed(Members { depth: 1 })?;
                out.insert(name, value.unwrap_or(Value::Null));
            } else if self.members.contains(&name.as_str()) {
                if let Some(value) = access.next_value_seed(Members { depth: 0 })? {
                    out.insert(name, value);
                }
            } else if let Some(value) = access.next_value_seed(Scalar)? {
                out.insert(name, value);
            }
        }
        Ok(Value::Object(out))
    }
}

/// A scalar, or an object's scalars, to a depth. Lists are skipped.
#[derive(Clone, Copy)]
struct Members {
    depth: u8,
}

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Option<Value>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_any(ScalarVisitor { object_depth: Some(self.depth) })
    }
}

/// A scalar; anything else is skipped.
#[derive(Clone, Copy)]
struct Scalar;

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Option<Value>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        deserializer.deserialize_any(ScalarVisitor { object_depth: None })
    }
}

struct ScalarVisitor {
    /// How deep objects are followed within an object; `None` follows none.
    object_depth: Option<u8>,
}

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Option<Value>, E> {
        Ok(Some(Value::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Option<Value>, E> {
        Ok(Some(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Option<Value>, E> {
        Ok(Some(Value::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Option<Value>, E> {
        Ok(Some(Value::from(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Option<Value>, E> {
        Ok(Some(Value::from(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Option<Value>, A::Error> {
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Option<Value>, A::Error> {
        let Some(depth) = self.object_depth else {
            while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        };
        let deeper = depth.checked_sub(1);
        let mut out = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = match deeper {
                // Of the maps within metadata, labels are all that selectors name.
                Some(depth) if name == "labels" => access.next_value_seed(Members { depth })?,
                _ => access.next_value_seed(Scalar)?,
            };
            if let Some(value) = value {
                out.insert(name, value);
            }
        }
        Ok(Some(Value::Object(out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_found_by_node_phase_and_labels() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "n", "labels": {"app": "web", "spec": "x"},
                "managedFields": [{"fieldsV1": {"f:spec": {}}}]},
            "spec": {"nodeName": "a", "containers": [{"name": "c"}], "affinity": {"nodeName": "no"}},
            "status": {"phase": "Running"}});
        let bytes = serde_json::to_vec(&pod).unwrap();
        let attrs = FieldExtractor::built_in().extract("/registry/core/pods/n/p", &bytes);
        assert_eq!(attrs.label("app"), Some("web"));
        assert_eq!(attrs.field("metadata.name"), Some("p"));
        assert_eq!(attrs.field("metadata.namespace"), Some("n"));
        assert_eq!(attrs.field("spec.nodeName"), Some("a"));
        assert_eq!(attrs.field("status.phase"), Some("Running"));
        let pods = api::registry().resources().find(|resource| resource.gvr.resource == "pods");
        assert_eq!(attributes(Some(&*pods.unwrap().kind), &pod), attrs);
    }

    #[test]
    fn a_kind_without_selectable_fields_has_its_metadata() {
        let bytes = br#"{"metadata":{"name":"c","namespace":"n"},"data":{"a":"b"}}"#;
        let attrs = FieldExtractor::built_in().extract("/registry/core/configmaps/n/c", bytes);
        assert_eq!(attrs.field("metadata.name"), Some("c"));
        assert_eq!(attrs.fields().count(), 2);
    }

    #[test]
    fn nonsense_has_no_attributes() {
        assert_eq!(FieldExtractor::built_in().extract("x", b"nonsense"), Attrs::default());
    }
}
