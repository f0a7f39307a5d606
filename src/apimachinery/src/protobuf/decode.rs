//! Reading objects: from the message to the tree that the JSON form would give.

use super::envelope::{Envelope, string};
use super::plan::{Holds, Plans, Slot};
use super::wire::{Entries, Wire};
use super::{MAX_DEPTH, ProtobufError};
use crate::decode::Budget;
use crate::schema::{Any, Field, Node, Scalar, SchemaOr, SchemaRef, Shape};
use base64::Engine as _;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// Reads an object's message into the tree that its JSON form would give; apiVersion and kind come from the envelope.
///
/// # Errors
/// When the message is damaged, does not fit the schema, or would make too large a tree.
pub fn decode(schema: &SchemaRef, envelope: &Envelope<'_>) -> Result<Value, ProtobufError> {
    let mut object = Map::new();
    if !envelope.gvk.kind.is_empty() {
        object.insert("apiVersion".to_owned(), Value::from(envelope.gvk.api_version()));
        object.insert("kind".to_owned(), Value::from(envelope.gvk.kind.clone()));
    }
    let budget = Budget::default();
    let reader = Reader { plans: schema.set().protobuf(), budget: &budget };
    reader.message(schema.node(), envelope.raw, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// One object's decoding.
#[derive(Clone, Copy)]
struct Reader<'a> {
    plans: &'a Plans,
    budget: &'a Budget,
}

impl Reader<'_> {
    /// Reads a struct. What is there already stays: a message that comes in parts is merged.
    fn message(
        self,
        node: Node<'_>,
        bytes: &[u8],
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        match self.plans.get(node.id()) {
            Some(plan) => self.slots(node, &plan.slots, bytes, into, depth),
            None => Ok(()),
        }
    }

    fn slots(
        self,
        node: Node<'_>,
        slots: &[Slot],
        bytes: &[u8],
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        if depth > MAX_DEPTH {
            return Err(ProtobufError::Depth);
        }
        for entry in Entries(bytes) {
            let (number, wire) = entry?;
            let found = slots.binary_search_by_key(&number, |slot| slot.number).ok();
            match (found.and_then(|at| slots.get(at)).map(|slot| &slot.holds), wire) {
                (Some(Holds::Field { at, .. }), wire) => {
                    if let Some(field) = node.fields().get(*at) {
                        self.field(node.at(field.ty), field, wire, into, depth)?;
                    }
                }
                (Some(Holds::Message(inner)), Wire::Bytes(bytes)) => {
                    self.slots(node, inner, bytes, into, depth + 1)?;
                }
                // What is not known is not kept, as in Go.
                _ => {}
            }
        }
        Ok(())
    }

    fn field(
        self,
        ty: Node<'_>,
        field: &Field,
        wire: Wire<'_>,
        into: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        let name = field.name.as_ref();
        match (ty.shape(), wire) {
            (Shape::List { item, .. }, wire) => {
                let item = ty.at(*item);
                let list = into.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(list) = list else { return Ok(()) };
                match (wire, item.shape()) {
                    (Wire::Bytes(bytes), Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Bool)) => {
                        // Packed: numbers one after the other.
                        let mut packed = Entries(bytes);
                        while !packed.0.is_empty() {
                            let number = packed.varint()?;
                            list.extend(self.value(item, name, Wire::Varint(number), depth)?);
                        }
                    }
                    // Text items stay though they are empty: their place counts.
                    _ => list.push(self.value(item, name, wire, depth)?.unwrap_or(Value::Null)),
                }
            }
            (Shape::Map { value: of, .. }, Wire::Bytes(bytes)) => {
                let map = into.entry(name).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(map) = map else { return Ok(()) };
                let (key, item) = self.entry(ty.at(*of), name, bytes, depth)?;
                map.insert(key, item);
            }
            (Shape::Map { .. }, wire) => return Err(wrong(name, wire)),
            (Shape::Struct { .. }, Wire::Bytes(bytes)) => {
                self.spend()?;
                let object = into.entry(name).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(object) = object else { return Ok(()) };
                self.message(ty, bytes, object, depth + 1)?;
            }
            (_, wire) => {
                if let Some(read) = self.value(ty, name, wire, depth)? {
                    let zero = match &read {
                        Value::Null => true,
                        Value::Bool(b) => !b,
                        Value::String(s) => s.is_empty(),
                        Value::Number(n) => n.as_f64() == Some(0.0),
                        _ => false,
                    };
                    if !zero || field.required || field.protobuf.is_pointer() {
                        into.insert(name.to_owned(), read);
                    }
                }
            }
        }
        Ok(())
    }

    fn entry(
        self,
        of: Node<'_>,
        name: &str,
        bytes: &[u8],
        depth: usize,
    ) -> Result<(String, Value), ProtobufError> {
        let (mut key, mut item) = (String::new(), None);
        for entry in Entries(bytes) {
            match entry? {
                (1, Wire::Bytes(text)) => key = string(name, text)?,
                (2, wire) => item = self.value(of, name, wire, depth + 1)?,
                _ => {}
            }
        }
        self.budget.spend(key.len()).map_err(ProtobufError::Bomb)?;
        let empty = match of.shape() {
            Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double) => Value::from(0),
            Shape::Scalar(Scalar::Bool) => Value::Bool(false),
            Shape::Scalar(Scalar::Time | Scalar::MicroTime) => Value::Null,
            Shape::Scalar(_) => Value::from(""),
            Shape::List { .. } => Value::Array(Vec::new()),
            _ => Value::Object(Map::new()),
        };
        Ok((key, item.unwrap_or(empty)))
    }

    fn spend(self) -> Result<(), ProtobufError> {
        self.budget.spend(Budget::OBJECT).map_err(ProtobufError::Bomb)
    }

    /// One value. None for a time that is not set.
    fn value(
        self,
        ty: Node<'_>,
        name: &str,
        wire: Wire<'_>,
        depth: usize,
    ) -> Result<Option<Value>, ProtobufError> {
        self.budget.spend(Budget::VALUE).map_err(ProtobufError::Bomb)?;
        Ok(Some(match (ty.shape(), wire) {
            (Shape::Scalar(scalar), wire) => return self.scalar(*scalar, name, wire),
            (Shape::Any(Any::Json | Any::RawExtension | Any::FieldsV1), Wire::Bytes(bytes)) => {
                let mut any = Value::Null;
                for entry in Entries(bytes) {
                    if let (1, Wire::Bytes(json)) = entry? {
                        any = self.json(name, json)?;
                    }
                }
                any
            }
            (Shape::SchemaOr { form, schema }, Wire::Bytes(bytes)) => {
                self.schema_or(ty.at(*schema), *form, name, bytes, depth + 1)?
            }
            (Shape::Struct { .. }, Wire::Bytes(bytes)) => {
                self.spend()?;
                let mut object = Map::new();
                self.message(ty, bytes, &mut object, depth + 1)?;
                Value::Object(object)
            }
            (Shape::List { item, .. }, Wire::Bytes(bytes)) => {
                // A named list (`Verbs`, `ExtraValue`) is a message with the items in field 1.
                let mut list = Vec::new();
                for entry in Entries(bytes) {
                    if let (1, wire) = entry? {
                        list.extend(self.value(ty.at(*item), name, wire, depth + 1)?);
                    }
                }
                Value::Array(list)
            }
            (_, wire) => return Err(wrong(name, wire)),
        }))
    }

    fn scalar(self, scalar: Scalar, name: &str, wire: Wire<'_>) -> Result<Option<Value>, ProtobufError> {
        if let Wire::Bytes(bytes) = wire {
            self.budget.spend(bytes.len()).map_err(ProtobufError::Bomb)?;
        }
        Ok(Some(match (scalar, wire) {
            (Scalar::String, Wire::Bytes(text)) => Value::from(string(name, text)?),
            (Scalar::Int32, Wire::Varint(number)) => Value::from(number as i32),
            (Scalar::Int64, Wire::Varint(number)) => Value::from(number as i64),
            (Scalar::Bool, Wire::Varint(number)) => Value::from(number != 0),
            (Scalar::Double, Wire::Fixed64(bits)) => Value::from(f64::from_bits(bits)),
            (Scalar::Double, Wire::Fixed32(bits)) => Value::from(f32::from_bits(bits)),
            (Scalar::Bytes, Wire::Bytes(bytes)) => {
                Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            (Scalar::Time | Scalar::MicroTime, Wire::Bytes(bytes)) => return time(scalar, name, bytes),
            (Scalar::Quantity, Wire::Bytes(bytes)) => {
                let mut text = String::new();
                for entry in Entries(bytes) {
                    if let (1, Wire::Bytes(bytes)) = entry? {
                        text = string(name, bytes)?;
                    }
                }
                Value::from(text)
            }
            (Scalar::IntOrString, Wire::Bytes(bytes)) => int_or_string(name, bytes)?,
            (_, wire) => return Err(wrong(name, wire)),
        }))
    }

    fn schema_or(
        self,
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
                    one = self.value(schema, name, wire, depth)?;
                }
                (SchemaOr::Array, (2, wire)) => several.extend(self.value(schema, name, wire, depth)?),
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

    fn json(self, name: &str, json: &[u8]) -> Result<Value, ProtobufError> {
        if json.is_empty() {
            return Ok(Value::Null);
        }
        let decoded = crate::decode::json_within(json, self.budget);
        decoded.map(|d| d.value).map_err(|_| ProtobufError::Content { field: name.to_owned(), what: "JSON" })
    }
}

fn time(kind: Scalar, name: &str, bytes: &[u8]) -> Result<Option<Value>, ProtobufError> {
    // An empty message is the time that is not set; its first second is the year 1970's.
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    for entry in Entries(bytes) {
        match entry? {
            (1, Wire::Varint(number)) => seconds = number as i64,
            (2, Wire::Varint(number)) => nanos = number as i32,
            _ => {}
        }
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

fn wrong(field: &str, wire: Wire<'_>) -> ProtobufError {
    ProtobufError::WireType { field: field.to_owned(), wire: wire.kind() }
}
