//! Values of expressions. JSON is borrowed and read only where an expression looks.

mod compare;
mod json;
mod list;
mod map;
mod text;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use apimachinery::quantity::Quantity;

pub use list::List;
pub use map::{Key, Map};
pub use text::Text;

pub(crate) use compare::identity;
pub(crate) use list::Items;
pub(crate) use map::Entries;

use crate::functions::authorizer::{Check, Decided};
use crate::functions::cidr::Cidr;
use crate::functions::format::NamedFormat;
use crate::functions::semver::Version;
use crate::functions::url::Url;
use crate::time::{Duration, Timestamp};

/// A value. Cheap to clone: large ones are borrowed or shared.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A bool.
    Bool(bool),
    /// An int.
    Int(i64),
    /// A uint.
    Uint(u64),
    /// A double.
    Double(f64),
    /// A string.
    String(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A point in time.
    Timestamp(Timestamp),
    /// A span of time.
    Duration(Duration),
    /// A list.
    List(List<'a>),
    /// A map or an object.
    Map(Map<'a>),
    /// A type, by its name.
    Type(Text<'a>),
    /// An optional value.
    Optional(Option<Arc<Value<'a>>>),
    /// A value of a library's own type.
    Opaque(Opaque),
}

/// A value that only functions look into.
#[derive(Clone, Debug)]
pub enum Opaque {
    /// `url("...")`.
    Url(Arc<Url>),
    /// `quantity("...")`.
    Quantity(Arc<Quantity>),
    /// `ip("...")`.
    Ip(IpAddr),
    /// `cidr("...")`.
    Cidr(Cidr),
    /// `semver("...")`.
    Semver(Arc<Version>),
    /// `format.dns1123Label()`.
    Format(&'static NamedFormat),
    /// The authorizer, or a check on its way to be decided.
    Check(Arc<Check>),
    /// What the authorizer said.
    Decision(Arc<Decided>),
    /// The object whose fields are programs, each run when it is first looked at.
    Composed,
}

impl<'a> Value<'a> {
    /// A string of its own.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Value::String(Text::Shared(text.into()))
    }

    /// A borrowed string.
    pub fn text(text: &'a str) -> Self {
        Value::String(Text::Borrowed(text))
    }

    /// A list of its own.
    pub fn list(items: Vec<Value<'a>>) -> Self {
        Value::List(List::new(items))
    }

    pub(crate) fn some(value: Value<'a>) -> Self {
        Value::Optional(Some(Arc::new(value)))
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The bool, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The name of its type at run time.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) => "list",
            Value::Map(map) => map.object_name().unwrap_or("map"),
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Opaque(opaque) => opaque.type_name(),
        }
    }

    /// What `size()` tells, and what costs are counted by; `None` for what has no size.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Value::String(text) => Some(text.characters() as u64),
            Value::Bytes(bytes) => Some(bytes.len() as u64),
            Value::List(list) => Some(list.len() as u64),
            Value::Map(map) => Some(map.len() as u64),
            Value::Opaque(Opaque::Ip(IpAddr::V4(_)) | Opaque::Cidr(Cidr { address: IpAddr::V4(_), .. })) => {
                Some(4)
            }
            Value::Opaque(Opaque::Ip(_) | Opaque::Cidr(_)) => Some(16),
            _ => None,
        }
    }

    /// Whether it is `false`, 0, empty or `null`.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Value::Null | Value::Optional(None) => true,
            Value::Bool(value) => !value,
            Value::Int(value) => *value == 0,
            Value::Uint(value) => *value == 0,
            Value::Double(value) => *value == 0.0,
            Value::Duration(value) => value.nanos() == 0,
            Value::String(_) | Value::Bytes(_) | Value::List(_) | Value::Map(_) => self.size() == Some(0),
            _ => false,
        }
    }
}

impl Opaque {
    fn type_name(&self) -> &'static str {
        match self {
            Opaque::Url(_) => "kubernetes.URL",
            Opaque::Quantity(_) => "kubernetes.Quantity",
            Opaque::Ip(_) => "net.IP",
            Opaque::Cidr(_) => "net.CIDR",
            Opaque::Semver(_) => "kubernetes.Semver",
            Opaque::Format(_) => "kubernetes.NamedFormat",
            Opaque::Check(check) => check.type_name(),
            Opaque::Decision(_) => "kubernetes.authorization.Decision",
            Opaque::Composed => "kubernetes.variables",
        }
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl fmt::Display for Value<'_> {
    /// As error messages quote values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Uint(value) => write!(f, "{value}"),
            Value::Double(value) => write!(f, "{value}"),
            Value::String(text) | Value::Type(text) => f.write_str(text),
            Value::Bytes(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Value::Timestamp(value) => write!(f, "{value}"),
            Value::Duration(value) => write!(f, "{value}"),
            other => f.write_str(other.type_name()),
        }
    }
}
