//! AlwaysAdmit and AlwaysDeny: everything and nothing, for trying things.

use crate::admission::chain::{Mutation, Plugin, Request, Validation};
use crate::admission::support::forbidden;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::Value;

/// See the module.
pub(in crate::admission) struct AlwaysAdmit;

/// See the module.
pub(in crate::admission) struct AlwaysDeny;

impl Plugin for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }
}

impl Plugin for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for AlwaysDeny {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        Err(forbidden(request, object, "admission control is denying all modifications"))
    }
}

#[async_trait]
impl Validation for AlwaysDeny {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        Err(forbidden(request, object, "admission control is denying all modifications"))
    }
}
