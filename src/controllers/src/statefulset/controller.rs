//! Watching stateful sets and pods; writing pods, claims and revisions.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{Event, Informer, ObjectKey, OwnWrites, Rest, Selector, informer::index};
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec},
};

use super::{
    claims, identity,
    plan::{self, Observed, Plan},
};
use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    history, ownership,
    pod_control::PodControl,
    pods,
};

const NAME: &str = "statefulset-controller";

/// The controller; keys are StatefulSets.
pub struct StatefulSetController {
    context: Context,
    rest: Rest,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    revisions: Informer<ControllerRevision>,
    control: PodControl,
    writes: OwnWrites,
}

/// The two revisions of an update.
struct Revisions {
    current: Arc<ControllerRevision>,
    update: Arc<ControllerRevision>,
}

impl StatefulSetController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            sets: context.informers.get(),
            pods: context.pods(),
            claims: context.informers.get(),
            revisions: context.controller_revisions(),
            control: PodControl::new(context.rest.clone(), context.recorder(NAME)),
            writes: OwnWrites::new(),
        }
    }

    async fn revisions(&self, set: &StatefulSet) -> Result<Revisions, ReconcileError> {
        let existing = self.known_revisions(set);
        let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
        let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let data = history::data(&template)?;
        let Some(update) = history::synchronise(&self.rest, set, &existing, data, labels, collisions).await?
        else {
            let mut next = set.clone();
            let count = &mut next.status.get_or_insert_default().collision_count;
            *count = Some(count.unwrap_or(0).saturating_add(1));
            self.writes.note(&self.rest.replace_status(&next).await?);
            return Err(ReconcileError::Retry(
                "the hash of the pod template collides with another one's".into(),
            ));
        };
        let name = set.status.as_ref().and_then(|status| status.current_revision.as_ref());
        let current = existing.into_iter().find(|revision| revision.metadata.name.as_ref() == name);
        // A set without history has what it has now.
        Ok(Revisions { current: current.unwrap_or_else(|| update.clone()), update })
    }

    fn known_revisions(&self, set: &StatefulSet) -> Vec<Arc<ControllerRevision>> {
        self.revisions.by_index(index::CONTROLLER_UID, set.metadata.uid.as_deref().unwrap_or_default())
    }

    async fn apply(
        &self,
        set: &StatefulSet,
        revisions: &Revisions,
        plan: Plan,
    ) -> Result<(), ReconcileError> {
        let mut created = Vec::new();
        for (ordinal, updated) in plan.create {
            claims::create(&self.rest, &self.claims, set, ordinal).await?;
            let revision = if updated { &revisions.update } else { &revisions.current };
            let template = template_of(revision)?;
            created.push(identity::pod(set, ordinal, &template, name_of(revision)));
        }
        let create = self.control.create(set, &created).await;
        self.control.delete(set, &plan.delete).await.and(create)
    }
}

fn name_of(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

fn template_of(revision: &ControllerRevision) -> Result<PodTemplateSpec, ReconcileError> {
    let data = revision.data.as_ref().map(|data| &data.0);
    let template = data.and_then(|data| data.get("spec")).and_then(|spec| spec.get("template"));
    let text = template.map(ToString::to_string).unwrap_or_else(|| "{}".to_owned());
    Ok(serde_json::from_str(&text).map_err(kube::Error::SerdeError)?)
}

#[async_trait]
impl Controller for StatefulSetController {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.sets);
        watches.reads(&self.claims);
        watches.owned::<_, StatefulSet>(&self.revisions);
        let sets = self.sets.store().clone();
        let control = self.control.clone();
        watches.mapped(&self.pods, move |event, keys| {
            control.observe::<StatefulSet>(event);
            for state in event.states() {
                if let Some(key) = ownership::controller_key::<StatefulSet>(&state.metadata) {
                    keys.add(key);
                } else if matches!(event, Event::Applied(..))
                    && ownership::controller_of(&state.metadata).is_none()
                {
                    for set in sets.list_namespace(state.metadata.namespace.as_deref().unwrap_or_default()) {
                        if identity::ordinal(&set, state).is_some() {
                            keys.add(ObjectKey::of(&*set));
                        }
                    }
                }
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(set) = self.sets.get(key) else {
            self.control.expectations().forget(key);
            self.writes.forget(key);
            return Ok(Action::Done);
        };
        if self.writes.is_behind(&*set) {
            return Ok(Action::Done);
        }
        let selector = Selector::new(set.spec.as_ref().map(|spec| &spec.selector));
        if selector.is_empty() || set.metadata.deletion_timestamp.is_some() {
            return Ok(Action::Done);
        }
        let settled = self.control.expectations().satisfied(key);
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let mut candidates = self.pods.by_index(index::CONTROLLER_UID, uid);
        let orphans = self.pods.by_index(ownership::ORPHANS, &key.namespace);
        candidates.extend(orphans.into_iter().filter(|pod| identity::ordinal(&set, pod).is_some()));
        let pods = ownership::claim_all(&self.rest, &*set, &selector, candidates).await?;
        let revisions = self.revisions(&set).await?;
        let observed = Observed {
            set: &set,
            pods: &pods,
            current: name_of(&revisions.current),
            update: name_of(&revisions.update),
            now: self.context.now(),
        };
        let managed = if settled {
            claims::adjust_owners(&self.rest, &self.claims, &set, &pods).await?;
            self.apply(&set, &revisions, plan::plan(&observed)).await
        } else {
            Ok(())
        };
        let status = plan::status(&observed);
        let current = status.current_revision.clone();
        if !set.status.as_ref().is_some_and(|old| plan::same_status(old, &status)) {
            let next = StatefulSet { status: Some(status), ..(*set).clone() };
            self.writes.note(&self.rest.replace_status(&next).await?);
        }
        managed?;
        let in_use = |revision: &ControllerRevision| {
            let name = name_of(revision);
            name == observed.update
                || Some(name) == current.as_deref()
                || name == observed.current
                || pods.iter().any(|pod| identity::revision_of(pod) == name)
        };
        let limit = set.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
        history::truncate(&self.rest, &self.known_revisions(&set), in_use, limit).await?;
        let waits =
            pods.iter().filter_map(|pod| pods::available_in(pod, observed.min_ready_seconds(), observed.now));
        let next = waits.filter(|wait| !wait.is_zero()).min().map(|wait| wait + Duration::from_millis(10));
        Ok(Action::after(next))
    }
}
