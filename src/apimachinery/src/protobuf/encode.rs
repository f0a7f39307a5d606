//! Writing objects: from the JSON that is stored straight to the message, in one pass over the JSON.
//!
//! A struct's fields are encoded where they come in the JSON and then put in the order of their numbers: memory is
//! copied once for each level, which costs little beside reading the JSON.

use super::json::Scanner;
use super::plan::{Holds, Plans, Slot};
use super::wire::{head_len, put_bytes, put_head, put_number, put_varint, wrap};
use super::{MAX_DEPTH, ProtobufError};
use crate::schema::{Field, Node, Scalar, SchemaOr, Shape};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Encodes objects. Keeps its buffers, so one encoder for many objects allocates little.
#[derive(Default)]
pub struct Encoder {
    /// The message that was put together last.
    message: Vec<u8>,
    /// Fields of the structs that are being read.
    fields: Vec<u8>,
    /// Where these stand; one run for each struct.
    ranges: Vec<Range>,
}

/// A part of the output; nothing where a field is not set.
#[derive(Clone, Copy, Default)]
struct Range {
    from: usize,
    to: usize,
}

impl Encoder {
    /// The message of an object, without its envelope. What the schema does not know, or has no number for
    /// (`apiVersion` and `kind`, which the envelope tells), is left out.
    ///
    /// Cost: one pass over the JSON.
    ///
    /// # Errors
    /// When the JSON is damaged or does not fit the schema.
    pub fn message(&mut self, schema: Node<'_>, json: &[u8]) -> Result<&[u8], ProtobufError> {
        let mut scanner = Scanner::new(json);
        self.ranges.clear();
        let mut out = std::mem::take(&mut self.fields);
        out.clear();
        let mut walk = Walk { encoder: &mut *self, plans: schema.set().protobuf(), out: &mut out };
        walk.message(schema, &mut scanner, 0)?;
        scanner.end()?;
        self.fields = out;
        Ok(&self.message)
    }
}

/// One object's encoding.
struct Walk<'e, 's> {
    encoder: &'e mut Encoder,
    plans: &'s Plans,
    out: &'e mut Vec<u8>,
}

impl<'s> Walk<'_, 's> {
    /// Reads a struct; leaves its message in the encoder and the output as it was.
    fn message(
        &mut self,
        node: Node<'s>,
        scanner: &mut Scanner<'_>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        if depth > MAX_DEPTH {
            return Err(ProtobufError::Depth);
        }
        let Some(plan) = self.plans.get(node.id()) else { return Err(scanner.error()) };
        let fields = node.fields();
        let (start, base) = (self.out.len(), self.encoder.ranges.len());
        self.encoder.ranges.resize(base + fields.len(), Range::default());
        scanner.expect(b'{')?;
        let (mut first, mut cursor) = (true, 0);
        while scanner.another(b'}', &mut first)? {
            let key = scanner.key()?;
            let found = find(fields, &mut cursor, &key);
            let number = found.and_then(|(at, field)| Some((at, field, field.protobuf.numbers().last()?)));
            match number {
                _ if scanner.word("null") => {}
                None => _ = scanner.any()?,
                Some((at, field, number)) => {
                    let from = self.out.len();
                    self.field(node.at(field.ty), number, scanner, depth).map_err(|e| name(e, field))?;
                    if let Some(range) = self.encoder.ranges.get_mut(base + at) {
                        *range = Range { from, to: self.out.len() };
                    }
                }
            }
        }
        let Encoder { message, ranges, .. } = &mut *self.encoder;
        message.clear();
        put_slots(&plan.slots, ranges.get(base..).unwrap_or_default(), self.out, message);
        ranges.truncate(base);
        self.out.truncate(start);
        Ok(())
    }

    /// Appends a struct's field: every item of a list, every entry of a map, or the one value.
    fn field(
        &mut self,
        ty: Node<'s>,
        number: u32,
        scanner: &mut Scanner<'_>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        match ty.shape() {
            Shape::List { item, .. } => self.items(ty.at(*item), number, scanner, depth),
            Shape::Map { value, .. } => {
                scanner.expect(b'{')?;
                let mut first = true;
                while scanner.another(b'}', &mut first)? {
                    let key = scanner.key()?;
                    let from = self.out.len();
                    put_bytes(self.out, 1, &key);
                    self.value_or_zero(ty.at(*value), 2, scanner, depth)?;
                    wrap(self.out, number, from);
                }
                Ok(())
            }
            _ => self.value(ty, number, scanner, depth),
        }
    }

    fn items(
        &mut self,
        item: Node<'s>,
        number: u32,
        scanner: &mut Scanner<'_>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        scanner.expect(b'[')?;
        let mut first = true;
        while scanner.another(b']', &mut first)? {
            self.value_or_zero(item, number, scanner, depth)?;
        }
        Ok(())
    }

    fn value_or_zero(
        &mut self,
        ty: Node<'s>,
        number: u32,
        scanner: &mut Scanner<'_>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        if scanner.word("null") {
            self.plans.put_zero(ty, number, self.out);
            return Ok(());
        }
        self.value(ty, number, scanner, depth)
    }

    /// Appends one value with its tag.
    fn value(
        &mut self,
        ty: Node<'s>,
        number: u32,
        scanner: &mut Scanner<'_>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        match ty.shape() {
            Shape::Scalar(scalar) => self.scalar(*scalar, number, scanner)?,
            Shape::Struct { .. } => {
                self.message(ty, scanner, depth + 1)?;
                put_bytes(self.out, number, &self.encoder.message);
            }
            Shape::Any(_) => {
                let json = scanner.any()?;
                let head = head_len(1, json.len());
                put_head(self.out, number, head + json.len());
                put_bytes(self.out, 1, json);
            }
            // A named list (`Verbs`, `ExtraValue`) is a message with the items in field 1.
            Shape::List { item, .. } => {
                let from = self.out.len();
                self.items(ty.at(*item), 1, scanner, depth + 1)?;
                wrap(self.out, number, from);
            }
            Shape::Map { .. } => return Err(scanner.error()),
            Shape::SchemaOr { form, schema } => {
                let from = self.out.len();
                self.schema_or(*form, ty.at(*schema), scanner, depth)?;
                wrap(self.out, number, from);
            }
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        scalar: Scalar,
        number: u32,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), ProtobufError> {
        match scalar {
            Scalar::String => put_bytes(self.out, number, &scanner.string()?),
            Scalar::Int32 | Scalar::Int64 => {
                let value = integer(scanner.number()?).ok_or_else(|| scanner.error())?;
                put_number(self.out, number, value as u64);
            }
            Scalar::Bool => put_number(self.out, number, u64::from(scanner.bool()?)),
            Scalar::Double => {
                let value: f64 = scanner.number()?.parse().map_err(|_| scanner.error())?;
                put_varint(self.out, u64::from(number) << 3 | 1);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Scalar::Bytes => {
                let text = scanner.string()?;
                let bytes = STANDARD.decode(&*text).map_err(|_| invalid("base64"))?;
                put_bytes(self.out, number, &bytes);
            }
            Scalar::Time | Scalar::MicroTime => {
                let text = scanner.string()?;
                let from = self.out.len();
                if !text.is_empty() {
                    let at = std::str::from_utf8(&text).ok().and_then(crate::time::parse);
                    let at = at.ok_or_else(|| invalid("time"))?;
                    let micros = at.subsec_nanosecond() / 1000 * 1000;
                    let nanos = if scalar == Scalar::Time { 0 } else { micros };
                    put_number(self.out, 1, at.as_second() as u64);
                    put_number(self.out, 2, i64::from(nanos) as u64);
                }
                wrap(self.out, number, from);
            }
            Scalar::Quantity => {
                let from = self.out.len();
                if scanner.peek() == b'"' {
                    put_bytes(self.out, 1, &scanner.string()?);
                } else {
                    put_bytes(self.out, 1, scanner.number()?.as_bytes());
                }
                wrap(self.out, number, from);
            }
            Scalar::IntOrString => {
                let from = self.out.len();
                if scanner.peek() == b'"' {
                    let text = scanner.string()?;
                    put_number(self.out, 1, 1);
                    put_number(self.out, 2, 0);
                    put_bytes(self.out, 3, &text);
                } else {
                    let value = integer(scanner.number()?).ok_or_else(|| scanner.error())?;
                    put_number(self.out, 1, 0);
                    put_number(self.out, 2, value as u64);
                    put_bytes(self.out, 3, b"");
                }
                wrap(self.out, number, from);
            }
        }
        Ok(())
    }

    /// Appends the content of what may be a JSON schema or something in its place.
    fn schema_or(
        &mut self,
        form: SchemaOr,
        schema: Node<'s>,
        scanner: &mut Scanner<'_>,
        depth: usize,
    ) -> Result<(), ProtobufError> {
        let is_schema = scanner.peek() == b'{';
        match form {
            SchemaOr::Bool if is_schema => {
                put_number(self.out, 1, 1);
                self.value(schema, 2, scanner, depth + 1)
            }
            SchemaOr::Bool => {
                put_number(self.out, 1, u64::from(scanner.bool()?));
                Ok(())
            }
            SchemaOr::Array | SchemaOr::Strings if is_schema => self.value(schema, 1, scanner, depth + 1),
            SchemaOr::Array => self.items(schema, 2, scanner, depth + 1),
            SchemaOr::Strings => {
                scanner.expect(b'[')?;
                let mut first = true;
                while scanner.another(b']', &mut first)? {
                    put_bytes(self.out, 2, &scanner.string()?);
                }
                Ok(())
            }
        }
    }
}

/// A field by its name. Both sides are sorted as a rule: the next one is tried before it is searched for.
fn find<'f>(fields: &'f [Field], cursor: &mut usize, key: &[u8]) -> Option<(usize, &'f Field)> {
    let is = |at: usize| fields.get(at).filter(|field| field.name.as_bytes() == key);
    let at = match is(*cursor) {
        Some(_) => *cursor,
        None => fields.binary_search_by(|field| field.name.as_bytes().cmp(key)).ok()?,
    };
    *cursor = at + 1;
    fields.get(at).map(|field| (at, field))
}

/// Puts the fields of a struct in order; `ranges` tells where in `from` each stands.
fn put_slots(slots: &[Slot], ranges: &[Range], from: &[u8], out: &mut Vec<u8>) {
    for slot in slots {
        match &slot.holds {
            Holds::Field { at, absent } => out.extend_from_slice(field_of(*at, absent, ranges, from)),
            Holds::Message(inner) => {
                put_head(out, slot.number, slots_len(inner, ranges, from));
                put_slots(inner, ranges, from, out);
            }
        }
    }
}

fn slots_len(slots: &[Slot], ranges: &[Range], from: &[u8]) -> usize {
    let lengths = slots.iter().map(|slot| match &slot.holds {
        Holds::Field { at, absent } => field_of(*at, absent, ranges, from).len(),
        Holds::Message(inner) => {
            let length = slots_len(inner, ranges, from);
            head_len(slot.number, length) + length
        }
    });
    lengths.sum()
}

fn field_of<'a>(at: usize, absent: &'a [u8], ranges: &[Range], from: &'a [u8]) -> &'a [u8] {
    match ranges.get(at) {
        Some(range) if range.to > range.from => from.get(range.from..range.to).unwrap_or_default(),
        _ => absent,
    }
}

/// A whole number, however it is written.
fn integer(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        (number.fract() == 0.0 && number.abs() < 9.0e18).then_some(number as i64)
    })
}

fn invalid(what: &'static str) -> ProtobufError {
    ProtobufError::Content { field: String::new(), what }
}

/// Says which field it was.
fn name(error: ProtobufError, of: &Field) -> ProtobufError {
    match error {
        ProtobufError::Content { field, what } if field.is_empty() => {
            ProtobufError::Content { field: of.name.clone().into_owned(), what }
        }
        other => other,
    }
}
