//! Reading fresh state and writing what the plan says.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    EventRecorder, EventType, ObjectKey, Rest,
    rest::{self, DeleteOptions, Patch, Preconditions},
};
use http::Method;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::OwnerReference};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    graph::{FOREGROUND, Identity, Meta, Node, ORPHAN, Object, Uid},
    monitors::{self, Shared},
    plan::{self, OwnerState, Plan},
};
use crate::framework::{Action, Context, Controller, Keys, ReconcileError, Watches};

const NAME: &str = "garbage-collector-controller";
/// How soon to look again at an owner that nothing was seen of, in case its resource is listed late.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The controller; keys are uids.
pub struct GarbageCollector {
    rest: Rest,
    shared: Arc<Shared>,
    recorder: EventRecorder,
}

impl GarbageCollector {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { rest: context.rest.clone(), shared: Shared::new(), recorder: context.recorder(NAME) }
    }

    async fn read(&self, path: &str) -> Result<Option<Object>, ReconcileError> {
        let request = http::Request::get(path)
            .header(http::header::ACCEPT, client::reflector::ACCEPT_METADATA)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        match self.rest.client().request_text(request).await {
            Ok(text) => Ok(Some(serde_json::from_str(&text).map_err(kube::Error::SerdeError)?)),
            Err(error) if rest::is_not_found(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The state of every owner; asks the API server before believing that one is gone.
    async fn owner_states(
        &self,
        object: &Meta,
    ) -> Result<Option<Vec<(OwnerReference, OwnerState)>>, ReconcileError> {
        let mut states = Vec::new();
        for reference in object.owners() {
            let known = {
                let graph = self.shared.graph.lock();
                let uid = Uid::new(&reference.uid);
                let waiting = graph.node(uid).is_some_and(|node| node.deleting_dependents);
                (graph.exists(uid) && !waiting).then_some(OwnerState::Solid)
            };
            let state = match known {
                Some(state) => state,
                None => match self.ask_for_owner(object, reference).await? {
                    Some(state) => state,
                    None => return Ok(None),
                },
            };
            states.push((reference.clone(), state));
        }
        Ok(Some(states))
    }

    /// `None` when the reference cannot be followed, so that nothing must be concluded from it.
    async fn ask_for_owner(
        &self,
        object: &Meta,
        reference: &OwnerReference,
    ) -> Result<Option<OwnerState>, ReconcileError> {
        let found = {
            let discovered = self.shared.discovered.read();
            discovered.find(&reference.api_version, &reference.kind).cloned()
        };
        let Some(served) = found else {
            return Err(ReconcileError::Retry(format!(
                "the kind {} of {} of an owner is not served",
                reference.kind, reference.api_version
            )));
        };
        if served.namespaced && object.namespace.is_empty() {
            let message = format!(
                "ownerRef [{}/{}, namespace: , name: {}, uid: {}] does not exist in namespace \"\"",
                reference.api_version, reference.kind, reference.name, reference.uid
            );
            let about = ObjectReference {
                name: Some(object.name.clone()),
                uid: Some(object.uid.clone()),
                ..ObjectReference::default()
            };
            self.recorder.event(&about, EventType::Warning, "OwnerRefInvalidNamespace", message);
            return Ok(None);
        }
        let namespace = if served.namespaced { object.namespace.as_str() } else { "" };
        let path = rest::item_path(&served.path(namespace), &reference.name, "");
        let owner = self.read(&path).await?.filter(|owner| owner.metadata.uid == reference.uid);
        Ok(Some(match owner {
            None => OwnerState::Absent,
            Some(owner) if owner.metadata.is_deleting_dependents() => OwnerState::WaitingForDependents,
            Some(_) => OwnerState::Solid,
        }))
    }

    async fn process(&self, uid: &str, path: &str, fresh: &Meta) -> Result<Action, ReconcileError> {
        let Some(owners) = self.owner_states(fresh).await? else { return Ok(Action::Done) };
        let dependents_wait = {
            let graph = self.shared.graph.lock();
            let dependents = graph.dependents_of(Uid::new(uid));
            let waits = |uid: &String| graph.node(Uid::new(uid)).is_some_and(|node| node.deleting_dependents);
            (!dependents.is_empty()).then(|| dependents.iter().any(waits))
        };
        match plan::plan(fresh, &owners, dependents_wait) {
            Plan::Nothing => Ok(Action::Done),
            Plan::Disown(uids) => {
                self.disown(path, fresh, &uids).await?;
                Ok(Action::Done)
            }
            Plan::Delete { policy, unblock } => {
                if unblock {
                    self.unblock(path, fresh).await?;
                }
                let options = DeleteOptions {
                    preconditions: Some(Preconditions {
                        uid: Some(fresh.uid.clone()),
                        // Whoever gave it an owner meanwhile has changed it, and it must not go.
                        resource_version: (!unblock).then(|| fresh.resource_version.clone()),
                    }),
                    propagation_policy: Some(policy),
                    grace_period_seconds: None,
                };
                tracing::debug!(path, policy, "garbage collecting");
                self.delete(path, &options).await?;
                Ok(Action::Done)
            }
        }
    }

    async fn delete(&self, path: &str, options: &DeleteOptions) -> Result<(), ReconcileError> {
        let body = serde_json::to_vec(options).map_err(kube::Error::SerdeError)?;
        match self.rest.raw(Method::DELETE, path, Some(body)).await {
            Ok(_) => Ok(()),
            Err(error) if rest::is_not_found(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn disown(&self, path: &str, object: &Meta, uids: &[String]) -> Result<(), ReconcileError> {
        let kept: Vec<&OwnerReference> =
            object.owners().iter().filter(|reference| !uids.contains(&reference.uid)).collect();
        self.patch_meta(path, object, json!({"ownerReferences": kept})).await
    }

    async fn unblock(&self, path: &str, object: &Meta) -> Result<(), ReconcileError> {
        let mut references = object.owners().to_vec();
        for reference in &mut references {
            reference.block_owner_deletion = Some(false);
        }
        self.patch_meta(path, object, json!({"ownerReferences": references})).await
    }

    async fn remove_finalizer(
        &self,
        path: &str,
        object: &Meta,
        finalizer: &str,
    ) -> Result<(), ReconcileError> {
        let kept: Vec<&String> =
            object.finalizers.iter().flatten().filter(|known| *known != finalizer).collect();
        self.patch_meta(path, object, json!({"finalizers": kept})).await
    }

    /// Changes metadata of exactly the object that was read.
    async fn patch_meta(
        &self,
        path: &str,
        object: &Meta,
        mut metadata: serde_json::Value,
    ) -> Result<(), ReconcileError> {
        if let Some(fields) = metadata.as_object_mut() {
            fields.insert("uid".into(), json!(object.uid));
            fields.insert("resourceVersion".into(), json!(object.resource_version));
        }
        match self.rest.raw_patch(path, &Patch::Merge(json!({"metadata": metadata}))).await {
            Ok(_) => Ok(()),
            Err(error) if rest::is_not_found(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets all dependents free, then lets the owner go.
    async fn orphan(&self, uid: &str, path: &str, fresh: &Meta) -> Result<(), ReconcileError> {
        let dependents: Vec<(String, Node)> = {
            let graph = self.shared.graph.lock();
            let all = graph.dependents_of(Uid::new(uid));
            all.into_iter()
                .filter_map(|uid| Some((graph.node(Uid::new(&uid))?.clone(), uid)))
                .map(|(node, uid)| (uid, node))
                .collect()
        };
        for (dependent, node) in dependents {
            let path = item_path(&node.identity);
            let Some(object) = self.read(&path).await?.filter(|object| object.metadata.uid == dependent)
            else {
                continue;
            };
            if object.metadata.owners().iter().any(|owner| owner.uid == uid) {
                self.disown(&path, &object.metadata, &[uid.to_owned()]).await?;
            }
        }
        self.remove_finalizer(path, fresh, ORPHAN).await
    }
}

/// The path of an object, from that of its resource without a namespace.
fn item_path(identity: &Identity) -> String {
    let collection = if identity.namespace.is_empty() {
        identity.resource.to_string()
    } else {
        match identity.resource.rsplit_once('/') {
            Some((root, plural)) => format!("{root}/namespaces/{}/{plural}", identity.namespace),
            None => identity.resource.to_string(),
        }
    };
    rest::item_path(&collection, &identity.name, "")
}

#[async_trait]
impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        NAME
    }

    // The monitors are started by `background`: which resources there are is known only at run time.
    fn watches(self: Arc<Self>, _watches: &mut Watches) {}

    // Upstream's number; deletions of large namespaces and deployments come through here.
    fn workers(&self) -> usize {
        20
    }

    async fn background(&self, keys: Keys, stop: CancellationToken) {
        monitors::run(self.rest.clone(), self.shared.clone(), keys, stop).await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let uid = key.name.as_str();
        let node = {
            let graph = self.shared.graph.lock();
            // What was worth a look when it was queued may have settled since.
            graph.node(Uid::new(uid)).filter(|node| graph.needs_look(node)).cloned()
        };
        let Some(node) = node else { return Ok(Action::Done) };
        let path = item_path(&node.identity);
        let Some(fresh) = self.read(&path).await?.filter(|object| object.metadata.uid == uid) else {
            // Gone; its event is on the way, or was before the graph saw it. Then this is all there will be.
            return Ok(Action::RequeueAfter(LOOK_AGAIN));
        };
        let fresh = fresh.metadata;
        if fresh.is_orphaning() {
            self.orphan(uid, &path, &fresh).await?;
            return Ok(Action::Done);
        }
        if fresh.is_deleting_dependents() {
            let blocked = self.shared.graph.lock().is_blocked(Uid::new(uid));
            if !blocked {
                self.remove_finalizer(&path, &fresh, FOREGROUND).await?;
            }
            // Otherwise each blocking dependent brings the owner back when it goes.
            return Ok(Action::Done);
        }
        if fresh.is_deleting() {
            return Ok(Action::Done);
        }
        self.process(uid, &path, &fresh).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_namespaced_objects_get_their_namespace_before_the_plural() {
        let identity = |resource: &str, namespace: &str| Identity {
            resource: resource.into(),
            namespace: namespace.into(),
            name: "x".into(),
        };
        assert_eq!(
            item_path(&identity("/apis/apps/v1/replicasets", "ns")),
            "/apis/apps/v1/namespaces/ns/replicasets/x"
        );
        assert_eq!(item_path(&identity("/api/v1/nodes", "")), "/api/v1/nodes/x");
    }
}
