//! Paths beside Kubernetes' own that anybody may ask for, since they decide by themselves whom they believe.

use super::response;
use crate::body::Body;
use crate::server::PeerAddress;
use apimachinery::status::Result;
use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use serde_json::Value;
use std::net::SocketAddr;

/// A request for an open path.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Where it comes from, over the network.
    pub from: Option<SocketAddr>,
    /// Its body, as large as that of a write at most.
    pub body: Bytes,
}

/// Answers requests that nobody has authenticated.
#[async_trait]
pub trait OpenPaths: Send + Sync {
    /// Whether a path is one of these. They must be none of Kubernetes'.
    fn covers(&self, path: &str) -> bool;

    /// The answer, as JSON.
    ///
    /// # Errors
    /// The status that the client is to get.
    async fn answer(&self, request: OpenRequest) -> Result<Value>;
}

/// Has a request answered.
pub(crate) async fn answer(open: &dyn OpenPaths, parts: Parts, body: Body) -> Result<Response<Body>> {
    let request = OpenRequest {
        path: parts.uri.path().to_owned(),
        from: parts.extensions.get::<PeerAddress>().map(|peer| peer.0),
        method: parts.method,
        body: super::body::read(body).await?,
    };
    response::value(200, &open.answer(request).await?, super::Media::Json)
}
