//! NamespaceExists: nothing happens in namespaces that are not there. NamespaceAutoProvision: they come to be with what
//! is created in them.

use crate::admission::chain::{Mutation, Operation, Plugin, Request, Validation};
use crate::registry::Registry;
use apimachinery::gvk::GroupResource;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

/// See the module.
pub(in crate::admission) struct NamespaceExists(pub(in crate::admission) Registry);

/// See the module.
pub(in crate::admission) struct NamespaceAutoProvision(pub(in crate::admission) Registry);

fn namespaces() -> GroupResource {
    GroupResource::new("", "namespaces")
}

/// Whether a request's namespace is not there. Namespaces themselves are in none.
async fn lacks_namespace(registry: &Registry, request: &Request<'_>) -> Result<bool, Status> {
    if request.namespace.is_empty() || request.is_any("", "namespaces") {
        return Ok(false);
    }
    Ok(registry.get(&namespaces(), "", request.namespace).await?.is_none())
}

impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for NamespaceExists {
    async fn validate(&self, request: &Request<'_>, _: &Value) -> Result<(), Status> {
        match lacks_namespace(&self.0, request).await? {
            true => Err(Status::not_found(&namespaces(), request.namespace)),
            false => Ok(()),
        }
    }
}

impl Plugin for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for NamespaceAutoProvision {
    async fn admit(&self, request: &Request<'_>, _: &mut Value) -> Result<(), Status> {
        if request.operation != Operation::Create
            || request.dry_run
            || !lacks_namespace(&self.0, request).await?
        {
            return Ok(());
        }
        let name = request.namespace;
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        match self.0.create(&namespaces(), namespace).await {
            Err(status) if status.is_already_exists() => Ok(()),
            result => result.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::Scene;
    use crate::cached::testing::registry;

    #[tokio::test]
    async fn a_namespace_that_is_missing_is_told_or_made() {
        let registry = registry().await;
        let (exists, provision) =
            (NamespaceExists(registry.clone()), NamespaceAutoProvision(registry.clone()));
        let scene = Scene::new(Operation::Create, "new", "p");
        let refused = exists.validate(&scene.request(), &Value::Null).await.unwrap_err();
        assert_eq!(refused.message, "namespaces \"new\" not found");
        let dry = Request { dry_run: true, ..scene.request() };
        provision.admit(&dry, &mut json!({})).await.unwrap();
        assert!(exists.validate(&scene.request(), &Value::Null).await.is_err());
        for _ in 0..2 {
            provision.admit(&scene.request(), &mut json!({})).await.unwrap();
        }
        exists.validate(&scene.request(), &Value::Null).await.unwrap();
        let made = registry.get_value(&namespaces(), "", "new").await.unwrap().unwrap();
        assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    }
}
