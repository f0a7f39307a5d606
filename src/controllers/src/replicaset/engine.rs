//! The part that ReplicaSets and ReplicationControllers share.

use std::{sync::Arc, time::Duration};

use client::{Event, Informer, ObjectKey, OwnWrites, Rest, Selector, informer::index, rest::Object};
use k8s_openapi::api::{
    apps::v1::ReplicaSetStatus,
    core::v1::{Pod, PodTemplateSpec},
};

use super::plan::{self, Failure, Observed, Plan};
use crate::{
    framework::{Action, Context, Keys, ReconcileError, Watches},
    ownership,
    pod_control::{self, PodControl},
    pods,
};

/// Names of pods are at most this long with their random suffix of five characters.
const LONGEST_PREFIX: usize = 253 - 5;

/// A kind that keeps a number of pods.
pub(crate) trait Replicas: Object {
    /// Wanted pods.
    fn replicas(&self) -> i32;
    /// Seconds that a pod must be ready to be available.
    fn min_ready_seconds(&self) -> i32;
    /// Which pods are its own.
    fn selector(&self) -> Selector;
    /// What to make pods from.
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// The status, in the form of the kind that has all fields.
    fn status(&self) -> ReplicaSetStatus;
    /// Whether the status has a place for the number of terminating pods.
    const COUNTS_TERMINATING: bool = true;

    /// The same object with another status.
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

/// Reconciles objects of one kind with their pods.
pub(crate) struct Engine<K> {
    rest: Rest,
    owners: Informer<K>,
    pods: Informer<Pod>,
    control: PodControl,
    writes: OwnWrites,
    clock: Context,
}

impl<K: Replicas> Engine<K> {
    pub(crate) fn new(context: &Context, component: &str, owners: Informer<K>) -> Self {
        Self {
            rest: context.rest.clone(),
            owners,
            pods: context.pods(),
            control: PodControl::new(context.rest.clone(), context.recorder(component)),
            writes: OwnWrites::new(),
            clock: context.clone(),
        }
    }

    pub(crate) fn watches(&self, watches: &mut Watches) {
        watches.primary(&self.owners);
        let control = self.control.clone();
        let owners = self.owners.store().clone();
        watches.mapped(&self.pods, move |event, keys| {
            control.observe::<K>(event);
            for state in event.states() {
                match ownership::controller_of(&state.metadata) {
                    Some(_) => {
                        if let Some(key) = ownership::controller_key::<K>(&state.metadata) {
                            keys.add(key);
                        }
                    }
                    None if matches!(event, Event::Applied(..)) => {
                        add_possible_adopters(&owners, state, keys)
                    }
                    None => {}
                }
            }
        });
    }

    /// Brings the pods of one object to the wanted number and writes its status.
    pub(crate) async fn reconcile(
        &self,
        key: &ObjectKey,
        related: impl Fn(&K) -> Vec<Arc<Pod>> + Send,
    ) -> Result<Action, ReconcileError> {
        let Some(owner) = self.owners.get(key) else {
            self.control.expectations().forget(key);
            self.writes.forget(key);
            return Ok(Action::Done);
        };
        if self.writes.is_behind(&*owner) {
            return Ok(Action::Done);
        }
        let settled = self.control.expectations().satisfied(key);
        let uid = owner.meta().uid.clone().unwrap_or_default();
        let mut candidates = self.pods.by_index(index::CONTROLLER_UID, &uid);
        candidates.extend(self.pods.by_index(ownership::ORPHANS, &key.namespace));
        candidates.retain(|pod| !pods::is_terminal(pod));
        let claimed = ownership::claim_all(&self.rest, &*owner, &owner.selector(), candidates).await?;
        let (terminating, active): (Vec<_>, Vec<_>) =
            claimed.into_iter().partition(|pod| pods::is_terminating(pod));
        let deleting = owner.meta().deletion_timestamp.is_some();
        let managed =
            if settled && !deleting { self.manage(key, &*owner, &active, related).await } else { Ok(()) };
        let now = self.clock.now();
        let observed = Observed {
            generation: owner.meta().generation,
            template: owner.template(),
            min_ready_seconds: owner.min_ready_seconds(),
            active: &active,
            terminating: K::COUNTS_TERMINATING.then_some(terminating.len()),
            failure: managed.as_ref().err().map(|(failure, _)| failure),
        };
        let old = owner.status();
        let status = plan::status(&old, &observed, now);
        if !plan::same_status(&old, &status) {
            self.writes.note(&self.rest.replace_status(&owner.with_status(status)).await?);
        }
        managed.map_err(|(_, error)| error)?;
        // Becoming available is not an event.
        let waits = active.iter().filter_map(|pod| pods::available_in(pod, owner.min_ready_seconds(), now));
        Ok(Action::after(
            waits.filter(|wait| !wait.is_zero()).min().map(|wait| wait + Duration::from_millis(10)),
        ))
    }

    async fn manage(
        &self,
        key: &ObjectKey,
        owner: &K,
        active: &[Arc<Pod>],
        related: impl Fn(&K) -> Vec<Arc<Pod>> + Send,
    ) -> Result<(), (Failure, ReconcileError)> {
        let related = if active.len() > usize::try_from(owner.replicas()).unwrap_or(0) {
            related(owner)
        } else {
            vec![]
        };
        match plan::plan(owner.replicas(), active, &related, self.clock.now()) {
            Plan::Nothing => Ok(()),
            Plan::Create(count) => self
                .create(key, owner, count)
                .await
                .map_err(|error| (Failure { reason: "FailedCreate", message: describe(&error) }, error)),
            Plan::Delete(surplus) => self
                .control
                .delete(owner, &surplus)
                .await
                .map_err(|error| (Failure { reason: "FailedDelete", message: describe(&error) }, error)),
        }
    }

    async fn create(&self, key: &ObjectKey, owner: &K, count: usize) -> Result<(), ReconcileError> {
        let Some(template) = owner.template() else { return Ok(()) };
        let prefix = format!("{}-", key.name);
        let prefix = if prefix.len() > LONGEST_PREFIX { key.name.clone() } else { prefix };
        let pod =
            pods::from_template(template, &key.namespace, &prefix, ownership::controller_reference(owner));
        self.control.create(owner, &vec![pod; count]).await
    }
}

fn add_possible_adopters<K: Replicas>(owners: &client::informer::Store<K>, pod: &Pod, keys: &Keys) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for owner in owners.list_namespace(namespace) {
        if owner.selector().matches(pod.metadata.labels.as_ref()) {
            keys.add(ObjectKey::of(&*owner));
        }
    }
}

fn describe(error: &ReconcileError) -> String {
    match error {
        ReconcileError::Api(error) => pod_control::describe(error),
        ReconcileError::Retry(text) => text.clone(),
    }
}
