//! Writes a v2 document as protobuf: the messages of `openapi.v2` in `github.com/google/gnostic`, which clients in
//! Go ask for.
//!
//! The document's pieces come as JSON and are encoded one by one. The document's collections are messages that occur
//! once, but protobuf joins what occurs more often; so each entry is written in a collection of its own, and nothing
//! has to be kept until the length of all is known.

use super::sink::Sink;
use serde_json::{Map, Value};
use std::io::{self, Write};

/// Wire types (protobuf encoding, "Message Structure").
const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;
/// Field of the entries of a collection; `Paths` is the exception.
const ENTRIES: u32 = 1;
const PATH_ENTRIES: u32 = 2;

/// Writes a document as protobuf.
pub(super) struct GnosticSink<W> {
    out: W,
    collection: &'static str,
}

impl<W: Write> GnosticSink<W> {
    /// Begins a document.
    pub(super) fn new(out: W) -> Self {
        Self { out, collection: "" }
    }

    /// Ends the document.
    pub(super) fn finish(self) -> W {
        self.out
    }
}

impl<W: Write> Sink for GnosticSink<W> {
    fn field(&mut self, name: &'static str, value: &Value) -> io::Result<()> {
        let mut document = Message::default();
        match (name, value) {
            ("swagger", Value::String(version)) => document.text(1, version),
            ("info", value) => document.message(2, info(value)),
            ("security", Value::Array(all)) => {
                for requirement in all {
                    document.message(12, security_requirement(requirement));
                }
            }
            ("securityDefinitions", Value::Object(all)) => {
                for (name, definition) in all {
                    let mut item = Message::default();
                    item.message(2, api_key_security(definition));
                    let mut definitions = Message::default();
                    definitions.named(ENTRIES, name, item);
                    document.message(13, definitions);
                }
            }
            _ => return Err(unknown(name)),
        }
        self.out.write_all(&document.0)
    }

    fn open(&mut self, name: &'static str) -> io::Result<()> {
        self.collection = name;
        Ok(())
    }

    fn entry(&mut self, name: &str, value: &Value) -> io::Result<()> {
        let (number, entries, message) = match self.collection {
            "paths" => (8, PATH_ENTRIES, path_item(value)),
            "definitions" => (9, ENTRIES, schema(value)),
            "parameters" => (10, ENTRIES, parameter(value)),
            other => return Err(unknown(other)),
        };
        let mut collection = Message::default();
        collection.named(entries, name, message);
        let mut document = Message::default();
        document.message(number, collection);
        self.out.write_all(&document.0)
    }

    fn close(&mut self) -> io::Result<()> {
        self.collection = "";
        Ok(())
    }
}

fn unknown(name: &str) -> io::Error {
    io::Error::other(format!("{name} has no protobuf form"))
}

/// A message that is being encoded.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.tag(number, LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, number: u32, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    fn flag(&mut self, number: u32, value: bool) {
        if value {
            self.tag(number, VARINT);
            self.varint(1);
        }
    }

    fn message(&mut self, number: u32, message: Message) {
        self.bytes(number, &message.0);
    }

    /// A name and a message: how entries of all maps are told.
    fn named(&mut self, number: u32, name: &str, value: Message) {
        let mut entry = Message::default();
        entry.text(1, name);
        entry.message(2, value);
        self.message(number, entry);
    }

    /// The text of a field, if it is there.
    fn text_of(&mut self, number: u32, of: &Value, name: &str) {
        if let Some(text) = of.get(name).and_then(Value::as_str) {
            self.text(number, text);
        }
    }

    /// Every text of a list, if it is there.
    fn texts_of(&mut self, number: u32, of: &Value, name: &str) {
        for text in items(of, name).filter_map(Value::as_str) {
            self.text(number, text);
        }
    }

    fn flag_of(&mut self, number: u32, of: &Value, name: &str) {
        self.flag(number, of.get(name).and_then(Value::as_bool).unwrap_or(false));
    }

    /// Extensions: names that begin with `x-`, and YAML, of which JSON is a part.
    fn extensions(&mut self, number: u32, of: &Value) {
        for (name, value) in entries(of).filter(|(name, _)| name.starts_with("x-")) {
            self.named(number, name, any(value));
        }
    }
}

fn items<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn entries(of: &Value) -> impl Iterator<Item = (&String, &Value)> {
    of.as_object().into_iter().flat_map(Map::iter)
}

fn any(value: &Value) -> Message {
    let mut out = Message::default();
    out.text(2, &value.to_string());
    out
}

fn info(value: &Value) -> Message {
    let mut out = Message::default();
    out.text_of(1, value, "title");
    out.text_of(2, value, "version");
    out
}

fn security_requirement(value: &Value) -> Message {
    let mut out = Message::default();
    for (name, scopes) in entries(value) {
        let mut list = Message::default();
        for scope in scopes.as_array().into_iter().flatten().filter_map(Value::as_str) {
            list.text(1, scope);
        }
        out.named(1, name, list);
    }
    out
}

fn api_key_security(value: &Value) -> Message {
    let mut out = Message::default();
    out.text_of(1, value, "type");
    out.text_of(2, value, "name");
    out.text_of(3, value, "in");
    out.text_of(4, value, "description");
    out
}

fn schema(value: &Value) -> Message {
    let mut out = Message::default();
    out.text_of(1, value, "$ref");
    out.text_of(2, value, "format");
    out.text_of(4, value, "description");
    if let Some(default) = value.get("default") {
        out.message(5, any(default));
    }
    out.texts_of(19, value, "required");
    for allowed in items(value, "enum") {
        out.message(20, any(allowed));
    }
    if let Some(additional) = value.get("additionalProperties") {
        let mut item = Message::default();
        item.message(1, schema(additional));
        out.message(21, item);
    }
    if let Some(ty) = value.get("type").and_then(Value::as_str) {
        let mut item = Message::default();
        item.text(1, ty);
        out.message(22, item);
    }
    if let Some(items) = value.get("items") {
        let mut item = Message::default();
        item.message(1, schema(items));
        out.message(23, item);
    }
    if let Some(fields) = value.get("properties") {
        let mut properties = Message::default();
        for (name, field) in entries(fields) {
            properties.named(1, name, schema(field));
        }
        out.message(25, properties);
    }
    out.extensions(31, value);
    out
}

fn path_item(value: &Value) -> Message {
    let mut out = Message::default();
    for (number, method) in
        [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")]
    {
        if let Some(operation) = value.get(method) {
            out.message(number, self::operation(operation));
        }
    }
    for parameter in items(value, "parameters") {
        out.message(9, used_parameter(parameter));
    }
    out
}

fn operation(value: &Value) -> Message {
    let mut out = Message::default();
    out.texts_of(1, value, "tags");
    out.text_of(3, value, "description");
    out.text_of(5, value, "operationId");
    out.texts_of(6, value, "produces");
    out.texts_of(7, value, "consumes");
    for parameter in items(value, "parameters") {
        out.message(8, used_parameter(parameter));
    }
    let mut responses = Message::default();
    for (code, response) in value.get("responses").into_iter().flat_map(entries) {
        let mut either = Message::default();
        either.message(1, self::response(response));
        responses.named(1, code, either);
    }
    out.message(9, responses);
    out.texts_of(10, value, "schemes");
    out.extensions(13, value);
    out
}

fn response(value: &Value) -> Message {
    let mut out = Message::default();
    out.text_of(1, value, "description");
    if let Some(held) = value.get("schema") {
        let mut item = Message::default();
        item.message(1, schema(held));
        out.message(2, item);
    }
    out
}

/// A parameter, or the name of one that is defined for all operations.
fn used_parameter(value: &Value) -> Message {
    let mut out = Message::default();
    if value.get("$ref").is_some() {
        let mut reference = Message::default();
        reference.text_of(1, value, "$ref");
        out.message(2, reference);
    } else {
        out.message(1, parameter(value));
    }
    out
}

fn parameter(value: &Value) -> Message {
    let place = value.get("in").and_then(Value::as_str).unwrap_or("");
    let mut out = Message::default();
    let mut inner = Message::default();
    if place == "body" {
        inner.text_of(2, value, "name");
        inner.text(3, place);
        inner.flag_of(4, value, "required");
        if let Some(held) = value.get("schema") {
            inner.message(5, schema(held));
        }
        out.message(1, inner);
        return out;
    }
    inner.flag_of(1, value, "required");
    inner.text(2, place);
    inner.text_of(3, value, "description");
    inner.text_of(4, value, "name");
    let mut outside_body = Message::default();
    if place == "path" {
        inner.text_of(5, value, "type");
        inner.flag_of(19, value, "uniqueItems");
        outside_body.message(4, inner);
    } else {
        inner.text_of(6, value, "type");
        inner.flag_of(20, value, "uniqueItems");
        outside_body.message(3, inner);
    }
    out.message(2, outside_body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_is_encoded_field_by_field() {
        let encoded = schema(&json!({"type": "string", "description": "d"}));
        assert_eq!(encoded.0, b"\x22\x01d\xb2\x01\x08\x0a\x06string");
    }

    #[test]
    fn extensions_are_yaml() {
        let mut out = Message::default();
        out.extensions(31, &json!({"type": "object", "x-a": [1]}));
        assert_eq!(out.0, b"\xfa\x01\x0c\x0a\x03x-a\x12\x05\x12\x03[1]");
    }

    #[test]
    fn each_entry_is_in_a_collection_of_its_own() {
        let mut sink = GnosticSink::new(Vec::new());
        sink.open("definitions").unwrap();
        sink.entry("a", &json!({})).unwrap();
        sink.entry("b", &json!({})).unwrap();
        sink.close().unwrap();
        assert_eq!(sink.finish(), b"\x4a\x07\x0a\x05\x0a\x01a\x12\x00\x4a\x07\x0a\x05\x0a\x01b\x12\x00");
    }

    #[test]
    fn lengths_may_need_more_than_one_byte() {
        let mut out = Message::default();
        out.text(1, &"x".repeat(300));
        assert!(out.0.starts_with(b"\x0a\xac\x02xx"));
    }
}
