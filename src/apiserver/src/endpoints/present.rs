//! Turning stored objects into what a client asked to see.

use super::context::Context;
use super::negotiation::{Form, Media, Offer, Shape};
use super::present_protobuf;
use super::response;
use super::table::{self, Include};
use crate::body::Body;
use crate::registry::Served;
use apimachinery::protobuf::Encoder;
use apimachinery::status::{Result, Status};
use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;
use storage::Object;

/// Shows objects of one resource in one form.
pub(crate) struct Presenter {
    /// What the objects are.
    pub(crate) served: Arc<Served>,
    /// How they are shown.
    pub(crate) form: Form,
    /// What rows of tables carry.
    pub(crate) include: Include,
    /// What ages are counted from.
    pub(crate) now: jiff::Timestamp,
}

/// The list metadata of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListMeta {
    /// The list's revision.
    pub(crate) revision: u64,
    /// Token for the next part; empty at the end.
    pub(crate) continue_token: String,
    /// How much is left, where that is known.
    pub(crate) remaining: Option<u64>,
}

impl ListMeta {
    /// As the JSON of `metav1.ListMeta`.
    pub(crate) fn to_value(&self) -> Value {
        let mut meta = json!({"resourceVersion": self.revision.to_string()});
        if let Some(map) = meta.as_object_mut() {
            if !self.continue_token.is_empty() {
                map.insert("continue".to_owned(), json!(self.continue_token));
            }
            if let Some(remaining) = self.remaining {
                map.insert("remainingItemCount".to_owned(), json!(remaining));
            }
        }
        meta
    }
}

#[derive(Deserialize)]
struct MetadataOnly<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

impl Presenter {
    /// A presenter for a request.
    ///
    /// # Errors
    /// 406 when the client accepts nothing we have, 400 for an unknown `includeObject`.
    pub(crate) fn new(context: &Context, served: &Arc<Served>) -> Result<Self> {
        let form = context.form(Offer { transforms: true, protobuf: served.has_protobuf() })?;
        let include = Include::parse(context.query.text("includeObject"))?;
        Ok(Self { served: Arc::clone(served), form, include, now: context.now })
    }

    /// Whether stored bytes can go out as they are.
    pub(crate) fn is_stored(&self) -> bool {
        self.form.is_stored() && !self.served.converts()
    }

    /// Kind and apiVersion of one object as it is shown (not for tables).
    pub(crate) fn identity(&self) -> (String, String) {
        match self.form.shape {
            Shape::Metadata(version) => {
                ("PartialObjectMetadata".to_owned(), format!("meta.k8s.io/{version}"))
            }
            _ => (self.served.gvk.kind.clone(), self.served.gvr.api_version()),
        }
    }

    /// Kind and apiVersion of lists as they are shown (not for tables).
    pub(crate) fn list_identity(&self) -> (String, String) {
        match self.form.shape {
            Shape::Metadata(version) => {
                ("PartialObjectMetadataList".to_owned(), format!("meta.k8s.io/{version}"))
            }
            _ => (self.served.list_kind(), self.served.gvr.api_version()),
        }
    }

    /// The tree of a stored object, in the version that was asked for.
    ///
    /// # Errors
    /// 500 when it cannot be read or converted.
    pub(crate) fn tree(&self, value: &[u8]) -> Result<Value> {
        let mut tree = stored_tree(value)?;
        self.served.from_storage(&mut tree)?;
        Ok(tree)
    }

    /// One item as compact JSON in the shape of lists and watches (not for tables).
    ///
    /// # Errors
    /// 500 when it cannot be read or converted.
    pub(crate) fn item(&self, value: &Bytes) -> Result<Bytes> {
        match self.form.shape {
            Shape::Metadata(version) => partial(value, version),
            _ if self.served.converts() => {
                serde_json::to_vec(&self.tree(value)?).map(Bytes::from).map_err(Status::internal)
            }
            _ => Ok(value.clone()),
        }
    }

    /// The response that shows one object.
    ///
    /// # Errors
    /// 500 when it cannot be read or converted.
    pub(crate) fn object(&self, code: u16, value: &Bytes) -> Result<Response<Body>> {
        if self.form.media == Media::Protobuf {
            let body = present_protobuf::object(self, &mut Encoder::default(), value)?;
            return Ok(response::bytes(code, Media::Protobuf.content_type(), body));
        }
        if self.is_stored() {
            return Ok(response::bytes(code, Media::Json.content_type(), value.clone()));
        }
        if let Shape::Table(version) = self.form.shape {
            let tree = stored_tree(value)?;
            let meta = json!({"resourceVersion": apimachinery::meta::resource_version(&tree)});
            let table = table::table(&self.served, version, std::slice::from_ref(&tree), self, meta, true);
            return response::value(code, &table, self.form.media);
        }
        let item = self.item(value)?;
        if self.form.media == Media::Json {
            return Ok(response::bytes(code, Media::Json.content_type(), item));
        }
        let tree: Value = serde_json::from_slice(&item).map_err(Status::internal)?;
        response::value(code, &tree, self.form.media)
    }

    /// The response that shows a list.
    ///
    /// # Errors
    /// 500 when an item cannot be read or converted.
    pub(crate) fn list(&self, items: &[Arc<Object>], meta: &ListMeta) -> Result<Response<Body>> {
        if let Shape::Table(version) = self.form.shape {
            let trees = items.iter().map(|o| stored_tree(&o.value)).collect::<Result<Vec<_>>>()?;
            let table = table::table(&self.served, version, &trees, self, meta.to_value(), true);
            return response::value(200, &table, self.form.media);
        }
        if self.form.media == Media::Protobuf {
            return Ok(list_response(present_protobuf::list(self, items, meta)?, Media::Protobuf));
        }
        let (kind, api_version) = self.list_identity();
        let head = format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{},\"items\":[",
            meta.to_value()
        );
        let (head, tail) = (Bytes::from(head), Bytes::from_static(b"]}"));
        let body = if self.is_stored() {
            super::list_body::ListBody::new(head, items.iter().map(|o| o.value.clone()), tail)
        } else {
            let shown = items.iter().map(|o| self.item(&o.value)).collect::<Result<Vec<_>>>()?;
            super::list_body::ListBody::new(head, shown.into_iter(), tail)
        };
        if self.form.media == Media::Json {
            return Ok(list_response(body, Media::Json));
        }
        let tree: Value = serde_json::from_slice(&body.into_bytes()).map_err(Status::internal)?;
        response::value(200, &tree, self.form.media)
    }
}

/// The tree of stored bytes.
///
/// # Errors
/// 500 when they are no JSON.
pub(crate) fn stored_tree(value: &[u8]) -> Result<Value> {
    serde_json::from_slice(value).map_err(Status::internal)
}

fn list_response(body: super::list_body::ListBody, media: Media) -> Response<Body> {
    use http_body_util::BodyExt;
    let length = body.len();
    let mut response = response::with_body(200, media.content_type(), body.boxed_unsync());
    response.headers_mut().insert(http::header::CONTENT_LENGTH, http::HeaderValue::from(length));
    response
}

/// The bare metadata of a stored object, without reading the rest of it.
fn partial(value: &[u8], version: &str) -> Result<Bytes> {
    let object: MetadataOnly<'_> = serde_json::from_slice(value).map_err(Status::internal)?;
    let metadata = object.metadata.get();
    Ok(Bytes::from(format!(
        "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/{version}\",\"metadata\":{metadata}}}"
    )))
}
