//! A type as a JSON schema of OpenAPI v2 or v3, with Kubernetes' extensions.
//!
//! The versions differ in little: v3 tells defaults, and may say nothing beside a `$ref`, so that what is to be said
//! is put around it with `allOf`.

use super::Dialect;
use super::descriptions::Described;
use super::targets::{META, Target, What, definition_name};
use crate::customresources;
use apimachinery::gvk::Gvk;
use apimachinery::schema::{Any, Field, ListType, MapType, Node, Scalar, Shape};
use serde_json::{Map, Value, json};

/// A definition as a schema.
pub(super) fn definition(dialect: Dialect, target: &Target<'_>, described: &Described) -> Value {
    // What a custom resource's schema does not say is not made up.
    let go = !matches!(target.what, What::Root(..) | What::Custom(..));
    let write = Write { dialect, go };
    let mut identities = Vec::new();
    let mut out = match &target.what {
        What::Type(node) => {
            let info = node.info();
            identities.extend(info.iter().flat_map(|info| &info.gvks).map(|(g, v, k)| identity(g, v, k)));
            write.schema(*node, described)
        }
        What::Root(node, gvk) => {
            identities.push(gvk_extension(gvk));
            write.schema(*node, described)
        }
        What::Custom(version, gvk) => {
            identities.push(gvk_extension(gvk));
            let mut metadata = Map::new();
            let text = "Name, namespace, labels and what else all objects have.";
            put(&mut metadata, "description", text);
            write.put_reference(&mut metadata, Some(dialect.reference(&format!("{META}.ObjectMeta"))));
            customresources::published(version, dialect == Dialect::V2, &Value::Object(metadata))
        }
        What::List { gvk, list_kind, item } => {
            identities.push(identity(&gvk.group, &gvk.version, list_kind));
            write.list(item, described)
        }
        What::Patch => map([("type", json!("object"))]),
    };
    if !identities.is_empty() {
        put(&mut out, "x-kubernetes-group-version-kind", identities);
    }
    if let Some(text) = described.whole() {
        put(&mut out, "description", text);
    }
    Value::Object(out)
}

/// The value of `x-kubernetes-group-version-kind` at an operation.
pub(super) fn gvk_extension(gvk: &Gvk) -> Value {
    identity(&gvk.group, &gvk.version, &gvk.kind)
}

fn identity(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// How schemas are written.
struct Write {
    dialect: Dialect,
    /// Whether the types are Go's, where what is not set has the type's zero value.
    go: bool,
}

impl Write {
    /// A type written out: the inside of a definition, or in place where it has no name.
    fn schema(&self, node: Node<'_>, described: &Described) -> Map<String, Value> {
        let mut out = match node.shape() {
            Shape::Scalar(kind) => self.scalar(*kind),
            Shape::Any(Any::RawExtension | Any::FieldsV1) => map([("type", json!("object"))]),
            // Any JSON at all, or one of several forms: a schema that says nothing.
            Shape::Any(Any::Json) | Shape::SchemaOr { .. } => Map::new(),
            Shape::Struct { fields, map_type, .. } => self.structure(node, fields, *map_type, described),
            Shape::Map { value, map_type } => {
                let mut out = map([("type", json!("object"))]);
                put(&mut out, "additionalProperties", self.part(node.at(*value)));
                put_map_type(&mut out, *map_type);
                out
            }
            Shape::List { item, list_type } => {
                let mut out = map([("type", json!("array")), ("items", self.part(node.at(*item)))]);
                put_list_type(&mut out, list_type);
                out
            }
        };
        let ty = node.ty();
        if ty.preserve_unknown {
            put(&mut out, "x-kubernetes-preserve-unknown-fields", true);
        }
        if ty.embedded {
            put(&mut out, "x-kubernetes-embedded-resource", true);
        }
        if ty.nullable && self.dialect == Dialect::V3 {
            put(&mut out, "nullable", true);
        }
        if let Some(info) = node.info() {
            if !info.values.is_empty() {
                put(&mut out, "enum", info.values.clone());
            }
            if let Ok(unions) = serde_json::from_str::<Value>(&info.unions) {
                put(&mut out, "x-kubernetes-unions", unions);
            }
        }
        out
    }

    fn scalar(&self, kind: Scalar) -> Map<String, Value> {
        let (ty, format) = match kind {
            Scalar::String => ("string", ""),
            Scalar::Int32 => ("integer", "int32"),
            Scalar::Int64 => ("integer", "int64"),
            Scalar::Double => ("number", "double"),
            Scalar::Bool => ("boolean", ""),
            Scalar::Bytes => ("string", "byte"),
            Scalar::Time | Scalar::MicroTime => ("string", "date-time"),
            Scalar::Quantity if self.dialect == Dialect::V3 => {
                return map([("oneOf", json!([{"type": "string"}, {"type": "number"}]))]);
            }
            Scalar::IntOrString if self.dialect == Dialect::V3 => {
                let forms = json!([{"type": "integer"}, {"type": "string"}]);
                return map([("format", json!("int-or-string")), ("oneOf", forms)]);
            }
            // In v2, types of more than one form are told as strings.
            Scalar::Quantity => ("string", ""),
            Scalar::IntOrString => ("string", "int-or-string"),
        };
        let mut out = map([("type", json!(ty))]);
        if !format.is_empty() {
            put(&mut out, "format", format);
        }
        out
    }

    fn structure(
        &self,
        node: Node<'_>,
        fields: &[Field],
        map_type: MapType,
        described: &Described,
    ) -> Map<String, Value> {
        let mut out = map([("type", json!("object"))]);
        let mut properties = Map::new();
        for field in fields {
            let description = described.field(&field.name);
            properties.insert(field.name.to_string(), self.property(node.at(field.ty), field, description));
        }
        if !properties.is_empty() {
            put(&mut out, "properties", properties);
        }
        let required: Vec<&str> = fields.iter().filter(|f| f.required).map(|f| f.name.as_ref()).collect();
        if !required.is_empty() {
            put(&mut out, "required", required);
        }
        put_map_type(&mut out, map_type);
        out
    }

    fn property(&self, node: Node<'_>, field: &Field, description: Option<&str>) -> Value {
        let (mut out, reference) = self.place(node);
        if let Some(text) = description {
            put(&mut out, "description", text);
        }
        if self.dialect == Dialect::V3
            && let Some(default) = self.default(node, field)
        {
            put(&mut out, "default", default);
        }
        if !field.patch.extension().is_empty() {
            put(&mut out, "x-kubernetes-patch-strategy", field.patch.extension());
        }
        if let Some(key) = &field.merge_key {
            put(&mut out, "x-kubernetes-patch-merge-key", key.as_ref());
        }
        put_map_type(&mut out, field.map_type);
        self.put_reference(&mut out, reference);
        Value::Object(out)
    }

    /// The items of a list or the values of a map.
    fn part(&self, node: Node<'_>) -> Value {
        let (mut out, reference) = self.place(node);
        if self.dialect == Dialect::V3 && self.go {
            if matches!(node.shape(), Shape::Struct { .. }) {
                put(&mut out, "default", Map::new());
            } else if let Some(zero) = zero(node) {
                put(&mut out, "default", zero);
            }
        }
        self.put_reference(&mut out, reference);
        Value::Object(out)
    }

    /// A type where it is used: the name of its definition, or, if it has none, the type itself.
    fn place(&self, node: Node<'_>) -> (Map<String, Value>, Option<String>) {
        match definition_name(node) {
            Some(name) => (Map::new(), Some(self.dialect.reference(&name))),
            None => (self.schema(node, &Described::nothing()), None),
        }
    }

    /// `allOf` is needed where something is said beside the reference: OpenAPI 3.0 ignores that otherwise.
    fn put_reference(&self, out: &mut Map<String, Value>, reference: Option<String>) {
        let Some(reference) = reference else { return };
        if self.dialect == Dialect::V3 && !out.is_empty() {
            put(out, "allOf", json!([{"$ref": reference}]));
        } else {
            put(out, "$ref", reference);
        }
    }

    /// What a field is where it is left out: what the table says, or what Go's types make of it.
    fn default(&self, node: Node<'_>, field: &Field) -> Option<Value> {
        if let Some(default) = field.default.as_deref() {
            return Some(default.clone());
        }
        if field.always {
            return Some(json!({}));
        }
        if self.go && field.required { zero(node) } else { None }
    }

    /// The list of a resource whose lists are in no schema set.
    fn list(&self, item: &str, described: &Described) -> Map<String, Value> {
        let described = |name: &str| {
            let text = described.field(name).unwrap_or_default();
            map([("description", json!(text))])
        };
        let string = |name: &str| {
            let mut out = described(name);
            put(&mut out, "type", "string");
            Value::Object(out)
        };
        let mut items = described("items");
        put(&mut items, "type", "array");
        put(&mut items, "items", json!({"$ref": self.dialect.reference(item)}));
        let mut metadata = described("metadata");
        self.put_reference(&mut metadata, Some(self.dialect.reference(&format!("{META}.ListMeta"))));
        let properties = json!({
            "apiVersion": string("apiVersion"),
            "items": items,
            "kind": string("kind"),
            "metadata": metadata,
        });
        map([("type", json!("object")), ("required", json!(["items"])), ("properties", properties)])
    }
}

/// The value that a scalar of Go has when nobody sets it.
fn zero(node: Node<'_>) -> Option<Value> {
    match node.shape() {
        Shape::Scalar(Scalar::String) => Some(json!("")),
        Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double) => Some(json!(0)),
        Shape::Scalar(Scalar::Bool) => Some(json!(false)),
        _ => None,
    }
}

fn put_map_type(out: &mut Map<String, Value>, map_type: MapType) {
    match map_type {
        MapType::Unset => {}
        MapType::Granular => put(out, "x-kubernetes-map-type", "granular"),
        MapType::Atomic => put(out, "x-kubernetes-map-type", "atomic"),
    }
}

fn put_list_type(out: &mut Map<String, Value>, list_type: &ListType) {
    match list_type {
        ListType::Unset => {}
        ListType::Atomic => put(out, "x-kubernetes-list-type", "atomic"),
        ListType::Set => put(out, "x-kubernetes-list-type", "set"),
        ListType::Map(keys) => {
            let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
            put(out, "x-kubernetes-list-map-keys", keys);
            put(out, "x-kubernetes-list-type", "map");
        }
    }
}

fn put(out: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    out.insert(key.to_owned(), value.into());
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
