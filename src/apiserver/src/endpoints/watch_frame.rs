//! Watch events as they go over the wire: one JSON object a line, or protobuf messages after their lengths.

use super::negotiation::{Form, Media, Shape};
use super::present::{self, Presenter};
use super::{present_protobuf, response, table};
use apimachinery::meta;
use apimachinery::protobuf::{self, envelope};
use apimachinery::status::{Result, Status};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{Event, EventKind, FrameForm, Object};

/// Marks the bookmark that ends the initial events of a watch list (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// The name of a kind of change.
pub(crate) fn type_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Added => "ADDED",
        EventKind::Modified => "MODIFIED",
        EventKind::Deleted => "DELETED",
    }
}

/// Puts an object's JSON into an event.
pub(crate) fn frame(type_name: &str, object: &[u8]) -> Bytes {
    const AROUND: usize = r#"{"type":"","object":}"#.len() + 1;
    let mut out = Vec::with_capacity(AROUND + type_name.len() + object.len());
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(type_name.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    Bytes::from(out)
}

/// Puts an object's body into an event.
fn protobuf_frame(type_name: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::new();
    envelope::put_event(&mut out, type_name, object);
    Bytes::from(out)
}

/// An error as the last event of a watch.
pub(crate) fn error(status: &Status, media: Media) -> Bytes {
    let tree = serde_json::to_value(status).unwrap_or_default();
    match (media, response::write(&tree, media)) {
        (Media::Protobuf, Ok(body)) => protobuf_frame("ERROR", &body),
        (_, body) => frame("ERROR", &body.unwrap_or_default()),
    }
}

/// Encodes the events of one watch.
pub(crate) struct Encoder {
    presenter: Presenter,
    protobuf: protobuf::Encoder,
    columns_sent: bool,
    /// Where events are counted.
    sent: Arc<AtomicU64>,
}

impl Encoder {
    /// An encoder for one watch.
    pub(crate) fn new(presenter: Presenter, sent: Arc<AtomicU64>) -> Self {
        Self { presenter, protobuf: protobuf::Encoder::default(), columns_sent: false, sent }
    }

    /// How this watch is written.
    pub(crate) fn media(&self) -> Media {
        self.presenter.form.media
    }

    /// A change, as this watch sees it: an object that begins to match was added, whatever happened to it.
    /// Stored forms are encoded once for all watches.
    pub(crate) fn event(&mut self, seen_as: EventKind, event: &Event) -> Result<Bytes> {
        let Form { media, shape } = self.presenter.form;
        if seen_as != event.kind || shape != Shape::Whole || self.presenter.served.converts() {
            return self.object(seen_as, &event.object);
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        if media == Media::Protobuf {
            return event.frame(FrameForm::Protobuf, |event| self.protobuf(event.kind, &event.object));
        }
        event.frame(FrameForm::Json, |event| Ok(frame(type_name(event.kind), &event.object.value)))
    }

    /// An object as an event.
    pub(crate) fn object(&mut self, kind: EventKind, object: &Object) -> Result<Bytes> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        if let Shape::Table(version) = self.presenter.form.shape {
            let tree = present::stored_tree(&object.value)?;
            let meta = json!({"resourceVersion": meta::resource_version(&tree)});
            let with_columns = !std::mem::replace(&mut self.columns_sent, true);
            let rows = std::slice::from_ref(&tree);
            let table =
                table::table(&self.presenter.served, version, rows, &self.presenter, meta, with_columns);
            return encode(type_name(kind), &table);
        }
        if self.media() == Media::Protobuf {
            return self.protobuf(kind, object);
        }
        Ok(frame(type_name(kind), &self.presenter.item(&object.value)?))
    }

    fn protobuf(&mut self, kind: EventKind, object: &Object) -> Result<Bytes> {
        let body = present_protobuf::object(&self.presenter, &mut self.protobuf, &object.value)?;
        Ok(protobuf_frame(type_name(kind), &body))
    }

    /// Tells the client up to where it has seen everything.
    pub(crate) fn bookmark(&mut self, revision: u64, initial_events_end: bool) -> Result<Bytes> {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_events_end && let Some(map) = metadata.as_object_mut() {
            map.insert("annotations".to_owned(), json!({INITIAL_EVENTS_END: "true"}));
        }
        let (kind, api_version) = match self.presenter.form.shape {
            Shape::Table(version) => ("PartialObjectMetadata".to_owned(), format!("meta.k8s.io/{version}")),
            _ => self.presenter.identity(),
        };
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        if self.media() == Media::Protobuf {
            let body = present_protobuf::made_up(&self.presenter, &mut self.protobuf, &object)?;
            return Ok(protobuf_frame("BOOKMARK", &body));
        }
        let Shape::Table(version) = self.presenter.form.shape else {
            return encode("BOOKMARK", &object);
        };
        let table = json!({
            "kind": "Table",
            "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": {"resourceVersion": revision.to_string()},
            "columnDefinitions": null,
            "rows": [{"cells": [], "object": object}],
        });
        encode("BOOKMARK", &table)
    }
}

fn encode(type_name: &str, object: &Value) -> Result<Bytes> {
    Ok(frame(type_name, &serde_json::to_vec(object).map_err(Status::internal)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_line_of_json() {
        let bytes = frame("ADDED", br#"{"a":1}"#);
        assert_eq!(bytes, "{\"type\":\"ADDED\",\"object\":{\"a\":1}}\n");
    }
}
