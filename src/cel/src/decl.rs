//! Declared types: what a schema says of a value, for the checker, for typed views of JSON and for cost estimates.

use std::sync::Arc;

use crate::types::{ObjectType, Type};

/// A type with what the checker does not need: the largest size, and how JSON is read as it.
#[derive(Clone, Debug)]
pub struct Decl {
    /// How JSON is read.
    pub kind: DeclKind,
    /// The most elements (characters, bytes, items, entries) that a value can have; `u64::MAX` where nothing
    /// bounds them, and 0 for scalars, as upstream counts.
    pub max_elements: u64,
    /// The fewest bytes that a value needs in JSON.
    pub min_serialized_size: u64,
    /// Whether `null` is a value.
    pub nullable: bool,
}

/// How a value stands in JSON, and so what it is in an expression.
#[derive(Clone, Debug)]
pub enum DeclKind {
    /// Any JSON, each value as what it looks like.
    Dyn,
    /// A string or an integer; `dyn` to the checker.
    IntOrString,
    /// `bool`.
    Bool,
    /// `int`.
    Int,
    /// `double`, also where JSON has a whole number.
    Double,
    /// `string`.
    String,
    /// `bytes`, base64 in JSON.
    Bytes,
    /// `timestamp`, RFC 3339 in JSON.
    Timestamp,
    /// `timestamp`, a day in JSON.
    Date,
    /// `duration`, as Go writes it.
    Duration,
    /// `list`.
    List {
        /// What its items are.
        items: Arc<Decl>,
        /// How items are told apart.
        list: ListKind,
    },
    /// `map(string, values)`.
    Map {
        /// What its values are.
        values: Arc<Decl>,
    },
    /// An object with known fields.
    Object(Arc<ObjectType>),
    /// A type that JSON has no form for; the value is bound as a [`crate::Value`].
    Native(Type),
}

/// `x-kubernetes-list-type`: equality and `+` of lists follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// One value.
    #[default]
    Atomic,
    /// Unordered, without duplicates.
    Set,
    /// Unordered, items told apart by these properties.
    Map(Vec<String>),
}

/// A field of an object type.
#[derive(Clone, Debug)]
pub struct Field {
    /// The name in JSON, unescaped.
    pub name: String,
    /// Its type.
    pub decl: Arc<Decl>,
    /// Whether every object has it.
    pub required: bool,
}

static DYNAMIC: Decl =
    Decl { kind: DeclKind::Dyn, max_elements: u64::MAX, min_serialized_size: 1, nullable: true };

impl Decl {
    /// Any JSON, untyped.
    pub fn dynamic() -> &'static Decl {
        &DYNAMIC
    }

    /// A declaration whose size nothing bounds.
    pub fn new(kind: DeclKind) -> Self {
        let max_elements = match kind {
            DeclKind::Bool | DeclKind::Int | DeclKind::Double | DeclKind::Object(_) => 0,
            _ => u64::MAX,
        };
        Self { kind, max_elements, min_serialized_size: 1, nullable: false }
    }

    /// A list without a bound.
    pub fn list(items: Decl) -> Self {
        Self::new(DeclKind::List { items: Arc::new(items), list: ListKind::Atomic })
    }

    /// A map from strings without a bound.
    pub fn map(values: Decl) -> Self {
        Self::new(DeclKind::Map { values: Arc::new(values) })
    }

    /// An object of this type.
    pub fn object(of: ObjectType) -> Self {
        Self::new(DeclKind::Object(Arc::new(of)))
    }

    /// The checker's type.
    pub fn cel_type(&self) -> Type {
        match &self.kind {
            DeclKind::Dyn | DeclKind::IntOrString => Type::Dyn,
            DeclKind::Bool => Type::Bool,
            DeclKind::Int => Type::Int,
            DeclKind::Double => Type::Double,
            DeclKind::String => Type::String,
            DeclKind::Bytes => Type::Bytes,
            DeclKind::Timestamp | DeclKind::Date => Type::Timestamp,
            DeclKind::Duration => Type::Duration,
            DeclKind::List { items, .. } => Type::list(items.cel_type()),
            DeclKind::Map { values } => Type::map(Type::String, values.cel_type()),
            DeclKind::Object(object) => Type::Object(object.clone()),
            DeclKind::Native(of) => of.clone(),
        }
    }
}

impl From<Type> for Decl {
    /// A declaration whose size nothing bounds, with the JSON form that the type has, if any.
    fn from(of: Type) -> Self {
        Decl::new(match of {
            Type::Dyn => DeclKind::Dyn,
            Type::Bool => DeclKind::Bool,
            Type::Int => DeclKind::Int,
            Type::Double => DeclKind::Double,
            Type::String => DeclKind::String,
            Type::Bytes => DeclKind::Bytes,
            Type::Timestamp => DeclKind::Timestamp,
            Type::Duration => DeclKind::Duration,
            Type::List(items) => {
                DeclKind::List { items: Arc::new((*items).clone().into()), list: ListKind::Atomic }
            }
            Type::Map(entry) if matches!(entry.0, Type::String) => {
                DeclKind::Map { values: Arc::new(entry.1.clone().into()) }
            }
            Type::Object(object) => DeclKind::Object(object),
            other => DeclKind::Native(other),
        })
    }
}

impl From<Type> for Arc<Decl> {
    fn from(of: Type) -> Self {
        Arc::new(of.into())
    }
}
