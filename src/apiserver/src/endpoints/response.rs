//! Building responses.

use super::negotiation::{MEDIA_TYPES, Media};
use crate::body::{self, Body};
use apimachinery::gvk::Gvk;
use apimachinery::protobuf::{Encoder, envelope};
use apimachinery::status::{Result, Status};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

/// A response of these bytes.
pub(crate) fn bytes(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = body.into();
    let length = body.len();
    let mut response = with_body(code, content_type, body::full(body));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// A response with this body.
pub(crate) fn with_body(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A plain text response, as health checks give it.
pub(crate) fn text(code: u16, text: impl Into<String>) -> Response<Body> {
    let mut response = bytes(code, "text/plain; charset=utf-8", text.into());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A tree, written as asked for.
pub(crate) fn value(code: u16, value: &Value, media: Media) -> Result<Response<Body>> {
    Ok(bytes(code, media.content_type(), write(value, media)?))
}

/// Writes a tree down.
///
/// # Errors
/// 500 when it has no such form.
pub(crate) fn write(value: &Value, media: Media) -> Result<Vec<u8>> {
    match media {
        Media::Json => serde_json::to_vec(value).map_err(Status::internal),
        Media::PrettyJson => serde_json::to_vec_pretty(value).map_err(Status::internal),
        Media::Yaml => apimachinery::decode::to_yaml(value).map(String::into_bytes).map_err(Status::internal),
        Media::Protobuf => to_protobuf(value),
    }
}

/// A built-in object as protobuf, by what it says it is.
///
/// # Errors
/// 406 when its kind has no such form, 500 when it does not fit its schema.
pub(crate) fn to_protobuf(value: &Value) -> Result<Vec<u8>> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    // Documents of discovery say no version; it is that of the core.
    let gvk = Gvk::from_api_version(if api_version.is_empty() { "v1" } else { api_version }, kind.to_owned());
    let schema = api::schema::schema_for(&gvk).ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))?;
    let json = serde_json::to_vec(value).map_err(Status::internal)?;
    let mut encoder = Encoder::default();
    let raw = encoder.message(schema.node(), &json).map_err(Status::internal)?;
    Ok(envelope::seal(api_version, kind, raw))
}

/// An error, with the headers that go with it.
pub(crate) fn status(status: &Status, media: Media) -> Response<Body> {
    let code = if status.code == 0 { 500 } else { status.code };
    let mut response = match serde_json::to_value(status)
        .map_err(Status::internal)
        .and_then(|tree| value(code, &tree, media))
    {
        Ok(response) => response,
        Err(_) => bytes(code, "text/plain", status.message.clone()),
    };
    if let Some(details) = &status.details
        && details.retry_after_seconds > 0
    {
        let seconds = HeaderValue::from(details.retry_after_seconds);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    // For the audit log.
    response.extensions_mut().insert(status.clone());
    response
}

/// Adds `Warning` headers (RFC 7234 section 5.5, as API warnings use it, KEP-1693).
pub(crate) fn add_warnings(response: &mut Response<Body>, warnings: &[String]) {
    // Upstream's bounds: 4 KiB over all, 256 bytes each once that is reached.
    const TOTAL_BYTES: usize = 4096;
    let mut total = 0;
    for warning in warnings {
        let text: String = warning.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        total += quoted.len();
        if total > TOTAL_BYTES {
            return;
        }
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted() {
        let mut response = text(200, "ok");
        add_warnings(&mut response, &["unknown field \"spec.foo\"".to_owned()]);
        assert_eq!(response.headers()[header::WARNING], "299 - \"unknown field \\\"spec.foo\\\"\"");
    }

    #[test]
    fn a_status_has_a_protobuf_form() {
        let status = Status::not_found(&apimachinery::gvk::GroupResource::new("", "pods"), "a");
        let body = to_protobuf(&serde_json::to_value(&status).unwrap()).unwrap();
        let envelope = apimachinery::protobuf::open(&body).unwrap();
        let schema = api::schema::schema_for(&envelope.gvk).unwrap();
        let back = apimachinery::protobuf::decode(&schema, &envelope).unwrap();
        assert_eq!(serde_json::from_value::<Status>(back).unwrap(), status);
        assert_eq!(to_protobuf(&serde_json::json!({"major": "1"})).unwrap_err().code, 406);
    }

    #[test]
    fn a_status_says_when_to_come_back() {
        let response = status(&Status::too_many_requests("busy", 3), Media::Json);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
    }
}
