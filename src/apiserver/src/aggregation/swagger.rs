//! OpenAPI v2 of an aggregated server: what of it describes the group and version that it is asked for.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

/// How references to definitions begin.
pub(super) const REFERENCE: &str = "#/definitions/";

/// The part of a document that is shown. Kept compressed: it is read when the whole document is made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Swagger {
    /// Tells it from any other.
    pub(crate) hash: Vec<u8>,
    gzip: Bytes,
}

impl Swagger {
    /// Takes from a document the paths of a group and version, and the definitions that they need. `None` when there
    /// are none.
    pub(super) fn of(document: &[u8], group: &str, version: &str) -> Option<Self> {
        let mut document: Map<String, Value> = serde_json::from_slice(document).ok()?;
        let own = format!("/apis/{group}/{version}/");
        let mut paths = document.remove("paths")?;
        let shown = paths.as_object_mut()?;
        shown.retain(|path, _| path.starts_with(&own));
        if shown.is_empty() {
            return None;
        }
        if let Some(shared) = document.get("parameters") {
            write_out(&mut paths, shared);
        }
        let mut definitions = match document.remove("definitions") {
            Some(Value::Object(definitions)) => definitions,
            _ => Map::new(),
        };
        let mut needed = BTreeSet::new();
        let mut found = Vec::new();
        references(&paths, &mut found);
        while let Some(name) = found.pop() {
            if let Some(definition) = definitions.get(&name)
                && needed.insert(name)
            {
                references(definition, &mut found);
            }
        }
        definitions.retain(|name, _| needed.contains(name));
        let text = json!({"paths": paths, "definitions": definitions}).to_string();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text.as_bytes()).ok()?;
        let hash = digest(&SHA256, text.as_bytes()).as_ref().to_vec();
        Some(Self { hash, gzip: gzip.finish().ok()?.into() })
    }

    /// The document of v3 that says the same.
    ///
    /// # Errors
    /// When what was kept cannot be read.
    pub(crate) fn as_v3(&self) -> std::io::Result<Value> {
        let (paths, definitions) = self.read()?;
        Ok(super::converted::document(paths, definitions))
    }

    /// The hash of [`Swagger::as_v3`], in upper case hexadecimal.
    pub(crate) fn v3_hash(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// The paths and the definitions.
    ///
    /// # Errors
    /// When what was kept cannot be read.
    pub(crate) fn read(&self) -> std::io::Result<(Map<String, Value>, Map<String, Value>)> {
        let mut text = Vec::new();
        GzDecoder::new(self.gzip.as_ref()).read_to_end(&mut text)?;
        let mut all: Map<String, Value> = serde_json::from_slice(&text)?;
        let mut take = |name: &str| match all.remove(name) {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        Ok((take("paths"), take("definitions")))
    }
}

/// Puts parameters that the document shares in the place of references to them: its others are not taken.
fn write_out(value: &mut Value, shared: &Value) {
    let named = |map: &Map<String, Value>| {
        let name = map.get("$ref")?.as_str()?.strip_prefix("#/parameters/")?;
        shared.get(name).cloned()
    };
    match value {
        Value::Object(map) => match named(map) {
            Some(parameter) => *value = parameter,
            None => map.values_mut().for_each(|value| write_out(value, shared)),
        },
        Value::Array(list) => list.iter_mut().for_each(|value| write_out(value, shared)),
        _ => {}
    }
}

/// Names of the definitions that a value refers to.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().and_then(|text| text.strip_prefix(REFERENCE)) {
                    Some(name) if key == "$ref" => found.push(name.to_owned()),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_group_needs_is_taken() {
        let refer = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
        let document = json!({
            "paths": {
                "/apis/a/v1/things": {"get": {
                    "parameters": [{"$ref": "#/parameters/pretty-1"}],
                    "responses": {"200": {"schema": refer("List")}}}},
                "/apis/a/v1beta1/things": {"get": {"responses": {"200": {"schema": refer("Old")}}}},
                "/secrets": {},
            },
            "parameters": {"pretty-1": {"name": "pretty", "in": "query"}},
            "definitions": {
                "List": {"properties": {"items": {"type": "array", "items": refer("Thing")}}},
                "Thing": {"properties": {"self": refer("Thing"), "lost": refer("Lost")}},
                "Old": {},
            },
        });
        let text = document.to_string();
        let swagger = Swagger::of(text.as_bytes(), "a", "v1").unwrap();
        let (paths, definitions) = swagger.read().unwrap();
        assert_eq!(paths.keys().collect::<Vec<_>>(), ["/apis/a/v1/things"]);
        assert_eq!(definitions.keys().collect::<Vec<_>>(), ["List", "Thing"]);
        let parameters = &paths["/apis/a/v1/things"]["get"]["parameters"];
        assert_eq!(parameters, &json!([{"name": "pretty", "in": "query"}]));
        assert_eq!(Swagger::of(text.as_bytes(), "b", "v1"), None);
        assert_eq!(Swagger::of(b"<html>", "a", "v1"), None);
    }
}
