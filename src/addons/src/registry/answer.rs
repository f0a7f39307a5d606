//! What the registry answers: errors of the specification, and responses that are alike in several places.

use super::names::{Digest, Name, Wrong};
use super::store::StoreError;
use crate::http::{self as web, Body};
use ::http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

/// An answer that is an error of the specification.
pub(super) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
    range: Option<u64>,
}

pub(super) type Answer = Result<Response<Body>, Failure>;

impl Failure {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), range: None }
    }

    /// What is told.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Of the store, about something that has a code of its own when it is not there.
    pub(super) fn about(missing: &'static str) -> impl FnOnce(StoreError) -> Self {
        move |error| {
            let message = error.to_string();
            match error {
                StoreError::NotFound => Self::new(StatusCode::NOT_FOUND, missing, message),
                StoreError::Digest(_) => Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message),
                StoreError::Offset(size) => Self {
                    range: Some(size),
                    ..Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message)
                },
                StoreError::Full(_) | StoreError::NoRoom(_) => {
                    Self::new(StatusCode::INSUFFICIENT_STORAGE, "DENIED", message)
                }
                StoreError::Io(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", message),
            }
        }
    }

    /// It as a response.
    pub(super) fn response(self) -> Response<Body> {
        let body = json!({"errors": [{"code": self.code, "message": self.message}]});
        let mut response = web::json(self.status, &body);
        if let Some(size) = self.range {
            set(&mut response, "range", &uploaded(size));
        }
        response
    }
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        let (status, code, message) = match wrong {
            Wrong::Path => (StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no such path"),
            Wrong::Name => (StatusCode::BAD_REQUEST, "NAME_INVALID", "the repository's name is not valid"),
            Wrong::Digest => (StatusCode::BAD_REQUEST, "DIGEST_INVALID", "the digest is not valid"),
            Wrong::Reference => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID", "the tag is not valid"),
            Wrong::Upload => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "there is no such upload"),
        };
        Self::new(status, code, message)
    }
}

/// Nothing but a status.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(web::full(""));
    *response.status_mut() = status;
    response
}

/// Of something that is there now.
pub(super) fn created(location: &str, digest: &Digest) -> Response<Body> {
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, "location", location);
    set(&mut response, "docker-content-digest", &digest.to_string());
    response
}

/// How far an upload is.
pub(super) fn progress(status: StatusCode, name: &Name, id: &str, size: u64) -> Response<Body> {
    let mut response = empty(status);
    set(&mut response, "location", &format!("/v2/{name}/blobs/uploads/{id}"));
    set(&mut response, "docker-upload-uuid", id);
    set(&mut response, "range", &uploaded(size));
    response
}

/// The bytes of an upload, as its `Range` says them.
fn uploaded(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

/// Sets a header; a value that is none, which could only be a media type, is left out.
pub(super) fn set(response: &mut Response<Body>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(header::HeaderName::from_static(name), value);
    }
}
