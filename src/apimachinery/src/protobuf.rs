//! Reading `application/vnd.kubernetes.protobuf`: the form in which client-go sends built-in kinds. Driven by the
//! field numbers of the schema table, into the tree that the JSON form would give.
//!
//! A body is the four bytes `k8s\0` and a `runtime.Unknown` {typeMeta, raw, contentEncoding, contentType}; `raw` is
//! the object's message (proto2; API conventions, "Protobuf encoding").
//!
//! # Caveats
//! Go writes every field that is no pointer, also when it is zero, and JSON leaves it out. Which fields are pointers
//! the message does not tell: zero, false and the empty string are dropped unless the field is required or known
//! to mean something when it is zero ([`MEANT`]).

use crate::gvk::Gvk;
use crate::schema::{Any, Field, Node, Scalar, SchemaOr, SchemaRef, Shape};
use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// What every body begins with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Deepest nesting that is read; as for JSON.
const MAX_DEPTH: usize = crate::decode::MAX_DEPTH;

/// Fields that mean something when they are zero, false or empty: pointers in Go. Sorted.
const MEANT: &[&str] = &[
    "activeDeadlineSeconds",
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "allowVolumeExpansion",
    "attachRequired",
    "automountServiceAccountToken",
    "averageUtilization",
    "backoffLimit",
    "backoffLimitPerIndex",
    "blockOwnerDeletion",
    "completions",
    "controller",
    "defaultMode",
    "deletionGracePeriodSeconds",
    "enableServiceLinks",
    "endPort",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "force",
    "fsGroup",
    "gracePeriodSeconds",
    "hostUsers",
    "immutable",
    "leaseDurationSeconds",
    "leaseTransitions",
    "lendablePercent",
    "limitBytes",
    "manualSelector",
    "maxFailedIndexes",
    "maxSkew",
    "minDomains",
    "minReplicas",
    "mode",
    "nominalConcurrencyShares",
    "optional",
    "orphanDependents",
    "parallelism",
    "partition",
    "podInfoOnMount",
    "port",
    "priority",
    "privileged",
    "progressDeadlineSeconds",
    "readOnlyRootFilesystem",
    "ready",
    "replicas",
    "requiresRepublish",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seLinuxMount",
    "serving",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "sinceSeconds",
    "started",
    "startingDeadlineSeconds",
    "storageCapacity",
    "storageClassName",
    "successfulJobsHistoryLimit",
    "suspend",
    "tailLines",
    "terminatedReplicas",
    "terminating",
    "terminationGracePeriodSeconds",
    "timeoutSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
    "value",
    "volumeAttributesClassName",
];

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The body does not begin with [`MAGIC`].
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// The body ends within a value, or a length is impossible.
    #[error("unexpected EOF")]
    Truncated,
    /// A field has another wire type than its schema says.
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WireType {
        /// The field.
        field: String,
        /// What it came as.
        wire: u64,
    },
    /// Text that is no UTF-8, or JSON within that is none.
    #[error("proto: invalid {what} in field {field}")]
    Content {
        /// The field.
        field: String,
        /// What it should be.
        what: &'static str,
    },
    /// Too many levels.
    #[error("proto: exceeded max depth of {MAX_DEPTH}")]
    Depth,
    /// The object is compressed or no protobuf within.
    #[error("proto: content encoding {0:?} is not understood")]
    Encoding(String),
}

/// A body without its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What the object says it is; empty parts where it says nothing.
    pub gvk: Gvk,
    /// The object's message.
    pub raw: &'a [u8],
}

/// Takes the envelope off.
///
/// # Errors
/// When it is none.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let unknown = body.strip_prefix(MAGIC.as_slice()).ok_or(ProtobufError::Magic)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for entry in Entries(unknown) {
        let (number, wire) = entry?;
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => {
                for entry in Entries(bytes) {
                    match entry? {
                        (1, Wire::Bytes(text)) => api_version = string("apiVersion", text)?,
                        (2, Wire::Bytes(text)) => kind = string("kind", text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            (3, Wire::Bytes(encoding)) if !encoding.is_empty() => {
                return Err(ProtobufError::Encoding(String::from_utf8_lossy(encoding).into_owned()));
            }
            _ => {}
        }
    }
    Ok(Envelope { gvk: Gvk::from_api_version(&api_version, kind), raw })
}

/// Reads an object's message into the tree that its JSON form would give; apiVersion and kind come from the envelope.
///
/// # Errors
/// When the message is damaged or does not fit the schema.
pub fn decode(schema: &SchemaRef, envelope: &Envelope<'_>) -> Result<Value, ProtobufError> {
    let mut object = Map::new();
    if !envelope.gvk.kind.is_empty() {
        object.insert("apiVersion".to_owned(), Value::from(envelope.gvk.api_version()));
        object.insert("kind".to_owned(), Value::from(envelope.gvk.kind.clone()));
    }
    let node = schema.node();
    message(node, &paths(node), envelope.raw, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// A value on the wire.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl Wire<'_> {
    fn kind(self) -> u64 {
        match self {
            Wire::Varint(_) => 0,
            Wire::Fixed64(_) => 1,
            Wire::Bytes(_) => 2,
            Wire::Fixed32(_) => 5,
        }
    }
}

/// The fields of a message, in the order in which they stand.
struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(u32, Wire<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            // What follows a damaged field means nothing.
            self.0 = &[];
        }
        Some(entry)
    }
}

impl<'a> Entries<'a> {
    fn entry(&mut self) -> Result<(u32, Wire<'a>), ProtobufError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| ProtobufError::Truncated)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtobufError::Truncated)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            wire => return Err(ProtobufError::WireType { field: number.to_string(), wire }),
        };
        Ok((number, wire))
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first().ok_or(ProtobufError::Truncated)?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Truncated)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtobufError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        self.take(N)?.try_into().map_err(|_| ProtobufError::Truncated)
    }
}

/// A field and the numbers that lead to it from here: more than one where JSON inlines messages.
type Path<'a> = (&'a Field, Vec<u32>);

fn paths(node: Node<'_>) -> Vec<Path<'_>> {
    node.fields().iter().map(|field| (field, field.protobuf.numbers().collect())).collect()
}

fn message(
    node: Node<'_>,
    fields: &[Path<'_>],
    bytes: &[u8],
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::Depth);
    }
    for entry in Entries(bytes) {
        let (number, wire) = entry?;
        let mut inlined: Vec<Path<'_>> = Vec::new();
        for (field, path) in fields {
            match path.as_slice() {
                [only] if *only == number => set(node, field, wire, into, depth)?,
                [first, rest @ ..] if *first == number && !rest.is_empty() => {
                    inlined.push((*field, rest.to_vec()))
                }
                _ => {}
            }
        }
        if let (false, Wire::Bytes(bytes)) = (inlined.is_empty(), wire) {
            message(node, &inlined, bytes, into, depth + 1)?;
        }
    }
    Ok(())
}

fn set(
    node: Node<'_>,
    field: &Field,
    wire: Wire<'_>,
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let (ty, name) = (node.at(field.ty), field.name.as_ref());
    match ty.shape() {
        Shape::List { item, .. } => {
            let item = node.at(*item);
            let list = into.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = list else { return Ok(()) };
            match (wire, item.shape()) {
                (Wire::Bytes(bytes), Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Bool)) => {
                    // Packed: numbers one after the other.
                    let mut packed = Entries(bytes);
                    while !packed.0.is_empty() {
                        let number = packed.varint()?;
                        list.extend(value(item, name, Wire::Varint(number), depth)?);
                    }
                }
                // Text items stay though they are empty: their place counts.
                _ => list.push(value(item, name, wire, depth)?.unwrap_or(Value::Null)),
            }
        }
        Shape::Map { value: of, .. } => {
            let Wire::Bytes(bytes) = wire else { return Err(wrong(name, wire)) };
            let map = into.entry(name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(map) = map else { return Ok(()) };
            let (key, item) = map_entry(node.at(*of), name, bytes, depth)?;
            map.insert(key, item);
        }
        _ => {
            if let Some(read) = value(ty, name, wire, depth)? {
                let zero = match &read {
                    Value::Bool(b) => !b,
                    Value::String(s) => s.is_empty(),
                    Value::Number(n) => n.as_f64() == Some(0.0),
                    _ => false,
                };
                if !zero || field.required || MEANT.binary_search(&name).is_ok() {
                    into.insert(name.to_owned(), read);
                }
            }
        }
    }
    Ok(())
}

fn map_entry(of: Node<'_>, name: &str, bytes: &[u8], depth: usize) -> Result<(String, Value), ProtobufError> {
    let (mut key, mut item) = (String::new(), None);
    for entry in Entries(bytes) {
        match (entry?, of.shape()) {
            ((1, Wire::Bytes(text)), _) => key = string(name, text)?,
            // A list within a map is a message of its own, with the items in field 1.
            ((2, Wire::Bytes(bytes)), Shape::List { item: inner, .. }) => {
                let mut list = Vec::new();
                for entry in Entries(bytes) {
                    if let (1, wire) = entry? {
                        list.extend(value(of.at(*inner), name, wire, depth + 1)?);
                    }
                }
                item = Some(Value::Array(list));
            }
            ((2, wire), _) => item = value(of, name, wire, depth + 1)?,
            _ => {}
        }
    }
    let empty = match of.shape() {
        Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double) => Value::from(0),
        Shape::Scalar(Scalar::Bool) => Value::Bool(false),
        Shape::Scalar(_) => Value::from(""),
        Shape::List { .. } => Value::Array(Vec::new()),
        _ => Value::Object(Map::new()),
    };
    Ok((key, item.unwrap_or(empty)))
}

/// One value. None for a time that is not set.
fn value(ty: Node<'_>, name: &str, wire: Wire<'_>, depth: usize) -> Result<Option<Value>, ProtobufError> {
    Ok(Some(match (ty.shape(), wire) {
        (Shape::Scalar(Scalar::String), Wire::Bytes(text)) => Value::from(string(name, text)?),
        (Shape::Scalar(Scalar::Int32), Wire::Varint(number)) => Value::from(number as i32),
        (Shape::Scalar(Scalar::Int64), Wire::Varint(number)) => Value::from(number as i64),
        (Shape::Scalar(Scalar::Bool), Wire::Varint(number)) => Value::from(number != 0),
        (Shape::Scalar(Scalar::Double), Wire::Fixed64(bits)) => Value::from(f64::from_bits(bits)),
        (Shape::Scalar(Scalar::Double), Wire::Fixed32(bits)) => Value::from(f32::from_bits(bits)),
        (Shape::Scalar(Scalar::Bytes), Wire::Bytes(bytes)) => {
            Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        (Shape::Scalar(kind @ (Scalar::Time | Scalar::MicroTime)), Wire::Bytes(bytes)) => {
            return time(*kind, name, bytes);
        }
        (Shape::Scalar(Scalar::Quantity), Wire::Bytes(bytes)) => {
            let mut text = String::new();
            for entry in Entries(bytes) {
                if let (1, Wire::Bytes(bytes)) = entry? {
                    text = string(name, bytes)?;
                }
            }
            Value::from(text)
        }
        (Shape::Scalar(Scalar::IntOrString), Wire::Bytes(bytes)) => int_or_string(name, bytes)?,
        (Shape::Any(Any::Json | Any::RawExtension | Any::FieldsV1), Wire::Bytes(bytes)) => {
            let mut any = Value::Null;
            for entry in Entries(bytes) {
                if let (1, Wire::Bytes(json)) = entry? {
                    any = json_within(name, json)?;
                }
            }
            any
        }
        (Shape::SchemaOr { form, schema }, Wire::Bytes(bytes)) => {
            schema_or(ty.at(*schema), *form, name, bytes, depth + 1)?
        }
        (Shape::Struct { .. }, Wire::Bytes(bytes)) => {
            let mut object = Map::new();
            message(ty, &paths(ty), bytes, &mut object, depth + 1)?;
            Value::Object(object)
        }
        (Shape::List { item, .. }, Wire::Bytes(bytes)) => {
            // A named list (`Verbs`, `ExtraValue`) is a message with the items in field 1.
            let mut list = Vec::new();
            for entry in Entries(bytes) {
                if let (1, wire) = entry? {
                    list.extend(value(ty.at(*item), name, wire, depth + 1)?);
                }
            }
            Value::Array(list)
        }
        (_, wire) => return Err(wrong(name, wire)),
    }))
}

fn schema_or(
    schema: Node<'_>,
    form: SchemaOr,
    name: &str,
    bytes: &[u8],
    depth: usize,
) -> Result<Value, ProtobufError> {
    let (mut one, mut several, mut allows, mut names) = (None, Vec::new(), false, Vec::new());
    for entry in Entries(bytes) {
        match (form, entry?) {
            (SchemaOr::Bool, (1, Wire::Varint(number))) => allows = number != 0,
            (SchemaOr::Bool, (2, wire)) | (SchemaOr::Array | SchemaOr::Strings, (1, wire)) => {
                one = value(schema, name, wire, depth)?;
            }
            (SchemaOr::Array, (2, wire)) => several.extend(value(schema, name, wire, depth)?),
            (SchemaOr::Strings, (2, Wire::Bytes(text))) => names.push(Value::from(string(name, text)?)),
            _ => {}
        }
    }
    Ok(match (one, form) {
        (Some(schema), _) => schema,
        (None, SchemaOr::Bool) => Value::Bool(allows),
        (None, SchemaOr::Array) => Value::Array(several),
        (None, SchemaOr::Strings) => Value::Array(names),
    })
}

fn time(kind: Scalar, name: &str, bytes: &[u8]) -> Result<Option<Value>, ProtobufError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    for entry in Entries(bytes) {
        match entry? {
            (1, Wire::Varint(number)) => seconds = number as i64,
            (2, Wire::Varint(number)) => nanos = number as i32,
            _ => {}
        }
    }
    if seconds == 0 && nanos == 0 {
        return Ok(None);
    }
    let at = Timestamp::new(seconds, nanos)
        .map_err(|_| ProtobufError::Content { field: name.to_owned(), what: "time" })?;
    let text = if kind == Scalar::Time { crate::time::rfc3339(at) } else { crate::time::rfc3339_micro(at) };
    Ok(Some(Value::from(text)))
}

fn int_or_string(name: &str, bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0_i32, String::new());
    for entry in Entries(bytes) {
        match entry? {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value as i32,
            (3, Wire::Bytes(bytes)) => text = string(name, bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { Value::from(text) } else { Value::from(number) })
}

fn json_within(name: &str, json: &[u8]) -> Result<Value, ProtobufError> {
    if json.is_empty() {
        return Ok(Value::Null);
    }
    let decoded = crate::decode::json(json);
    decoded.map(|d| d.value).map_err(|_| ProtobufError::Content { field: name.to_owned(), what: "JSON" })
}

fn string(name: &str, bytes: &[u8]) -> Result<String, ProtobufError> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| ProtobufError::Content { field: name.to_owned(), what: "UTF-8" })
}

fn wrong(field: &str, wire: Wire<'_>) -> ProtobufError {
    ProtobufError::WireType { field: field.to_owned(), wire: wire.kind() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_mean_something_when_zero_are_sorted() {
        assert!(MEANT.is_sorted());
    }

    #[test]
    fn the_envelope_is_taken_off() {
        let mut body = MAGIC.to_vec();
        // typeMeta {apiVersion "v1", kind "Pod"}, raw "x".
        body.extend(b"\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x01x");
        let envelope = open(&body).unwrap();
        assert_eq!(envelope, Envelope { gvk: Gvk::new("", "v1", "Pod"), raw: b"x" });
    }

    #[test]
    fn damaged_bodies_are_refused_and_no_crash() {
        assert_eq!(open(b"{}"), Err(ProtobufError::Magic));
        for rest in [
            &b"\x0a"[..],
            b"\x0a\x7f",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b",
            b"\x0a\x01\x0a",
        ] {
            assert!(open(&[MAGIC.as_slice(), rest].concat()).is_err(), "{rest:?}");
        }
    }
}
