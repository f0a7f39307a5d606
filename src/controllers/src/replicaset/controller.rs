//! The controller of ReplicaSets.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Informer, ObjectKey, Selector, informer::index};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetStatus},
    core::v1::{Pod, PodTemplateSpec},
};

use super::engine::{Engine, Replicas};
use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    ownership,
};

const NAME: &str = "replicaset-controller";

/// The controller; keys are ReplicaSets.
pub struct ReplicaSetController {
    engine: Engine<ReplicaSet>,
    replica_sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
}

impl ReplicaSetController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        let replica_sets = context.replica_sets();
        let engine = Engine::new(context, NAME, replica_sets.clone());
        Self { engine, replica_sets, pods: context.pods() }
    }

    /// The pods of all replica sets of the same Deployment; without one, of this set alone.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let sets = match ownership::controller_of(&set.metadata) {
            Some(owner) => self.replica_sets.by_index(index::CONTROLLER_UID, &owner.uid),
            None => vec![Arc::new(set.clone())],
        };
        let uids = sets.iter().filter_map(|set| set.metadata.uid.clone());
        uids.flat_map(|uid| self.pods.by_index(index::CONTROLLER_UID, &uid)).collect()
    }
}

impl Replicas for ReplicaSet {
    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selector(&self) -> Selector {
        Selector::new(self.spec.as_ref().map(|spec| &spec.selector))
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> ReplicaSetStatus {
        self.status.clone().unwrap_or_default()
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

#[async_trait]
impl Controller for ReplicaSetController {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        self.engine.watches(watches);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        self.engine.reconcile(key, |set| self.related(set)).await
    }
}
