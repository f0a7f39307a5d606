//! A schema as the engine's own type, which drives server-side apply for custom resources as for built-in kinds.
//!
//! What the engine's type cannot say is not lost: pruning, defaulting and validation of custom resources go by the
//! [`StructuralSchema`], and OpenAPI is published from the definition's JSON.

use std::borrow::Cow;
use std::sync::Arc;

use apimachinery::gvk::Gvk;
use apimachinery::schema::types::{ProtobufPath, TypeInfo};
use apimachinery::schema::{
    self as engine, Any, Field, PatchStrategy, Scalar, SchemaRef, SchemaSet, Shape, TypeId,
};

use crate::object_meta::ObjectMeta;
use crate::schema::{Additional, ListType, MapType, StructuralSchema, Type};

/// The engine's schema for objects of one version: the schema itself, with `apiVersion`, `kind` and `ObjectMeta` as
/// every object has them.
///
/// Cost: some 300 bytes per property; make it when it is first needed.
pub fn to_engine_schema(schema: &StructuralSchema, gvk: &Gvk, object_meta: &ObjectMeta) -> SchemaRef {
    let mut set = SchemaSet::default();
    let metadata = set.import(object_meta.schema.node());
    let string = set.add(engine::Type::new(Shape::Scalar(Scalar::String)));
    let mut build = Build { set, metadata, string };
    let root = build.ty(schema, true);
    let mut set = build.set;
    let mut ty = set.get(root).clone();
    let gvks =
        vec![(Cow::from(gvk.group.clone()), Cow::from(gvk.version.clone()), Cow::from(gvk.kind.clone()))];
    ty.info = Some(Box::new(TypeInfo { gvks, ..TypeInfo::default() }));
    set.define(root, ty);
    SchemaRef::new(Arc::new(set), root)
}

struct Build {
    set: SchemaSet,
    metadata: TypeId,
    string: TypeId,
}

impl Build {
    fn ty(&mut self, schema: &StructuralSchema, root: bool) -> TypeId {
        let mut ty = engine::Type::new(self.shape(schema, root));
        ty.nullable = schema.nullable;
        ty.preserve_unknown = schema.preserve_unknown;
        ty.embedded = schema.embedded;
        self.set.add(ty)
    }

    fn shape(&mut self, schema: &StructuralSchema, root: bool) -> Shape {
        if schema.int_or_string {
            return Shape::Scalar(Scalar::IntOrString);
        }
        let format = schema.validation.as_ref().map_or("", |validation| &validation.format);
        match schema.ty {
            None => Shape::Any(Any::RawExtension),
            Some(Type::String) => Shape::Scalar(Scalar::String),
            Some(Type::Boolean) => Shape::Scalar(Scalar::Bool),
            Some(Type::Integer) if format == "int32" => Shape::Scalar(Scalar::Int32),
            Some(Type::Integer) => Shape::Scalar(Scalar::Int64),
            Some(Type::Number) => Shape::Scalar(Scalar::Double),
            Some(Type::Array) => self.list(schema),
            Some(Type::Object) => self.object(schema, root || schema.embedded),
        }
    }

    fn list(&mut self, schema: &StructuralSchema) -> Shape {
        let item = match &schema.items {
            Some(items) => self.ty(items, false),
            None => self.set.add(engine::Type::new(Shape::Any(Any::RawExtension))),
        };
        let list_type = match schema.list_type {
            None => engine::ListType::Unset,
            Some(ListType::Atomic) => engine::ListType::Atomic,
            Some(ListType::Set) => engine::ListType::Set,
            Some(ListType::Map) => engine::ListType::Map(
                schema.list_map_keys.iter().map(|key| Cow::from(key.to_string())).collect(),
            ),
        };
        Shape::List { item, list_type }
    }

    /// `whole`: the value has `apiVersion`, `kind` and `metadata` of its own.
    fn object(&mut self, schema: &StructuralSchema, whole: bool) -> Shape {
        let map_type = match schema.map_type {
            None => engine::MapType::Unset,
            Some(MapType::Granular) => engine::MapType::Granular,
            Some(MapType::Atomic) => engine::MapType::Atomic,
        };
        if !whole && schema.properties.is_empty() {
            match &schema.additional {
                Additional::Schema(value) => {
                    return Shape::Map { value: self.ty(value, false), map_type };
                }
                Additional::Allowed(true) => {
                    let value = self.set.add(engine::Type::new(Shape::Any(Any::RawExtension)));
                    return Shape::Map { value, map_type };
                }
                // Of an object without properties nothing is left but what is preserved, key by key.
                _ if schema.preserve_unknown && map_type != engine::MapType::Atomic => {
                    return Shape::Any(Any::RawExtension);
                }
                _ => {}
            }
        }
        let mut fields = Vec::with_capacity(schema.properties.len() + 3);
        for (name, property) in &schema.properties {
            if whole && crate::pruning::META_FIELDS.contains(&name.as_ref()) {
                continue;
            }
            let mut field = field(name, self.ty(property, false));
            field.required = schema.requires(name);
            field.default.clone_from(&property.default);
            fields.push(field);
        }
        if whole {
            fields.push(field("apiVersion", self.string));
            fields.push(field("kind", self.string));
            fields.push(field("metadata", self.metadata));
        }
        Shape::Struct { fields: fields.into(), map_type, fills: false }
    }
}

fn field(name: &str, ty: TypeId) -> Field {
    Field {
        name: Cow::from(name.to_owned()),
        ty,
        required: false,
        always: false,
        map_type: engine::MapType::Unset,
        patch: PatchStrategy::default(),
        merge_key: None,
        protobuf: ProtobufPath::default(),
        default: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_engine_sees_list_types_map_types_and_metadata() {
        let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {
            "metadata": {"type": "object"},
            "spec": {"type": "object", "required": ["a"], "properties": {
                "a": {"type": "integer", "default": 1, "nullable": true},
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
                "selector": {"type": "object", "x-kubernetes-map-type": "atomic",
                    "additionalProperties": {"type": "string"}},
                "any": {"x-kubernetes-preserve-unknown-fields": true},
                "size": {"x-kubernetes-int-or-string": true},
                "pod": {"type": "object", "x-kubernetes-embedded-resource": true,
                    "x-kubernetes-preserve-unknown-fields": true}}}}}))
        .unwrap();
        let meta = crate::object_meta::tests::object_meta();
        let gvk = Gvk::new("a.example", "v1", "A");
        let engine = to_engine_schema(&schema, &gvk, &meta);
        assert!(engine.set().by_gvk(&gvk).is_some());
        assert!(engine.child("metadata").unwrap().field("finalizers").is_some());
        let spec = engine.child("spec").unwrap();
        let a = spec.field("a").unwrap();
        assert!(a.required && a.default.as_deref() == Some(&json!(1)));
        assert!(spec.child("a").unwrap().node().ty().nullable);
        let ports = spec.child("ports").unwrap();
        assert_eq!(ports.node().list_type(), &engine::ListType::Map([Cow::from("name")].into()));
        assert_eq!(spec.child("selector").unwrap().node().map_type(), engine::MapType::Atomic);
        assert!(matches!(spec.child("any").unwrap().kind(), Shape::Any(Any::RawExtension)));
        assert!(matches!(spec.child("size").unwrap().kind(), Shape::Scalar(Scalar::IntOrString)));
        let pod = spec.child("pod").unwrap();
        assert!(pod.node().ty().embedded && pod.child("metadata").is_some());
    }
}
