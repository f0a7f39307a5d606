//! How the parts of a value are owned: as a whole, by field, by key, or by item. The schema says; where it has
//! nothing to say, the value does.

use std::borrow::Cow;

use serde_json::Value;

use super::path;
use crate::schema::{Any, ListType, MapType, Node, Shape};

/// What is known of a value's type.
#[derive(Clone, Copy)]
pub(super) enum Ty<'a> {
    /// A type of the schema, and the map type that the field which holds the value declares over it.
    Known(Node<'a>, MapType),
    /// Nothing: objects are owned key by key, anything else as a whole.
    Deduced,
}

/// How a value's parts are owned.
#[derive(Clone, Copy)]
pub(super) enum Atom<'a> {
    /// The whole is one field.
    Leaf,
    /// Every field, by name.
    Struct(Node<'a>),
    /// Every entry, by key.
    Map(Ty<'a>),
    /// Every item, by its value.
    Set,
    /// Every item, by key fields.
    List(&'a [Cow<'static, str>], Node<'a>),
}

impl<'a> Ty<'a> {
    /// The type of a whole object.
    pub(super) fn root(node: Node<'a>) -> Self {
        Self::Known(node, MapType::Unset)
    }

    /// How a value of the type is owned.
    pub(super) fn atom(self, value: &Value) -> Atom<'a> {
        let Self::Known(node, over) = self else {
            return if value.is_object() { Atom::Map(Self::Deduced) } else { Atom::Leaf };
        };
        match node.shape() {
            Shape::Scalar(_) | Shape::SchemaOr { .. } | Shape::Any(Any::Json) => Atom::Leaf,
            Shape::Any(_) => Self::Deduced.atom(value),
            Shape::Struct { map_type, .. } | Shape::Map { map_type, .. } => {
                let map_type = if over == MapType::Unset { *map_type } else { over };
                match node.shape() {
                    _ if map_type == MapType::Atomic => Atom::Leaf,
                    Shape::Map { value, .. } => Atom::Map(Self::root(node.at(*value))),
                    _ => Atom::Struct(node),
                }
            }
            Shape::List { list_type: ListType::Set, .. } => Atom::Set,
            Shape::List { list_type: ListType::Map(keys), item } => Atom::List(keys, node.at(*item)),
            Shape::List { .. } => Atom::Leaf,
        }
    }

    /// The type of a struct's field.
    pub(super) fn of_field(node: Node<'a>, name: &str) -> Self {
        match node.field(name) {
            Some(field) => Self::Known(node.at(field.ty), field.map_type),
            None => Self::Deduced,
        }
    }
}

impl<'a> Atom<'a> {
    /// The type of the entry with this key.
    pub(super) fn child(self, name: &str) -> Ty<'a> {
        match self {
            Self::Struct(node) => Ty::of_field(node, name),
            Self::Map(ty) => ty,
            Self::List(_, node) => Ty::root(node),
            Self::Leaf | Self::Set => Ty::Deduced,
        }
    }

    /// The step to an item of the list. None if the item cannot be told apart.
    pub(super) fn step(self, item: &Value) -> Option<String> {
        match self {
            Self::Set => Some(path::value(item)),
            Self::List(keys, node) => path::key(item, keys, Some(node)),
            Self::Leaf | Self::Struct(_) | Self::Map(_) => None,
        }
    }
}
