//! Schemas as expressions see them.

use apimachinery::schema::{ListType, Node, Scalar, Shape, TypeId};
use cel::{Decl, DeclKind, Field, ListKind, ObjectType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The declaration of values of a type, for expressions. What contains itself is not followed.
pub fn declaration(node: Node<'_>, name: &str) -> Decl {
    declare(node, name, &mut Vec::new())
}

fn declare(node: Node<'_>, name: &str, above: &mut Vec<TypeId>) -> Decl {
    if node.ty().preserve_unknown || node.ty().embedded || above.contains(&node.id()) {
        return Decl::dynamic().clone();
    }
    above.push(node.id());
    let mut decl = match node.shape() {
        Shape::Any(_) | Shape::SchemaOr { .. } => Decl::dynamic().clone(),
        Shape::Scalar(scalar) => Decl::new(match scalar {
            Scalar::String | Scalar::Quantity => DeclKind::String,
            Scalar::Int32 | Scalar::Int64 => DeclKind::Int,
            Scalar::Double => DeclKind::Double,
            Scalar::Bool => DeclKind::Bool,
            Scalar::Bytes => DeclKind::Bytes,
            Scalar::Time | Scalar::MicroTime => DeclKind::Timestamp,
            Scalar::IntOrString => DeclKind::IntOrString,
        }),
        Shape::Struct { fields, .. } => {
            let fields: BTreeMap<String, Field> = fields
                .iter()
                .filter_map(|field| {
                    let decl = declare(node.at(field.ty), &format!("{name}.{}", field.name), above);
                    let declared = Field {
                        name: field.name.clone().into_owned(),
                        decl: Arc::new(decl),
                        required: field.required,
                    };
                    Some((cel::escape(&field.name)?, declared))
                })
                .collect();
            Decl::object(ObjectType { name: name.to_owned(), fields, open: false })
        }
        Shape::Map { value, .. } => Decl::map(declare(node.at(*value), &format!("{name}.@values"), above)),
        Shape::List { item, list_type } => {
            let items = declare(node.at(*item), &format!("{name}.@items"), above);
            let list = match list_type {
                ListType::Set => ListKind::Set,
                ListType::Map(keys) => {
                    ListKind::Map(keys.iter().map(|key| key.clone().into_owned()).collect())
                }
                ListType::Unset | ListType::Atomic => ListKind::Atomic,
            };
            Decl::new(DeclKind::List { items: Arc::new(items), list })
        }
    };
    above.pop();
    decl.nullable |= node.ty().nullable;
    decl
}
