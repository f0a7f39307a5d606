//! Stored objects as protobuf: read where they stand, nothing in between.

use super::list_body::{FRAME_BYTES, ListBody};
use super::negotiation::Shape;
use super::present::{ListMeta, Presenter};
use apimachinery::protobuf::wire::put_bytes;
use apimachinery::protobuf::{Encoder, envelope};
use apimachinery::schema::SchemaRef;
use apimachinery::status::{Result, Status};
use bytes::Bytes;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use storage::Object;

const LIST_META: &str = "apimachinery.pkg.apis.meta.v1.ListMeta";
const PARTIAL: &str = "apimachinery.pkg.apis.meta.v1.PartialObjectMetadata";
/// The numbers of `metadata` and `items` in every list.
const METADATA: u32 = 1;
const ITEMS: u32 = 2;

/// One object as a body.
///
/// # Errors
/// 500 when it cannot be read or converted.
pub(crate) fn object(presenter: &Presenter, encoder: &mut Encoder, value: &Bytes) -> Result<Vec<u8>> {
    let (kind, api_version) = presenter.identity();
    let schema = schema(presenter)?;
    Ok(envelope::seal(&api_version, &kind, message(presenter, &schema, encoder, value)?))
}

/// What is no stored object but has the form of one: a bookmark.
///
/// # Errors
/// 500 when it does not fit the schema.
pub(crate) fn made_up(presenter: &Presenter, encoder: &mut Encoder, object: &Value) -> Result<Vec<u8>> {
    let (kind, api_version) = presenter.identity();
    let raw = encode(encoder, &schema(presenter)?, &serde_json::to_vec(object).map_err(Status::internal)?)?;
    Ok(envelope::seal(&api_version, &kind, raw))
}

/// A list as a body.
///
/// # Errors
/// 500 when an item cannot be read or converted.
pub(crate) fn list(presenter: &Presenter, items: &[Arc<Object>], meta: &ListMeta) -> Result<ListBody> {
    let mut encoder = Encoder::default();
    let mut pieces = VecDeque::new();
    let mut piece = Vec::with_capacity(FRAME_BYTES);
    let list_meta = serde_json::to_vec(&meta.to_value()).map_err(Status::internal)?;
    put_bytes(&mut piece, METADATA, encode(&mut encoder, &named(LIST_META)?, &list_meta)?);
    let schema = schema(presenter)?;
    let mut length = 0;
    for item in items {
        let raw = message(presenter, &schema, &mut encoder, &item.value)?;
        if piece.len() + raw.len() > FRAME_BYTES {
            length += piece.len();
            pieces.push_back(Bytes::from(std::mem::replace(&mut piece, Vec::with_capacity(FRAME_BYTES))));
        }
        put_bytes(&mut piece, ITEMS, raw);
    }
    length += piece.len();
    piece.extend_from_slice(envelope::TAIL);
    pieces.push_back(Bytes::from(piece));
    let (kind, api_version) = presenter.list_identity();
    let mut head = Vec::new();
    envelope::put_envelope(&mut head, &api_version, &kind, length);
    pieces.push_front(Bytes::from(head));
    Ok(ListBody::of(pieces))
}

fn message<'e>(
    presenter: &Presenter,
    schema: &SchemaRef,
    encoder: &'e mut Encoder,
    value: &Bytes,
) -> Result<&'e [u8]> {
    // The metadata is the same in every version.
    if presenter.served.converts() && presenter.form.shape == Shape::Whole {
        return encode(encoder, schema, &presenter.item(value)?);
    }
    encode(encoder, schema, value)
}

fn encode<'e>(encoder: &'e mut Encoder, schema: &SchemaRef, json: &[u8]) -> Result<&'e [u8]> {
    encoder.message(schema.node(), json).map_err(Status::internal)
}

fn schema(presenter: &Presenter) -> Result<SchemaRef> {
    match presenter.form.shape {
        Shape::Metadata(_) => named(PARTIAL),
        _ => Ok(presenter.served.schema.clone()),
    }
}

fn named(name: &str) -> Result<SchemaRef> {
    api::schema::schema_named(name).ok_or_else(|| Status::internal(format!("there is no schema of {name}")))
}
