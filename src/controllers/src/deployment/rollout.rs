//! The replica sets of one deployment while a sync works on them. Nothing is written here.

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentCondition, ReplicaSet, ReplicaSetSpec, ReplicaSetStatus},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{annotations, status};
use crate::{ownership, percent, revision};

/// A replica set as it shall become.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) object: ReplicaSet,
    /// What it was; `None` when it is to be created.
    pub(super) before: Option<ReplicaSet>,
}

impl Set {
    pub(super) fn replicas(&self) -> i32 {
        self.object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    pub(super) fn status(&self) -> ReplicaSetStatus {
        self.object.status.clone().unwrap_or_default()
    }

    pub(super) fn available(&self) -> i32 {
        self.status().available_replicas.unwrap_or(0)
    }

    pub(super) fn created(&self) -> Option<Timestamp> {
        self.object.metadata.creation_timestamp.as_ref().map(|time| time.0)
    }

    pub(super) fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn replicas_before(&self) -> i32 {
        let before = self.before.as_ref().and_then(|before| before.spec.as_ref());
        before.map_or(0, |spec| spec.replicas.unwrap_or(1))
    }
}

/// The state of one sync.
pub(super) struct Rollout<'a> {
    pub(super) deployment: &'a Deployment,
    /// Oldest first.
    pub(super) sets: Vec<Set>,
    /// Which of them has the current template.
    pub(super) new: Option<usize>,
    /// Conditions as they have become so far.
    pub(super) conditions: Vec<DeploymentCondition>,
    /// The revision that the deployment shall have.
    pub(super) revision: Option<String>,
    /// Replica sets beyond the history limit.
    pub(super) delete: Vec<ReplicaSet>,
    pub(super) now: Timestamp,
}

impl<'a> Rollout<'a> {
    pub(super) fn new(deployment: &'a Deployment, sets: Vec<ReplicaSet>, now: Timestamp) -> Self {
        let mut sets: Vec<Set> =
            sets.into_iter().map(|object| Set { before: Some(object.clone()), object }).collect();
        sets.sort_by(|a, b| (a.created(), a.name()).cmp(&(b.created(), b.name())));
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        let new = template.and_then(|template| {
            // Of several with the same template the oldest counts, so that the choice is stable.
            sets.iter().position(|set| annotations::same_template(&set.object, template))
        });
        let conditions =
            deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        Self { deployment, sets, new, conditions, revision: None, delete: Vec::new(), now }
    }

    /// Replicas that the deployment wants.
    pub(super) fn wanted(&self) -> i32 {
        self.deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    pub(super) fn is_recreate(&self) -> bool {
        let strategy = self.deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
        strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
    }

    fn fenceposts(&self) -> (i32, i32) {
        let strategy = self.deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        percent::resolve_fenceposts(surge, unavailable, self.wanted())
    }

    /// Pods that may exist beyond the wanted number.
    pub(super) fn max_surge(&self) -> i32 {
        if self.is_recreate() { 0 } else { self.fenceposts().0 }
    }

    /// Pods that may be missing from the wanted number.
    pub(super) fn max_unavailable(&self) -> i32 {
        if self.is_recreate() || self.wanted() == 0 { 0 } else { self.fenceposts().1.min(self.wanted()) }
    }

    pub(super) fn new_set(&self) -> Option<&Set> {
        self.sets.get(self.new?)
    }

    /// Indexes of all sets but the new one.
    pub(super) fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|index| Some(*index) != self.new).collect()
    }

    fn active(&self, indexes: Vec<usize>) -> Vec<usize> {
        indexes.into_iter().filter(|index| self.get(*index).is_some_and(|set| set.replicas() > 0)).collect()
    }

    pub(super) fn active_old(&self) -> Vec<usize> {
        self.active(self.old())
    }

    pub(super) fn get(&self, index: usize) -> Option<&Set> {
        self.sets.get(index)
    }

    pub(super) fn total_replicas(&self) -> i32 {
        self.sets.iter().map(Set::replicas).sum()
    }

    /// Gives the new set its revision, or makes one if `create`; returns whether one was made.
    pub(super) fn synchronise_revision(&mut self, create: bool) -> bool {
        let last = self.old().into_iter().filter_map(|index| self.get(index));
        let next = last.map(|set| annotations::revision(&set.object.metadata)).max().unwrap_or(0) + 1;
        let deployment = self.deployment;
        let Some(new) = self.new.and_then(|index| self.sets.get_mut(index)) else {
            return create && self.create_new_set(next);
        };
        annotations::synchronise(deployment, &mut new.object, next);
        if let Some(spec) = new.object.spec.as_mut() {
            let min_ready = deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
            if spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
                spec.min_ready_seconds = min_ready;
            }
        }
        let name = new.name().to_owned();
        self.revision =
            annotations::annotation(&new.object.metadata, annotations::REVISION).map(str::to_owned);
        let unknown = status::find(&self.conditions, status::PROGRESSING).is_none();
        if unknown && status::deadline(deployment).is_some() {
            let message = format!("Found new replica set \"{name}\"");
            status::set(
                &mut self.conditions,
                status::progressing("True", "FoundNewReplicaSet", message, self.now),
            );
        }
        false
    }

    fn create_new_set(&mut self, revision_number: i64) -> bool {
        let Some(spec) = self.deployment.spec.as_ref() else { return false };
        let collisions = self.deployment.status.as_ref().and_then(|status| status.collision_count);
        let hash = revision::template_hash(&spec.template, collisions);
        let meta = &self.deployment.metadata;
        let name = format!("{}-{hash}", meta.name.as_deref().unwrap_or_default());
        let mut template: PodTemplateSpec = spec.template.clone();
        let template_meta = template.metadata.get_or_insert_default();
        template_meta.labels.get_or_insert_default().insert(annotations::TEMPLATE_HASH.into(), hash.clone());
        let mut selector = spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(annotations::TEMPLATE_HASH.into(), hash);
        let mut object = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: meta.namespace.clone(),
                labels: template.metadata.as_ref().and_then(|meta| meta.labels.clone()),
                owner_references: Some(vec![ownership::controller_reference(self.deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        };
        annotations::synchronise(self.deployment, &mut object, revision_number);
        self.revision = Some(revision_number.to_string());
        self.sets.push(Set { object, before: None });
        let index = self.sets.len() - 1;
        self.new = Some(index);
        let replicas = self.next_size_of_new();
        self.scale(index, replicas);
        if status::deadline(self.deployment).is_some() {
            let message = format!("Created new replica set \"{name}\"");
            status::set(
                &mut self.conditions,
                status::progressing("True", "NewReplicaSetCreated", message, self.now),
            );
        }
        true
    }

    /// The size that the new set may have now.
    pub(super) fn next_size_of_new(&self) -> i32 {
        let current = self.new_set().map_or(0, Set::replicas);
        if self.is_recreate() {
            return self.wanted();
        }
        let room = self.wanted() + self.max_surge() - self.total_replicas();
        if room <= 0 { current } else { current + room.min(self.wanted() - current) }
    }

    /// Sets the size of a replica set and what it remembers of the deployment; returns whether the size changed.
    pub(super) fn scale(&mut self, index: usize, replicas: i32) -> bool {
        let (wanted, surge) = (self.wanted(), self.max_surge());
        let Some(set) = self.sets.get_mut(index) else { return false };
        let changed = set.replicas() != replicas;
        annotations::remember_replicas(&mut set.object, wanted, wanted + surge);
        set.object.spec.get_or_insert_default().replicas = Some(replicas);
        changed
    }

    /// Notes for deletion the oldest revisions beyond the history limit that are scaled down completely.
    pub(super) fn clean_up(&mut self) {
        // The API's default.
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
        let Ok(limit) = usize::try_from(limit) else { return };
        let old = self.old().into_iter().filter_map(|index| self.get(index));
        let mut candidates: Vec<&Set> =
            old.filter(|set| set.object.metadata.deletion_timestamp.is_none()).collect();
        let surplus = candidates.len().saturating_sub(limit);
        candidates.sort_by_key(|set| (annotations::revision(&set.object.metadata), set.created()));
        let idle = |set: &&Set| {
            let status = set.status();
            let observed =
                status.observed_generation.unwrap_or(0) >= set.object.metadata.generation.unwrap_or(0);
            status.replicas == 0 && set.replicas() == 0 && observed
        };
        self.delete =
            candidates.into_iter().take(surplus).filter(idle).map(|set| set.object.clone()).collect();
    }
}
