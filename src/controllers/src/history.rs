//! History of pod templates as ControllerRevisions, for DaemonSets and StatefulSets.
//!
//! `kubectl rollout history` and `undo` read them: `data` is a patch that brings the template back.

use std::{collections::BTreeMap, sync::Arc};

use client::{
    ObjectKey, Rest,
    rest::{self, DeleteOptions, Object},
};
use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use serde_json::{Value, json};

use crate::{framework::ReconcileError, ownership, revision};

/// Label with the hash of the revision's content; on pods, it says which revision made them.
pub const HASH: &str = "controller-revision-hash";

/// What a template becomes in a revision.
///
/// # Errors
/// When the template cannot be expressed in JSON.
pub fn data(template: &PodTemplateSpec) -> Result<Value, ReconcileError> {
    let mut template = rest::to_value(template)?;
    if let Some(fields) = template.as_object_mut() {
        // Fields that the older template did not have must go when it comes back.
        fields.insert("$patch".into(), json!("replace"));
    }
    Ok(json!({"spec": {"template": template}}))
}

/// What to do about the revision of the current template.
#[derive(Debug, PartialEq)]
enum Step {
    /// It is the latest.
    Keep(Arc<ControllerRevision>),
    /// An older one is current again: it becomes the latest.
    Renumber(ControllerRevision),
    /// It is new.
    Create(ControllerRevision),
}

/// Sees to it that the current template has the latest revision, and returns that.
///
/// `labels` are those of the template. `None` means that another owner's revision has the name: the caller must
/// raise its collision count.
///
/// # Errors
/// When a write fails.
pub async fn synchronise<O: Object>(
    rest: &Rest,
    owner: &O,
    existing: &[Arc<ControllerRevision>],
    data: Value,
    labels: BTreeMap<String, String>,
    collisions: Option<i32>,
) -> Result<Option<Arc<ControllerRevision>>, ReconcileError> {
    match plan(owner, existing, data, labels, collisions) {
        Step::Keep(revision) => Ok(Some(revision)),
        Step::Renumber(revision) => Ok(Some(Arc::new(rest.replace(&revision).await?))),
        Step::Create(revision) => match rest.create(&revision).await {
            Ok(created) => Ok(Some(Arc::new(created))),
            Err(error) if rest::is_already_exists(&error) => {
                let found = rest.get::<ControllerRevision>(&ObjectKey::of(&revision)).await?;
                Ok(found.filter(|found| found.data == revision.data).map(Arc::new))
            }
            Err(error) => Err(error.into()),
        },
    }
}

fn plan<O: Object>(
    owner: &O,
    existing: &[Arc<ControllerRevision>],
    data: Value,
    mut labels: BTreeMap<String, String>,
    collisions: Option<i32>,
) -> Step {
    let latest = existing.iter().map(|revision| revision.revision).max().unwrap_or(0);
    let data = Some(RawExtension(data));
    let mut same: Vec<&Arc<ControllerRevision>> =
        existing.iter().filter(|revision| revision.data == data).collect();
    same.sort_by_key(|revision| revision.revision);
    if let Some(found) = same.pop() {
        if found.revision == latest {
            return Step::Keep(found.clone());
        }
        let mut renumbered = (**found).clone();
        renumbered.revision = latest + 1;
        return Step::Renumber(renumbered);
    }
    let hash = revision::content_hash(&data, collisions);
    let meta = owner.meta();
    labels.insert(HASH.to_owned(), hash.clone());
    Step::Create(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", meta.name.as_deref().unwrap_or_default())),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations.clone().map(|mut annotations| {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
                annotations
            }),
            owner_references: Some(vec![ownership::controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        data,
        revision: latest + 1,
    })
}

/// The hash of a revision, as its pods have it.
pub fn hash(revision: &ControllerRevision) -> &str {
    let labels = revision.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(HASH)).map(String::as_str).unwrap_or_default()
}

/// Deletes the oldest revisions beyond the limit that nothing uses.
///
/// # Errors
/// When a deletion fails.
pub async fn truncate(
    rest: &Rest,
    existing: &[Arc<ControllerRevision>],
    in_use: impl Fn(&ControllerRevision) -> bool + Send,
    limit: i32,
) -> Result<(), ReconcileError> {
    for revision in surplus(existing, in_use, limit) {
        let uid = revision.metadata.uid.clone().unwrap_or_default();
        rest.delete::<ControllerRevision>(&ObjectKey::of(&*revision), &DeleteOptions::uid(uid)).await?;
    }
    Ok(())
}

fn surplus(
    existing: &[Arc<ControllerRevision>],
    in_use: impl Fn(&ControllerRevision) -> bool,
    limit: i32,
) -> Vec<Arc<ControllerRevision>> {
    let mut unused: Vec<_> = existing.iter().filter(|revision| !in_use(revision)).cloned().collect();
    unused.sort_by_key(|revision| revision.revision);
    unused.truncate(unused.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX)));
    unused
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::DaemonSet;

    use super::*;

    fn revision(number: i64, content: &str) -> Arc<ControllerRevision> {
        Arc::new(ControllerRevision {
            data: Some(RawExtension(json!(content))),
            revision: number,
            ..ControllerRevision::default()
        })
    }

    #[test]
    fn a_template_seen_before_becomes_the_latest_revision_again() {
        let existing = [revision(1, "a"), revision(2, "b")];
        let step =
            |content: &str| plan(&DaemonSet::default(), &existing, json!(content), BTreeMap::new(), None);
        assert_eq!(step("b"), Step::Keep(existing[1].clone()));
        assert!(matches!(step("a"), Step::Renumber(renumbered) if renumbered.revision == 3));
        assert!(
            matches!(step("c"), Step::Create(created) if created.revision == 3 && !hash(&created).is_empty())
        );
    }

    #[test]
    fn the_oldest_unused_revisions_go() {
        let existing: Vec<_> = (1..=5).map(|number| revision(number, &number.to_string())).collect();
        let gone = surplus(&existing, |revision| matches!(revision.revision, 1 | 5), 2);
        assert_eq!(gone.iter().map(|revision| revision.revision).collect::<Vec<_>>(), [2]);
    }
}
