//! Bodies of requests and responses.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request or response body: whole, or a stream.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// A body of these bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body of nothing.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
