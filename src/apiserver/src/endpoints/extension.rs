//! Paths that are served beside Kubernetes' own.

use super::context::Context;
use crate::authentication::UserInfo;
use crate::body::Body;
use apimachinery::status::Result;
use async_trait::async_trait;
use http::request::Parts;
use http::{Request, Response};

/// All of them are below this. Their requests may take as long as they like.
pub(crate) const ROOT: &str = "/knarr/";

/// Serves a path below `/knarr/` and all that is below it.
///
/// Whoever asks was authenticated, and is allowed to: RBAC's `nonResourceURLs` name the path, the verb is the method in
/// lower case. `cluster-admin` may ask for everything.
#[async_trait]
pub trait Extension: Send + Sync {
    /// The path, without a slash at its end: `/knarr/v1/NAME`.
    fn path(&self) -> &str;

    /// Answers a request.
    ///
    /// # Errors
    /// The status that the client is to get.
    async fn answer(&self, user: &UserInfo, request: Request<Body>) -> Result<Response<Body>>;
}

/// Has a request answered.
pub(crate) async fn answer(
    extension: &dyn Extension,
    context: &Context,
    mut parts: Parts,
    body: Body,
) -> Result<Response<Body>> {
    parts.headers.clone_from(&context.headers);
    extension.answer(&context.user, Request::from_parts(parts, body)).await
}
