//! AlwaysAdmit and AlwaysDeny: everything and nothing, for trying things.

use crate::admission::chain::{Plugin, Request};
use crate::admission::support::forbidden;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::Value;

/// See the module.
pub(in crate::admission) struct AlwaysAdmit;

/// See the module.
pub(in crate::admission) struct AlwaysDeny;

#[async_trait]
impl Plugin for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }
}

#[async_trait]
impl Plugin for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        Err(forbidden(request, object, "admission control is denying all modifications"))
    }

    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        Err(forbidden(request, object, "admission control is denying all modifications"))
    }
}
