//! The structural schema: what an `openAPIV3Schema` says, without what only people read (descriptions, titles,
//! examples). Definitions are many and large, so that every node is small and what is rare is boxed.

use serde_json::Value;

/// The type that a value must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A JSON array.
    Array,
    /// True or false.
    Boolean,
    /// A number without fraction.
    Integer,
    /// Any number.
    Number,
    /// A JSON object.
    Object,
    /// Text.
    String,
}

impl Type {
    /// Every type, in alphabetical order.
    pub const ALL: [Self; 6] =
        [Self::Array, Self::Boolean, Self::Integer, Self::Number, Self::Object, Self::String];

    /// The name in a schema.
    pub fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }

    /// The type of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.name() == name)
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// The whole list is one value.
    Atomic,
    /// Objects told apart by `x-kubernetes-list-map-keys`.
    Map,
    /// Values that occur once.
    Set,
}

/// `x-kubernetes-map-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapType {
    /// The whole map is one value.
    Atomic,
    /// Entries are values of their own.
    Granular,
}

/// `additionalProperties`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Additional {
    /// Not said.
    #[default]
    Unset,
    /// Allowed without a schema, or not.
    Allowed(bool),
    /// Every other property is of this schema.
    Schema(Box<StructuralSchema>),
}

/// A schema, or a part of one. Below `allOf`, `anyOf`, `oneOf` and `not` the same type stands for what only
/// restricts values; [`crate::structural`] forbids the rest there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StructuralSchema {
    /// `type`.
    pub ty: Option<Type>,
    /// `nullable`.
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// Whether there is a `title`.
    pub titled: bool,
    /// Whether there is a `description`.
    pub described: bool,
    /// `x-kubernetes-list-type`.
    pub list_type: Option<ListType>,
    /// `x-kubernetes-map-type`.
    pub map_type: Option<MapType>,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: Box<[Box<str>]>,
    /// `properties`, sorted by name.
    pub properties: Box<[(Box<str>, StructuralSchema)]>,
    /// `items`.
    pub items: Option<Box<StructuralSchema>>,
    /// `additionalProperties`.
    pub additional: Additional,
    /// `default`.
    pub default: Option<Box<Value>>,
    /// What restricts values.
    pub validation: Option<Box<ValueValidation>>,
    /// `x-kubernetes-validations`.
    pub rules: Box<[Rule]>,
}

impl StructuralSchema {
    /// The schema of a property.
    pub fn property(&self, name: &str) -> Option<&Self> {
        let at = self.properties.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok()?;
        self.properties.get(at).map(|(_, schema)| schema)
    }

    /// The schema of a property that `properties` or else `additionalProperties` describe.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.property(name).or_else(|| self.additional_schema())
    }

    /// The schema of the properties that `properties` does not name.
    pub fn additional_schema(&self) -> Option<&Self> {
        match &self.additional {
            Additional::Schema(schema) => Some(schema),
            Additional::Unset | Additional::Allowed(_) => None,
        }
    }

    /// Whether the schema says no more than this type.
    pub fn is_only(&self, ty: Type) -> bool {
        *self == Self { ty: Some(ty), ..Self::default() }
    }

    /// Whether a property has to be there.
    pub fn requires(&self, name: &str) -> bool {
        self.validation.as_ref().is_some_and(|validation| validation.requires(name))
    }
}

/// What restricts values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValueValidation {
    /// `format`, as written.
    pub format: Box<str>,
    /// `maximum`.
    pub maximum: Option<f64>,
    /// `exclusiveMaximum`.
    pub exclusive_maximum: bool,
    /// `minimum`.
    pub minimum: Option<f64>,
    /// `exclusiveMinimum`.
    pub exclusive_minimum: bool,
    /// `multipleOf`.
    pub multiple_of: Option<f64>,
    /// `maxLength`.
    pub max_length: Option<i64>,
    /// `minLength`.
    pub min_length: Option<i64>,
    /// `pattern`.
    pub pattern: Option<Pattern>,
    /// `maxItems`.
    pub max_items: Option<i64>,
    /// `minItems`.
    pub min_items: Option<i64>,
    /// `uniqueItems`.
    pub unique_items: bool,
    /// `maxProperties`.
    pub max_properties: Option<i64>,
    /// `minProperties`.
    pub min_properties: Option<i64>,
    /// `required`.
    pub required: Box<[Box<str>]>,
    /// `enum`.
    pub values: Box<[Value]>,
    /// `allOf`.
    pub all_of: Box<[StructuralSchema]>,
    /// `anyOf`.
    pub any_of: Box<[StructuralSchema]>,
    /// `oneOf`.
    pub one_of: Box<[StructuralSchema]>,
    /// `not`.
    pub not: Option<Box<StructuralSchema>>,
}

impl ValueValidation {
    /// Whether a property has to be there.
    pub fn requires(&self, name: &str) -> bool {
        self.required.iter().any(|required| required.as_ref() == name)
    }
}

/// `pattern`: a regular expression of Go's (RE2) syntax, compiled when it is first needed.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The expression as written.
    pub text: Box<str>,
    pub(crate) compiled: std::sync::Arc<std::sync::OnceLock<Option<regex::Regex>>>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// One of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// The expression that has to hold.
    pub rule: Box<str>,
    /// What is said when it does not.
    pub message: Box<str>,
    /// An expression that makes the message.
    pub message_expression: Box<str>,
    /// The class of the error; empty for `FieldValueInvalid`.
    pub reason: Box<str>,
    /// The path of the field at fault, below the schema of the rule.
    pub field_path: Box<str>,
    /// Whether `oldSelf` is optional, so that the rule holds on creation too.
    pub optional_old_self: Option<bool>,
}
