//! The types that the checker knows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::decl::{Decl, Field};

/// A type of the language. `Display` writes it as error messages do.
#[derive(Clone, Debug)]
pub enum Type {
    /// Known only at run time.
    Dyn,
    /// What stands in the place of an expression that is wrong; assignable to everything.
    Error,
    /// `null`.
    Null,
    /// `bool`.
    Bool,
    /// `int`, 64 bits.
    Int,
    /// `uint`, 64 bits.
    Uint,
    /// `double`.
    Double,
    /// `string`.
    String,
    /// `bytes`.
    Bytes,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// `google.protobuf.Duration`.
    Duration,
    /// `list(T)`.
    List(Arc<Type>),
    /// `map(K, V)`.
    Map(Arc<(Type, Type)>),
    /// `optional_type(T)`.
    Optional(Arc<Type>),
    /// The type of a type.
    Type(Arc<Type>),
    /// An object with known fields.
    Object(Arc<ObjectType>),
    /// A value that only functions look into, as `kubernetes.Quantity`.
    Opaque(&'static str),
    /// A type variable; in signatures `A` is 0.
    Param(u32),
}

/// An object with known fields. Two of the same name are the same type.
#[derive(Debug, Default)]
pub struct ObjectType {
    /// Qualified name, unique in an environment.
    pub name: String,
    /// Fields by their escaped names.
    pub fields: BTreeMap<String, Field>,
    /// Whether fields that are not declared are there as well, as `dyn`.
    pub open: bool,
}

impl ObjectType {
    /// An object type of these fields, whose names are the same in JSON and in expressions.
    pub fn new<'n>(name: impl Into<String>, fields: impl IntoIterator<Item = (&'n str, Decl)>) -> Self {
        let fields = fields
            .into_iter()
            .map(|(name, decl)| {
                (name.to_owned(), Field { name: name.to_owned(), decl: Arc::new(decl), required: false })
            })
            .collect();
        Self { name: name.into(), fields, open: false }
    }

    /// A field by its name in expressions; reserved words go without their escape too.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name).or_else(|| match crate::escape::is_reserved(name) {
            true => self.fields.get(&format!("__{name}__")),
            false => None,
        })
    }
}

impl Type {
    /// `list(items)`.
    pub fn list(items: Type) -> Self {
        Type::List(Arc::new(items))
    }

    /// `map(key, value)`.
    pub fn map(key: Type, value: Type) -> Self {
        Type::Map(Arc::new((key, value)))
    }

    /// `optional_type(of)`.
    pub fn optional(of: Type) -> Self {
        Type::Optional(Arc::new(of))
    }

    /// Whether a value of this type may be used where `expected` is wanted, with `dyn` fitting everywhere.
    pub fn is_assignable_to(&self, expected: &Type) -> bool {
        crate::inference::Inference::default().assignable(expected, self)
    }

    /// The name for an error, cut where it gets too long to read.
    pub(crate) fn spell(&self) -> String {
        struct Bounded(String);
        impl fmt::Write for Bounded {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.push_str(text);
                if self.0.len() > 1_000 { Err(fmt::Error) } else { Ok(()) }
            }
        }
        let mut name = Bounded(String::new());
        if fmt::write(&mut name, format_args!("{self}")).is_err() {
            name.0.push_str("...");
        }
        name.0
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    /// Whether both are the same type, parameters included.
    pub(crate) fn same(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::List(a), Type::List(b))
            | (Type::Optional(a), Type::Optional(b))
            | (Type::Type(a), Type::Type(b)) => Arc::ptr_eq(a, b) || a.same(b),
            (Type::Map(a), Type::Map(b)) => Arc::ptr_eq(a, b) || (a.0.same(&b.0) && a.1.same(&b.1)),
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            (Type::Opaque(a), Type::Opaque(b)) => a == b,
            (Type::Param(a), Type::Param(b)) => a == b,
            (a, b) => {
                std::mem::discriminant(a) == std::mem::discriminant(b)
                    && !matches!(
                        a,
                        Type::List(_)
                            | Type::Optional(_)
                            | Type::Type(_)
                            | Type::Map(_)
                            | Type::Object(_)
                            | Type::Opaque(_)
                            | Type::Param(_)
                    )
            }
        }
    }

    /// The name that `type(x)` has at run time, and that "no such overload" tells.
    pub(crate) fn runtime_name(&self) -> &str {
        match self {
            Type::Dyn => "dyn",
            Type::Error => "error",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::Duration => "google.protobuf.Duration",
            Type::List(_) => "list",
            Type::Map(_) => "map",
            Type::Optional(_) => "optional_type",
            Type::Type(_) => "type",
            Type::Object(object) => &object.name,
            Type::Opaque(name) => name,
            Type::Param(_) => "dyn",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Error => f.write_str("!error!"),
            Type::Null => f.write_str("null"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(items) => write!(f, "list({items})"),
            Type::Map(entry) => write!(f, "map({}, {})", entry.0, entry.1),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Type(of) if of.is_dyn_or_error() => f.write_str("type"),
            Type::Type(of) => write!(f, "type({of})"),
            Type::Param(index) => write!(f, "_var{index}"),
            other => f.write_str(other.runtime_name()),
        }
    }
}
