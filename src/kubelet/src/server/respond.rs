//! Responses: plain text for people and errors, JSON for objects.

use std::convert::Infallible;

use apimachinery::status::Status;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::Value;

/// Body of a response: in memory, or streamed.
pub(super) type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// Answers a text.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", Bytes::from(text.into()))
}

/// An error as the kubelet words them: a line of text.
pub(super) fn error(status: StatusCode, message: impl std::fmt::Display) -> Response<Body> {
    text(status, format!("{message}\n"))
}

/// Answers an object.
pub(super) fn json(value: &Value) -> Response<Body> {
    with_type(StatusCode::OK, "application/json", Bytes::from(value.to_string()))
}

/// Answers a failure as the API does.
pub(super) fn failure(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with_type(code, "application/json", Bytes::from(serde_json::to_vec(status).unwrap_or_default()))
}

/// Answers metrics in the Prometheus text format.
pub(super) fn metrics(text: String) -> Response<Body> {
    with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", Bytes::from(text))
}

/// Answers without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed_unsync());
    *response.status_mut() = status;
    response
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
