//! NamespaceLifecycle: nothing new in namespaces that do not exist or are being deleted; some namespaces stay.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::{Cause, Status};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::chain::{Mutation, Operation, Plugin, Request};
use super::support::forbidden;
use crate::cached::Memo;
use crate::registry::Registry;

/// Namespaces that the cluster cannot be without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// See the module.
pub(super) struct NamespaceLifecycle {
    namespaces: Memo<Namespace>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(default)]
    status: NamespaceStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamespaceStatus {
    phase: String,
}

impl NamespaceLifecycle {
    pub(super) fn new(registry: Registry) -> Self {
        Self { namespaces: Memo::new(registry, "", "namespaces") }
    }

    async fn check(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if request.is_any("", "namespaces") {
            let deletes = request.operation == Operation::Delete && request.subresource.is_empty();
            if deletes && IMMORTAL.contains(&request.name) {
                return Err(forbidden(request, object, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        // Deleting is always allowed, and asking what one may do is no change.
        let changes = matches!(request.operation, Operation::Create | Operation::Update);
        if request.namespace.is_empty()
            || !changes
            || request.is("authorization.k8s.io", "localsubjectaccessreviews")
        {
            return Ok(());
        }
        let name = request.namespace;
        let absent = || Status::not_found(&GroupResource::new("", "namespaces"), name);
        let takes = |namespace: &Namespace| {
            request.operation != Operation::Create || namespace.status.phase != "Terminating"
        };
        if takes(&*self.namespaces.recent_if("", name, takes).await?.ok_or_else(absent)?) {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let mut status = forbidden(request, object, why);
        if let Some(details) = status.details.as_mut() {
            details.causes.push(Cause {
                reason: "NamespaceTerminating".into(),
                message: format!("namespace {name} is being terminated"),
                field: "metadata.namespace".into(),
            });
        }
        Err(status)
    }
}

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for NamespaceLifecycle {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if request.is("", "namespaces") && request.operation == Operation::Create {
            // What selects namespaces by label can rely on their names being among them.
            let name = meta::name(object).to_owned();
            if !name.is_empty() {
                meta::set_label(object, "kubernetes.io/metadata.name", &name);
            }
        }
        self.check(request, object).await
    }
}
