//! Keeps the number of pods that a ReplicationController asks for.
//!
//! Upstream counterpart: `replication-controller`. All behaviour is the ReplicaSet engine's.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Informer, ObjectKey, Selector, informer::index};
use k8s_openapi::api::{
    apps::v1::{ReplicaSetCondition, ReplicaSetStatus},
    core::v1::{
        Pod, PodTemplateSpec, ReplicationController, ReplicationControllerCondition,
        ReplicationControllerStatus,
    },
};

use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    replicaset::{Engine, Replicas},
};

const NAME: &str = "replication-controller";

/// The controller; keys are ReplicationControllers.
pub struct ReplicationManager {
    engine: Engine<ReplicationController>,
    pods: Informer<Pod>,
}

impl ReplicationManager {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { engine: Engine::new(context, NAME, context.informers.get()), pods: context.pods() }
    }
}

impl Replicas for ReplicationController {
    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selector(&self) -> Selector {
        match self.spec.as_ref().and_then(|spec| spec.selector.as_ref()) {
            Some(selector) if !selector.is_empty() => Selector::exactly(Some(selector)),
            // An empty selector must not take every pod of the namespace.
            _ => Selector::nothing(),
        }
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> ReplicaSetStatus {
        let status = self.status.clone().unwrap_or_default();
        let condition = |condition: ReplicationControllerCondition| ReplicaSetCondition {
            type_: condition.type_,
            status: condition.status,
            reason: condition.reason,
            message: condition.message,
            last_transition_time: condition.last_transition_time,
        };
        ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
            terminating_replicas: None,
        }
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        let condition = |condition: ReplicaSetCondition| ReplicationControllerCondition {
            type_: condition.type_,
            status: condition.status,
            reason: condition.reason,
            message: condition.message,
            last_transition_time: condition.last_transition_time,
        };
        let status = ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
        };
        Self { status: Some(status), ..self.clone() }
    }

    const COUNTS_TERMINATING: bool = false;
}

#[async_trait]
impl Controller for ReplicationManager {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        self.engine.watches(watches);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let pods = &self.pods;
        let related = |owner: &ReplicationController| {
            pods.by_index(index::CONTROLLER_UID, owner.metadata.uid.as_deref().unwrap_or_default())
        };
        self.engine.reconcile(key, related).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(!ReplicationController::default().selector().matches(None));
    }

    #[test]
    fn the_status_survives_the_way_through_the_engine() {
        let status = ReplicationControllerStatus {
            replicas: 3,
            ready_replicas: Some(2),
            observed_generation: Some(7),
            ..ReplicationControllerStatus::default()
        };
        let controller = ReplicationController { status: Some(status.clone()), ..Default::default() };
        assert_eq!(controller.with_status(Replicas::status(&controller)).status, Some(status));
    }
}
