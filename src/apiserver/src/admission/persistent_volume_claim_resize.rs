//! PersistentVolumeClaimResize: only bound claims of classes that allow it may grow.

use std::str::FromStr;

use apimachinery::quantity::Quantity;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::chain::{Operation, Plugin, Request, Validation};
use super::support::{forbidden, text};
use crate::cached::Memo;
use crate::registry::Registry;

/// See the module.
pub(super) struct PersistentVolumeClaimResize {
    classes: Memo<Value>,
}

impl PersistentVolumeClaimResize {
    pub(super) fn new(registry: Registry) -> Self {
        Self { classes: Memo::new(registry, "storage.k8s.io", "storageclasses") }
    }
}

fn storage(claim: &Value) -> Option<Quantity> {
    Quantity::from_str(text(claim, "/spec/resources/requests/storage")).ok()
}

impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for PersistentVolumeClaimResize {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if !request.is("", "persistentvolumeclaims") || request.operation != Operation::Update {
            return Ok(());
        }
        let Some(old) = request.old else { return Ok(()) };
        let (Some(before), Some(after)) = (storage(old), storage(object)) else { return Ok(()) };
        if after <= before {
            return Ok(());
        }
        if text(old, "/status/phase") != "Bound" {
            return Err(forbidden(request, object, "Only bound persistent volume claims can be expanded"));
        }
        let class = self.classes.recent("", text(object, "/spec/storageClassName")).await?;
        let allows = |class: &Value| class.get("allowVolumeExpansion").and_then(Value::as_bool) == Some(true);
        if class.is_some_and(|class| allows(&class)) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(forbidden(request, object, why))
    }
}
