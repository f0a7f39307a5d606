//! Watching budgets, pods and their controllers; writing statuses.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use client::{EventRecorder, EventType, Informer, ObjectKey, OwnWrites, Rest, Selector};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    core::v1::{Pod, ReplicationController},
    policy::v1::PodDisruptionBudget,
};

use super::plan::{self, Observed};
use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    ownership, pods,
};

const NAME: &str = "controllermanager";

/// The controller; keys are PodDisruptionBudgets.
pub struct DisruptionController {
    context: Context,
    rest: Rest,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    replication_controllers: Informer<ReplicationController>,
    recorder: EventRecorder,
    writes: OwnWrites,
}

impl DisruptionController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            budgets: context.informers.get(),
            pods: context.pods(),
            deployments: context.informers.get(),
            replica_sets: context.replica_sets(),
            stateful_sets: context.informers.get(),
            replication_controllers: context.informers.get(),
            recorder: context.recorder(NAME),
            writes: OwnWrites::new(),
        }
    }

    /// How many pods the controllers of these pods want together.
    fn wanted(&self, pods: &[Arc<Pod>]) -> Result<i32, String> {
        let mut controllers: BTreeMap<String, i32> = BTreeMap::new();
        for pod in pods {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let Some(owner) = ownership::controller_of(&pod.metadata) else {
                return Err(format!("found no controller ref for pod \"{name}\""));
            };
            if controllers.contains_key(&owner.uid) {
                continue;
            }
            let Some((uid, wanted)) = self.scale_of(pod) else {
                return Err(format!(
                    "{} {} does not implement the scale subresource",
                    owner.kind, owner.name
                ));
            };
            controllers.insert(uid, wanted);
        }
        Ok(controllers.values().sum())
    }

    fn scale_of(&self, pod: &Pod) -> Option<(String, i32)> {
        let meta = &pod.metadata;
        let of = |uid: Option<String>, wanted: Option<i32>| Some((uid?, wanted.unwrap_or(1)));
        if let Some(key) = ownership::controller_key::<ReplicaSet>(meta) {
            let set = self.replica_sets.get(&key)?;
            let deployment = ownership::controller_key::<Deployment>(&set.metadata);
            if let Some(deployment) = deployment.and_then(|key| self.deployments.get(&key)) {
                let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
                return of(deployment.metadata.uid.clone(), wanted);
            }
            return of(set.metadata.uid.clone(), set.spec.as_ref().and_then(|spec| spec.replicas));
        }
        if let Some(key) = ownership::controller_key::<StatefulSet>(meta) {
            let set = self.stateful_sets.get(&key)?;
            return of(set.metadata.uid.clone(), set.spec.as_ref().and_then(|spec| spec.replicas));
        }
        let key = ownership::controller_key::<ReplicationController>(meta)?;
        let controller = self.replication_controllers.get(&key)?;
        of(controller.metadata.uid.clone(), controller.spec.as_ref().and_then(|spec| spec.replicas))
    }
}

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    Selector::new(selector).matches(pod.metadata.labels.as_ref())
}

#[async_trait]
impl Controller for DisruptionController {
    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.budgets);
        let budgets = self.budgets.store().clone();
        watches.mapped(&self.pods, move |event, keys| {
            let namespace = event.object().metadata.namespace.as_deref().unwrap_or_default();
            for budget in budgets.list_namespace(namespace) {
                if event.states().any(|pod| selects(&budget, pod)) {
                    keys.add(ObjectKey::of(&*budget));
                }
            }
        });
        watches.reads(&self.deployments);
        watches.reads(&self.replica_sets);
        watches.reads(&self.stateful_sets);
        watches.reads(&self.replication_controllers);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(budget) = self.budgets.get(key) else {
            self.writes.forget(key);
            return Ok(Action::Done);
        };
        if self.writes.is_behind(&*budget) {
            return Ok(Action::Done);
        }
        let mut selected = self.pods.list_namespace(&key.namespace);
        selected.retain(|pod| selects(&budget, pod) && !pods::is_terminal(pod));
        if selected.is_empty() {
            self.recorder.about(&*budget, EventType::Normal, "NoPods", "No matching pods found");
        }
        let wanted = self.wanted(&selected);
        let observed = Observed { budget: &budget, pods: &selected, wanted, now: self.context.now() };
        let (status, recheck) = plan::status(&observed);
        if budget.status.as_ref() != Some(&status) {
            let next = PodDisruptionBudget { status: Some(status), ..(*budget).clone() };
            self.writes.note(&self.rest.replace_status(&next).await?);
        }
        Ok(Action::after(recheck))
    }
}
