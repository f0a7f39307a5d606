//! The part that ReplicaSets and ReplicationControllers share.

use std::{sync::Arc, time::Duration};

use client::{
    Event, EventRecorder, EventType, Expectations, Informer, ObjectKey, Rest, Selector,
    informer::index,
    rest::{self, DeleteOptions, Object},
};
use k8s_openapi::{
    api::{
        apps::v1::ReplicaSetStatus,
        core::v1::{ObjectReference, Pod, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::plan::{self, Failure, Observed, Plan};
use crate::{
    framework::{Action, Context, Keys, ReconcileError, Watches},
    ownership, pods,
};

/// First batch of creations; each batch that succeeds doubles the next. When a quota is exhausted, few requests
/// are wasted on finding out.
const FIRST_BATCH: usize = 1;
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
    recorder: EventRecorder,
    expectations: Arc<Expectations>,
    clock: Context,
}

impl<K: Replicas> Engine<K> {
    pub(crate) fn new(context: &Context, component: &str, owners: Informer<K>) -> Self {
        Self {
            rest: context.rest.clone(),
            owners,
            pods: context.pods(),
            recorder: context.recorder(component),
            expectations: Arc::default(),
            clock: context.clone(),
        }
    }

    pub(crate) fn watches(&self, watches: &mut Watches) {
        watches.primary(&self.owners);
        let expectations = self.expectations.clone();
        let owners = self.owners.store().clone();
        watches.mapped(&self.pods, move |event, keys| {
            observe::<K>(&expectations, event);
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
            self.expectations.forget(key);
            return Ok(Action::Done);
        };
        let settled = self.expectations.satisfied(key);
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
            self.rest.replace_status(&owner.with_status(status)).await?;
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
                .delete(key, owner, &surplus)
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
        self.expectations.expect_creations(key, count);
        let (mut left, mut batch) = (count, FIRST_BATCH);
        while left > 0 {
            let size = batch.min(left);
            let results = futures::future::join_all((0..size).map(|_| self.create_one(owner, &pod))).await;
            left -= size;
            batch = size * 2;
            let mut failure = None;
            for error in results.into_iter().filter_map(Result::err) {
                self.expectations.creation_observed(key);
                failure = Some(error);
            }
            if let Some(error) = failure {
                // What was not tried will not be seen either.
                (0..left).for_each(|_| self.expectations.creation_observed(key));
                // Nothing can be created in a namespace that goes away; that is no reason to try again.
                return if rest::is_namespace_terminating(&error) { Ok(()) } else { Err(error.into()) };
            }
        }
        Ok(())
    }

    async fn create_one(&self, owner: &K, pod: &Pod) -> Result<(), kube::Error> {
        match self.rest.create(pod).await {
            Ok(created) => {
                let name = created.metadata.name.unwrap_or_default();
                let message = format!("Created pod: {name}");
                self.recorder.event(&reference(owner), EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) => {
                if !rest::is_namespace_terminating(&error) {
                    let message = format!("Error creating: {}", describe_api(&error));
                    self.recorder.event(&reference(owner), EventType::Warning, "FailedCreate", message);
                }
                Err(error)
            }
        }
    }

    async fn delete(&self, key: &ObjectKey, owner: &K, surplus: &[Arc<Pod>]) -> Result<(), ReconcileError> {
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        self.expectations.expect_deletions(key, surplus.iter().map(|pod| uid(pod)));
        let deletions = surplus.iter().map(|pod| async {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let result = self.rest.delete::<Pod>(&ObjectKey::of(&**pod), &DeleteOptions::uid(uid(pod))).await;
            let result = match result {
                // Another pod has the name: ours is gone, which is what was wanted.
                Err(error) if rest::is_conflict(&error) => Ok(()),
                result => result,
            };
            match result {
                Ok(()) => {
                    let message = format!("Deleted pod: {name}");
                    self.recorder.event(&reference(owner), EventType::Normal, "SuccessfulDelete", message);
                    Ok(())
                }
                Err(error) => {
                    self.expectations.deletion_observed(key, &uid(pod));
                    let message = format!("Error deleting: {}", describe_api(&error));
                    self.recorder.event(&reference(owner), EventType::Warning, "FailedDelete", message);
                    Err(error)
                }
            }
        });
        let results = futures::future::join_all(deletions).await;
        results.into_iter().find_map(Result::err).map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Notes what the watch shows of expected creations and deletions.
fn observe<K: Replicas>(expectations: &Expectations, event: &Event<Pod>) {
    let meta = &event.object().metadata;
    let Some(key) = ownership::controller_key::<K>(meta) else { return };
    let uid = meta.uid.as_deref().unwrap_or_default();
    match event {
        Event::Applied(new, None) => {
            expectations.creation_observed(&key);
            if pods::is_terminating(new) {
                expectations.deletion_observed(&key, uid);
            }
        }
        Event::Applied(new, Some(_)) if pods::is_terminating(new) => {
            expectations.deletion_observed(&key, uid)
        }
        Event::Applied(..) => {}
        Event::Deleted(_) => expectations.deletion_observed(&key, uid),
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

fn reference<K: Replicas>(owner: &K) -> ObjectReference {
    let meta: &ObjectMeta = owner.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

fn describe(error: &ReconcileError) -> String {
    match error {
        ReconcileError::Api(error) => describe_api(error),
        ReconcileError::Retry(text) => text.clone(),
    }
}

fn describe_api(error: &kube::Error) -> String {
    rest::status(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}
