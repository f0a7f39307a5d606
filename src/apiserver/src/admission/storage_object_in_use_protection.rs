//! StorageObjectInUseProtection: volumes and claims outlive their deletion while something uses them.

use apimachinery::meta;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::chain::{Mutation, Operation, Plugin, Request};
use super::support::list;

/// See the module.
pub(super) struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for StorageObjectInUseProtection {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.subresource.is_empty() {
            return Ok(());
        }
        let finalizer = match (request.resource.group.as_str(), request.resource.resource.as_str()) {
            ("", "persistentvolumes") => "kubernetes.io/pv-protection",
            ("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
            ("storage.k8s.io", "volumeattributesclasses") => "kubernetes.io/vac-protection",
            _ => return Ok(()),
        };
        if !meta::finalizers(object).any(|other| other == finalizer)
            && let Some(finalizers) = meta::metadata_mut(object).and_then(|meta| list(meta, "finalizers"))
        {
            finalizers.push(json!(finalizer));
        }
        Ok(())
    }
}
