//! Watching deployments and writing what the plan says.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use client::{
    Event, EventRecorder, EventType, Informer, ObjectKey, OwnWrites, Rest, Selector,
    informer::{Store, index},
    rest::{self, DeleteOptions, Patch},
};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentStatus, ReplicaSet},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::json;

use super::{
    annotations,
    plan::{self, Observed, Plan},
    status,
};
use crate::{
    framework::{Action, Context, Controller, Keys, ReconcileError, Watches},
    ownership, pods,
};

const NAME: &str = "deployment-controller";

/// The controller; keys are Deployments.
pub struct DeploymentController {
    context: Context,
    rest: Rest,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    recorder: EventRecorder,
    writes: OwnWrites,
    set_writes: OwnWrites,
}

impl DeploymentController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            deployments: context.informers.get(),
            replica_sets: context.replica_sets(),
            pods: context.pods(),
            recorder: context.recorder(NAME),
            writes: OwnWrites::new(),
            set_writes: OwnWrites::new(),
        }
    }

    fn running_pods(&self, sets: &[Arc<ReplicaSet>]) -> HashMap<String, usize> {
        let uids = sets.iter().filter_map(|set| set.metadata.uid.clone());
        uids.map(|uid| {
            let pods = self.pods.by_index(index::CONTROLLER_UID, &uid);
            let running = pods.iter().filter(|pod| !pods::is_terminal(pod)).count();
            (uid, running)
        })
        .collect()
    }

    async fn apply(&self, deployment: &Deployment, plan: Plan) -> Result<(), ReconcileError> {
        let status = plan.status;
        if let Some(set) = &plan.create
            && !self.create(deployment, set, &status).await?
        {
            return Ok(());
        }
        for set in &plan.update {
            self.set_writes.note(&self.rest.replace(set).await?);
        }
        for message in plan.scaled {
            self.recorder.about(deployment, EventType::Normal, "ScalingReplicaSet", message);
        }
        for set in &plan.delete {
            let uid = set.metadata.uid.clone().unwrap_or_default();
            self.rest.delete::<ReplicaSet>(&ObjectKey::of(set), &DeleteOptions::uid(uid)).await?;
        }
        let mut current = deployment.clone();
        if let Some(revision) = plan.revision {
            let patch = Patch::Merge(json!({"metadata": {
                "resourceVersion": current.metadata.resource_version,
                "annotations": {annotations::REVISION: revision},
            }}));
            // A write of the status carries the annotations, too: without the new one it would take it away.
            current = self.rest.patch(&ObjectKey::of(deployment), "", &patch).await?;
        }
        let old = deployment.status.clone().unwrap_or_default();
        if !status::same(&old, &status) {
            self.write_status(current, status).await?;
        }
        Ok(())
    }

    async fn write_status(
        &self,
        mut next: Deployment,
        status: DeploymentStatus,
    ) -> Result<(), ReconcileError> {
        next.status = Some(status);
        self.writes.note(&self.rest.replace_status(&next).await?);
        Ok(())
    }

    /// Creates the new replica set. False when there is nothing more to do in this sync.
    async fn create(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
        status: &DeploymentStatus,
    ) -> Result<bool, ReconcileError> {
        let error = match self.rest.create(set).await {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        if rest::is_namespace_terminating(&error) {
            return Ok(false);
        }
        if rest::is_already_exists(&error) {
            let existing = self.rest.get::<ReplicaSet>(&ObjectKey::of(set)).await?;
            let template = deployment.spec.as_ref().map(|spec| &spec.template);
            let own = existing.is_none_or(|existing| {
                let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
                ownership::is_controlled_by(&existing.metadata, uid)
                    && template.is_some_and(|template| annotations::same_template(&existing, template))
            });
            if own {
                // Created by an earlier sync, and the cache has not seen it: its event brings the key back.
                return Ok(false);
            }
            let mut next = deployment.status.clone().unwrap_or_default();
            next.collision_count = Some(next.collision_count.unwrap_or(0).saturating_add(1));
            self.write_status(deployment.clone(), next).await?;
            return Err(ReconcileError::Retry(
                "the hash of the pod template collides with another one's".into(),
            ));
        }
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let text = rest::status(&error).map_or_else(|| error.to_string(), |status| status.message.clone());
        let failed = status::with_create_error(deployment, status.clone(), name, &text, self.context.now());
        self.write_status(deployment.clone(), failed).await?;
        Err(error.into())
    }
}

#[async_trait]
impl Controller for DeploymentController {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.deployments);
        let deployments = self.deployments.store().clone();
        let this = self.clone();
        watches.mapped(&self.replica_sets, move |event, keys| {
            if let Event::Deleted(set) = event {
                this.set_writes.forget(&ObjectKey::of(&**set));
            }
            for state in event.states() {
                match ownership::controller_key::<Deployment>(&state.metadata) {
                    Some(key) => keys.add(key),
                    None if matches!(event, Event::Applied(..)) => {
                        adopters(&deployments, &state.metadata, keys)
                    }
                    None => {}
                }
            }
        });
        // Recreate waits for the last pod to go, which replica sets do not report.
        let sets = self.replica_sets.store().clone();
        let deployments = self.deployments.store().clone();
        watches.mapped(&self.pods, move |event, keys| {
            let pod = event.object();
            let ended = matches!(event, Event::Deleted(_)) || pods::is_terminal(pod);
            let set = ended.then(|| ownership::controller_key::<ReplicaSet>(&pod.metadata)).flatten();
            let key = set
                .and_then(|key| sets.get(&key))
                .and_then(|set| ownership::controller_key::<Deployment>(&set.metadata));
            if let Some(key) = key
                && deployments.get(&key).is_some_and(|deployment| is_recreate(&deployment))
            {
                keys.add(key);
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(deployment) = self.deployments.get(key) else {
            self.writes.forget(key);
            return Ok(Action::Done);
        };
        if self.writes.is_behind(&*deployment) {
            return Ok(Action::Done);
        }
        let selector = Selector::new(deployment.spec.as_ref().map(|spec| &spec.selector));
        if selector.is_empty() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.about(&*deployment, EventType::Warning, "SelectingAll", message);
            return Ok(Action::Done);
        }
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let mut candidates = self.replica_sets.by_index(index::CONTROLLER_UID, uid);
        candidates.extend(self.replica_sets.by_index(ownership::ORPHANS, &key.namespace));
        let sets = ownership::claim_all(&self.rest, &*deployment, &selector, candidates).await?;
        if sets.iter().any(|set| self.set_writes.is_behind(&**set)) {
            return Ok(Action::Done);
        }
        let plan = plan::plan(Observed {
            deployment: &deployment,
            running_pods: if is_recreate(&deployment) { self.running_pods(&sets) } else { HashMap::new() },
            sets: sets.iter().map(|set| (**set).clone()).collect(),
            now: self.context.now(),
        });
        let requeue = plan.requeue;
        self.apply(&deployment, plan).await?;
        Ok(Action::after(requeue))
    }
}

fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
}

fn adopters(deployments: &Store<Deployment>, meta: &ObjectMeta, keys: &Keys) {
    if ownership::controller_of(meta).is_some() {
        return;
    }
    for deployment in deployments.list_namespace(meta.namespace.as_deref().unwrap_or_default()) {
        let selector = Selector::new(deployment.spec.as_ref().map(|spec| &spec.selector));
        if !selector.is_empty() && selector.matches(meta.labels.as_ref()) {
            keys.add(ObjectKey::of(&*deployment));
        }
    }
}
