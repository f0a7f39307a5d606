//! One type of a schema set: scalar, struct, map or list, and the fields of a struct.

use std::borrow::Cow;

use serde_json::Value;

/// Index of a type in its [`super::SchemaSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub(crate) u32);

impl TypeId {
    /// As a place in a list of all types.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One type: its shape and what is rarely there.
#[derive(Clone, Debug)]
pub struct Type {
    /// What values of the type look like.
    pub shape: Shape,
    /// `null` is a value of its own (`nullable: true` of a custom resource's schema).
    pub nullable: bool,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserve_unknown: bool,
    /// The value is a whole object with apiVersion, kind and metadata (`x-kubernetes-embedded-resource`).
    pub embedded: bool,
    /// Identity and facts that few types have.
    pub info: Option<Box<TypeInfo>>,
}

impl Type {
    /// A nameless type of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape, nullable: false, preserve_unknown: false, embedded: false, info: None }
    }
}

/// What only named types (OpenAPI definitions) and restricted values have.
#[derive(Clone, Debug, Default)]
pub struct TypeInfo {
    /// Name of the OpenAPI definition without its leading `io.k8s.`, as `api.core.v1.Pod`; empty if nameless.
    pub name: Cow<'static, str>,
    /// Identities served with this type: (group, version, kind).
    pub gvks: Vec<(Cow<'static, str>, Cow<'static, str>, Cow<'static, str>)>,
    /// The value of `x-kubernetes-unions`, as JSON text; empty if there is none.
    pub unions: Cow<'static, str>,
    /// The only values allowed, where there are such.
    pub values: Vec<Value>,
}

/// What values of a type look like.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A value without parts.
    Scalar(Scalar),
    /// Any JSON at all.
    Any(Any),
    /// An object with known fields, sorted by name.
    Struct {
        /// The fields, sorted by name.
        fields: Box<[Field]>,
        /// Whether fields merge and are owned one by one (`x-kubernetes-map-type`).
        map_type: MapType,
        /// Whether some field has a default or is always written: set by the set.
        fills: bool,
    },
    /// An object whose keys are data.
    Map {
        /// Type of every value.
        value: TypeId,
        /// Whether entries merge and are owned one by one (`x-kubernetes-map-type`).
        map_type: MapType,
    },
    /// An array.
    List {
        /// Type of every item.
        item: TypeId,
        /// How items are identified (`x-kubernetes-list-type`).
        list_type: ListType,
    },
    /// A JSON schema or something in its place: the `JSONSchemaPropsOr...` types of apiextensions.k8s.io.
    SchemaOr {
        /// What may stand in the schema's place.
        form: SchemaOr,
        /// The schema's own type.
        schema: TypeId,
    },
}

/// Values without parts. The names are those of the table's text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// Text.
    String,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating point number.
    Double,
    /// True or false.
    Bool,
    /// Bytes, in JSON as base64.
    Bytes,
    /// RFC 3339 with seconds (`meta/v1.Time`).
    Time,
    /// RFC 3339 with microseconds (`meta/v1.MicroTime`).
    MicroTime,
    /// Amount with a suffix (`resource.Quantity`).
    Quantity,
    /// An integer or text (`intstr.IntOrString`).
    IntOrString,
}

impl Scalar {
    /// Every scalar, for tables.
    pub const ALL: [Self; 10] = [
        Self::String,
        Self::Int32,
        Self::Int64,
        Self::Double,
        Self::Bool,
        Self::Bytes,
        Self::Time,
        Self::MicroTime,
        Self::Quantity,
        Self::IntOrString,
    ];

    /// The name in the text form of a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Double => "double",
            Self::Bool => "bool",
            Self::Bytes => "bytes",
            Self::Time => "Time",
            Self::MicroTime => "MicroTime",
            Self::Quantity => "Quantity",
            Self::IntOrString => "IntOrString",
        }
    }
}

/// What "any JSON" stands for: the JSON is the same, ownership of its parts and the protobuf form differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Any {
    /// `apiextensions.JSON`: one opaque value.
    Json,
    /// `runtime.RawExtension`: an object, owned field by field.
    RawExtension,
    /// `meta/v1.FieldsV1`: an object, owned field by field.
    FieldsV1,
}

impl Any {
    /// Every kind of any, for tables.
    pub const ALL: [Self; 3] = [Self::Json, Self::RawExtension, Self::FieldsV1];

    /// The name in the text form of a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::RawExtension => "RawExtension",
            Self::FieldsV1 => "FieldsV1",
        }
    }
}

/// What may stand where a JSON schema is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SchemaOr {
    /// A list of schemas (`items`).
    Array,
    /// A boolean (`additionalProperties`).
    Bool,
    /// A list of names (`dependencies`).
    Strings,
}

impl SchemaOr {
    /// Every form, for tables.
    pub const ALL: [Self; 3] = [Self::Array, Self::Bool, Self::Strings];

    /// The name in the text form of a table, also the end of the OpenAPI definition's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Array => "JSONSchemaPropsOrArray",
            Self::Bool => "JSONSchemaPropsOrBool",
            Self::Strings => "JSONSchemaPropsOrStringArray",
        }
    }
}

/// `x-kubernetes-map-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MapType {
    /// Not said: granular.
    #[default]
    Unset,
    /// Entries are owned one by one.
    Granular,
    /// The whole is one value.
    Atomic,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ListType {
    /// Not said: atomic.
    #[default]
    Unset,
    /// The whole list is one value.
    Atomic,
    /// Scalars that occur once.
    Set,
    /// Objects told apart by these fields.
    Map(Box<[Cow<'static, str>]>),
}

/// `x-kubernetes-patch-strategy` of a field: what strategic merge patch does with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PatchStrategy {
    /// A list merges item by item.
    pub merge: bool,
    /// An object replaces the old one unless it says otherwise.
    pub replace: bool,
    /// Fields that the patch does not name may be dropped (`$retainKeys`).
    pub retain_keys: bool,
}

impl PatchStrategy {
    /// The value of the OpenAPI extension; empty if there is no strategy.
    pub fn extension(self) -> &'static str {
        match (self.merge, self.replace, self.retain_keys) {
            (true, _, true) => "merge,retainKeys",
            (true, _, false) => "merge",
            (false, true, _) => "replace",
            (false, false, true) => "retainKeys",
            (false, false, false) => "",
        }
    }
}

/// One field of a struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: Cow<'static, str>,
    /// Type of the value.
    pub ty: TypeId,
    /// Listed in `required`.
    pub required: bool,
    /// An object that servers always write, `{}` where nothing is set: in Go, a struct that is no pointer.
    pub always: bool,
    /// `x-kubernetes-map-type` of the field, over that of its type.
    pub map_type: MapType,
    /// What strategic merge patch does with the field.
    pub patch: PatchStrategy,
    /// `x-kubernetes-patch-merge-key`: the key of a list's items for strategic merge patch.
    pub merge_key: Option<Box<str>>,
    /// Protobuf field number; where JSON inlines a message, the numbers that lead there, outermost first.
    pub protobuf: ProtobufPath,
    /// Value if the field is absent.
    pub default: Option<Box<Value>>,
}

/// Up to three protobuf field numbers, ten bits each, outermost in the lowest bits; zero where there is none. The
/// highest bit tells pointers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProtobufPath(pub(crate) u32);

impl ProtobufPath {
    /// Bits per number: the highest number in Kubernetes 1.36 is 44.
    const BITS: u32 = 10;
    const POINTER: u32 = 1 << 31;

    /// Packs numbers, outermost first. None if they do not fit.
    pub fn new(numbers: &[u32]) -> Option<Self> {
        if numbers.len() > 3 || numbers.iter().any(|n| *n == 0 || *n >= 1 << Self::BITS) {
            return None;
        }
        Some(Self(numbers.iter().rev().fold(0, |packed, n| packed << Self::BITS | n)))
    }

    /// The same path to a field that is a pointer in Go, or is none: a pointer that is not set is absent from the
    /// message, anything else is there with its zero value.
    #[must_use]
    pub fn pointer(self, is_one: bool) -> Self {
        Self(if is_one { self.0 | Self::POINTER } else { self.0 & !Self::POINTER })
    }

    /// Whether the field is a pointer in Go.
    pub fn is_pointer(self) -> bool {
        self.0 & Self::POINTER != 0
    }

    /// The numbers, outermost first. Empty if the field has no protobuf form.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (0..3)
            .map(move |level| self.0 >> (level * Self::BITS) & ((1 << Self::BITS) - 1))
            .take_while(|n| *n != 0)
    }
}
