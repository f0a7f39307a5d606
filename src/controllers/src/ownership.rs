//! Owner references: who controls what, adopting orphans and releasing what no longer matches.

use std::sync::Arc;

use client::{
    ObjectKey, Rest, Selector,
    rest::{self, Object, Patch},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde_json::json;

use crate::framework::ReconcileError;

/// Name of the index of objects without a controller; the value is their namespace.
pub const ORPHANS: &str = "orphans";

/// The owner reference with `controller: true`.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether the object with this uid controls the one with this metadata.
pub fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// For an index: the uid of the controller.
pub fn controller_uid(meta: &ObjectMeta) -> Vec<String> {
    controller_of(meta).map(|owner| owner.uid.clone()).into_iter().collect()
}

/// For an index: the namespace, if there is no controller.
pub fn orphan_namespace(meta: &ObjectMeta) -> Vec<String> {
    match controller_of(meta) {
        Some(_) => Vec::new(),
        None => meta.namespace.clone().into_iter().collect(),
    }
}

/// The key of the controller, if that is of kind `O`.
pub fn controller_key<O: Resource<DynamicType = ()>>(meta: &ObjectMeta) -> Option<ObjectKey> {
    let owner = controller_of(meta)?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let matches = owner.kind == O::kind(&()) && group == O::group(&());
    matches.then(|| ObjectKey::new(meta.namespace.clone().unwrap_or_default(), owner.name.clone()))
}

/// A reference that makes `owner` the controller, and blocks its foreground deletion.
pub fn controller_reference<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What a controller does about an object that might be its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Keep,
    Adopt,
    Release,
    Ignore,
}

fn claim(object: &ObjectMeta, owner: &ObjectMeta, selector: &Selector) -> Claim {
    let matches = selector.matches(object.labels.as_ref());
    let owner_deleting = owner.deletion_timestamp.is_some();
    match controller_of(object) {
        Some(reference) if Some(&reference.uid) != owner.uid.as_ref() => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        // What is left of an owner that goes away is the garbage collector's.
        Some(_) if owner_deleting => Claim::Ignore,
        Some(_) => Claim::Release,
        None if matches && !owner_deleting && object.deletion_timestamp.is_none() => Claim::Adopt,
        None => Claim::Ignore,
    }
}

/// Adopts and releases so that `owner` controls exactly what its selector selects; returns that.
///
/// # Errors
/// When an adoption or release fails for another reason than the object being gone.
pub async fn claim_all<O: Object, K: Object>(
    rest: &Rest,
    owner: &O,
    selector: &Selector,
    candidates: Vec<Arc<K>>,
) -> Result<Vec<Arc<K>>, ReconcileError> {
    let mut claimed = Vec::new();
    let mut may_adopt = None;
    for object in candidates {
        match claim(object.meta(), owner.meta(), selector) {
            Claim::Keep => claimed.push(object),
            Claim::Ignore => {}
            Claim::Release => {
                let others =
                    references_without(object.meta(), owner.meta().uid.as_deref().unwrap_or_default());
                set_references(rest, &*object, &others).await?;
            }
            Claim::Adopt => {
                // The cache may be behind: an owner that is being deleted must adopt nothing.
                let allowed = match may_adopt {
                    Some(allowed) => allowed,
                    None => still_alive(rest, owner).await?,
                };
                may_adopt = Some(allowed);
                if !allowed {
                    continue;
                }
                let mut references = object.meta().owner_references.clone().unwrap_or_default();
                references.push(controller_reference(owner));
                if let Some(adopted) = set_references(rest, &*object, &references).await? {
                    claimed.push(Arc::new(adopted));
                }
            }
        }
    }
    Ok(claimed)
}

async fn still_alive<O: Object>(rest: &Rest, owner: &O) -> Result<bool, ReconcileError> {
    let fresh = rest.get::<O>(&ObjectKey::of(owner)).await?;
    Ok(fresh.is_some_and(|fresh| {
        fresh.meta().uid == owner.meta().uid && fresh.meta().deletion_timestamp.is_none()
    }))
}

fn references_without(meta: &ObjectMeta, uid: &str) -> Vec<OwnerReference> {
    meta.owner_references.iter().flatten().filter(|reference| reference.uid != uid).cloned().collect()
}

/// Writes the owner references; `None` when the object is gone or replaced.
async fn set_references<K: Object>(
    rest: &Rest,
    object: &K,
    references: &[OwnerReference],
) -> Result<Option<K>, ReconcileError> {
    let meta = object.meta();
    let patch = Patch::Merge(json!({"metadata": {
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
        "ownerReferences": references,
    }}));
    match rest.patch::<K>(&ObjectKey::of(object), "", &patch).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if rest::is_not_found(&error) || rest::is_invalid(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::apps::v1::ReplicaSet, apimachinery::pkg::apis::meta::v1::Time};

    use super::*;

    fn meta(uid: &str, controller: Option<&str>, label: &str) -> ObjectMeta {
        let owner = ReplicaSet {
            metadata: ObjectMeta {
                uid: controller.map(str::to_owned),
                name: Some("rs".into()),
                ..ObjectMeta::default()
            },
            ..ReplicaSet::default()
        };
        ObjectMeta {
            uid: Some(uid.into()),
            namespace: Some("ns".into()),
            labels: Some([("app".to_owned(), label.to_owned())].into()),
            owner_references: controller.map(|_| vec![controller_reference(&owner)]),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn claims_follow_the_selector_and_never_take_from_others() {
        let owner = meta("o", None, "x");
        let selector = Selector::exactly(Some(&[("app".to_owned(), "web".to_owned())].into()));
        for (controller, label, expected) in [
            (Some("o"), "web", Claim::Keep),
            (Some("o"), "other", Claim::Release),
            (Some("stranger"), "web", Claim::Ignore),
            (None, "web", Claim::Adopt),
            (None, "other", Claim::Ignore),
        ] {
            assert_eq!(
                claim(&meta("p", controller, label), &owner, &selector),
                expected,
                "{controller:?} {label}"
            );
        }
    }

    #[test]
    fn an_owner_being_deleted_neither_adopts_nor_releases() {
        let mut owner = meta("o", None, "x");
        owner.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        let selector = Selector::everything();
        assert_eq!(claim(&meta("p", None, "web"), &owner, &selector), Claim::Ignore);
        assert_eq!(claim(&meta("p", Some("o"), "web"), &owner, &Selector::nothing()), Claim::Ignore);
    }

    #[test]
    fn the_controller_key_needs_kind_and_group() {
        let meta = meta("p", Some("o"), "web");
        assert_eq!(controller_key::<ReplicaSet>(&meta), Some(ObjectKey::new("ns", "rs")));
        assert_eq!(controller_key::<k8s_openapi::api::apps::v1::DaemonSet>(&meta), None);
    }
}
