//! OwnerReferencesPermissionEnforcement: who makes something go with its owner has to be allowed to delete it, and who
//! makes the owner wait for it has to be allowed to hold the owner.
//!
//! Upstream counterpart: `plugin/pkg/admission/gc`.

use crate::admission::chain::{Operation, Plugin, Request, Validation};
use crate::admission::support::{forbidden, text};
use crate::authorization::{Attributes, Authorizer};
use crate::registry::LiveResources;
use api::value;
use apimachinery::gvk::parse_api_version;
use apimachinery::meta;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// See the module.
pub(in crate::admission) struct OwnerReferencesPermissionEnforcement {
    authorizer: Arc<dyn Authorizer>,
    resources: Arc<LiveResources>,
}

impl OwnerReferencesPermissionEnforcement {
    pub(in crate::admission) fn new(authorizer: Arc<dyn Authorizer>, resources: Arc<LiveResources>) -> Self {
        Self { authorizer, resources }
    }

    async fn check_deletion(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let attributes = Attributes {
            namespace: request.namespace,
            api_group: &request.resource.group,
            api_version: &request.resource.version,
            resource: &request.resource.resource,
            subresource: request.subresource,
            name: request.name,
            resource_request: true,
            ..Attributes::non_resource(request.user, "delete", "")
        };
        let decision = self.authorizer.authorize(&attributes).await;
        if decision.allowed() {
            return Ok(());
        }
        let why =
            format!("cannot set an ownerRef on a resource you can't delete: {}, <nil>", decision.reason());
        Err(forbidden(request, object, why))
    }

    async fn check_owner(&self, request: &Request<'_>, object: &Value, owner: &Value) -> Result<(), Status> {
        let (api_version, kind) = (text(owner, "/apiVersion"), text(owner, "/kind"));
        let (group, version) = parse_api_version(api_version);
        let resources = self.resources.load();
        let Some(served) = resources.by_kind(group, version, kind) else {
            let why = format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion \
                 {api_version} Kind {kind}: no matches for kind {kind:?} in version {api_version:?}"
            );
            return Err(forbidden(request, object, why));
        };
        let attributes = Attributes {
            namespace: if served.namespaced { request.namespace } else { "" },
            api_group: group,
            api_version: version,
            resource: &served.gvr.resource,
            subresource: "finalizers",
            name: text(owner, "/name"),
            resource_request: true,
            ..Attributes::non_resource(request.user, "update", "")
        };
        let decision = self.authorizer.authorize(&attributes).await;
        if decision.allowed() {
            return Ok(());
        }
        let why = format!(
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {}, <nil>",
            decision.reason()
        );
        Err(forbidden(request, object, why))
    }
}

fn owners(object: &Value) -> &[Value] {
    value::list_at(object, &["metadata", "ownerReferences"])
}

fn blocks(owner: &Value) -> bool {
    value::boolean(owner, "blockOwnerDeletion") == Some(true)
}

impl Plugin for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for OwnerReferencesPermissionEnforcement {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        // Kubelets write whole pods with their status.
        let exempt = request.is_any("", "pods") && request.subresource == "status";
        if exempt || !matches!(request.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let before = request.old.map_or(&[][..], owners);
        if meta::metadata(object).is_none() || owners(object) == before {
            return Ok(());
        }
        if request.operation != Operation::Create {
            self.check_deletion(request, object).await?;
        }
        let known =
            |owner: &Value| before.iter().any(|old| blocks(old) && text(old, "/uid") == text(owner, "/uid"));
        for owner in owners(object).iter().filter(|owner| blocks(owner) && !known(owner)) {
            self.check_owner(request, object, owner).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::Scene;
    use crate::authorization::Decision;
    use crate::registry::RuntimeConfig;
    use serde_json::json;

    /// Allows what it names: `verb resource/subresource`.
    struct Only(&'static str);

    #[async_trait]
    impl Authorizer for Only {
        async fn authorize(&self, a: &Attributes<'_>) -> Decision {
            match format!("{} {}/{}", a.verb, a.resource, a.subresource) == self.0 {
                true => Decision::Allow(String::new()),
                false => Decision::NoOpinion("no".to_owned()),
            }
        }
    }

    async fn write(allowed: &'static str, old: Option<Value>, new: Value) -> Result<(), String> {
        let resources = Arc::new(LiveResources::built_in(&RuntimeConfig::default()));
        let plugin = OwnerReferencesPermissionEnforcement::new(Arc::new(Only(allowed)), resources);
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let scene = Scene::new(operation, "a", "p");
        let request = Request { old: old.as_ref(), ..scene.request() };
        plugin.validate(&request, &new).await.map_err(|status| status.message)
    }

    #[tokio::test]
    async fn owners_are_set_by_who_may_delete_and_held_by_who_may_hold_them() {
        let pod = |owners: Value| json!({"metadata": {"name": "p", "ownerReferences": owners}});
        let owner = |kind: &str, blocks: bool| {
            json!({"apiVersion": "apps/v1", "kind": kind, "name": "r",
            "uid": "u", "blockOwnerDeletion": blocks})
        };
        let free = pod(json!([owner("ReplicaSet", false)]));
        let blocking = pod(json!([owner("ReplicaSet", true)]));
        assert_eq!(write("", None, free.clone()).await, Ok(()));
        let refused = write("", Some(pod(json!([]))), free.clone()).await.unwrap_err();
        assert!(refused.contains("cannot set an ownerRef on a resource you can't delete: no"), "{refused}");
        assert_eq!(write("delete pods/", Some(pod(json!([]))), free.clone()).await, Ok(()));
        let refused = write("", None, blocking.clone()).await.unwrap_err();
        assert!(refused.contains("refers to a resource you can't set finalizers on: no"), "{refused}");
        assert_eq!(write("update replicasets/finalizers", None, blocking.clone()).await, Ok(()));
        // What blocked before may go on.
        assert_eq!(write("", Some(blocking.clone()), blocking).await, Ok(()));
        let unknown = write("", None, pod(json!([owner("Odd", true)]))).await.unwrap_err();
        assert!(unknown.contains("no matches for kind \"Odd\" in version \"apps/v1\""), "{unknown}");
    }
}
