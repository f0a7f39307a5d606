//! The claims of a set's pods: creating them, and who takes them along when it goes (KEP-1847).

use std::sync::Arc;

use client::{
    Informer, ObjectKey, Rest,
    rest::{self, Patch},
};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::Resource;
use serde_json::json;

use super::identity;
use crate::framework::ReconcileError;

/// Creates the missing claims of the pod with this ordinal.
///
/// # Errors
/// When a claim cannot be created, or is being deleted: a pod must not start with it.
pub(super) async fn create(
    rest: &Rest,
    known: &Informer<PersistentVolumeClaim>,
    set: &StatefulSet,
    ordinal: i32,
) -> Result<(), ReconcileError> {
    for claim in identity::claims(set, ordinal) {
        let key = ObjectKey::of(&claim);
        if let Some(found) = known.get(&key) {
            if found.metadata.deletion_timestamp.is_some() {
                return Err(ReconcileError::Retry(format!("claim {key} is being deleted")));
            }
            continue;
        }
        match rest.create(&claim).await {
            Err(error) if rest::is_already_exists(&error) => {}
            result => drop(result?),
        }
    }
    Ok(())
}

/// Gives each claim the owner that takes it along: the set, the pod, or nobody.
///
/// # Errors
/// When a write fails.
pub(super) async fn adjust_owners(
    rest: &Rest,
    known: &Informer<PersistentVolumeClaim>,
    set: &StatefulSet,
    pods: &[Arc<Pod>],
) -> Result<(), ReconcileError> {
    let (start, replicas) = identity::range(set);
    for pod in pods {
        let Some(ordinal) = identity::ordinal(set, pod) else { continue };
        let condemned = !(start..start.saturating_add(replicas)).contains(&ordinal);
        for claim in identity::claims(set, ordinal) {
            let Some(found) = known.get(&ObjectKey::of(&claim)) else { continue };
            let Some(owners) = owners(set, pod, condemned, &found) else { continue };
            let patch = Patch::Merge(json!({"metadata": {
                "resourceVersion": found.metadata.resource_version,
                "ownerReferences": owners,
            }}));
            match rest.patch::<PersistentVolumeClaim>(&ObjectKey::of(&*found), "", &patch).await {
                Err(error) if rest::is_not_found(&error) => {}
                result => drop(result?),
            }
        }
    }
    Ok(())
}

/// The owners that a claim should have, unless it has them.
fn owners(
    set: &StatefulSet,
    pod: &Pod,
    condemned: bool,
    claim: &PersistentVolumeClaim,
) -> Option<Vec<OwnerReference>> {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    let deletes = |value: Option<&String>| value.is_some_and(|value| value == "Delete");
    let with_set = deletes(policy.and_then(|policy| policy.when_deleted.as_ref()));
    let with_pod = condemned && deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
    let before = claim.metadata.owner_references.clone().unwrap_or_default();
    let is_ours = |owner: &OwnerReference| {
        Some(&owner.uid) == set.metadata.uid.as_ref() || Some(&owner.uid) == pod.metadata.uid.as_ref()
    };
    let wanted = if with_pod {
        pod.owner_ref(&())
    } else if with_set {
        set.owner_ref(&())
    } else {
        None
    };
    let same = |a: &OwnerReference, b: &OwnerReference| a.uid == b.uid;
    let ours: Vec<&OwnerReference> = before.iter().filter(|owner| is_ours(owner)).collect();
    let settled = match (&wanted, ours.as_slice()) {
        (None, []) => true,
        (Some(wanted), [only]) => same(wanted, only),
        _ => false,
    };
    if settled {
        return None;
    }
    Some(before.iter().filter(|owner| !is_ours(owner)).cloned().chain(wanted).collect())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::apps::v1::{StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec},
        apimachinery::pkg::apis::meta::v1::ObjectMeta,
    };

    use super::*;

    #[test]
    fn claims_go_with_the_set_or_with_the_pod_as_the_policy_says() {
        let meta = |name: &str| ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(format!("uid-{name}")),
            ..ObjectMeta::default()
        };
        let set = |deleted: &str, scaled: &str| StatefulSet {
            metadata: meta("db"),
            spec: Some(StatefulSetSpec {
                persistent_volume_claim_retention_policy: Some(
                    StatefulSetPersistentVolumeClaimRetentionPolicy {
                        when_deleted: Some(deleted.into()),
                        when_scaled: Some(scaled.into()),
                    },
                ),
                ..StatefulSetSpec::default()
            }),
            ..StatefulSet::default()
        };
        let pod = Pod { metadata: meta("db-0"), ..Pod::default() };
        let mut claim = PersistentVolumeClaim::default();
        let uids = |owners: Option<Vec<OwnerReference>>| {
            owners.map(|owners| owners.into_iter().map(|owner| owner.uid).collect::<Vec<_>>())
        };
        assert_eq!(uids(owners(&set("Retain", "Delete"), &pod, false, &claim)), None);
        assert_eq!(uids(owners(&set("Retain", "Delete"), &pod, true, &claim)), Some(vec!["uid-db-0".into()]));
        let with_set = owners(&set("Delete", "Retain"), &pod, false, &claim);
        assert_eq!(uids(with_set.clone()), Some(vec!["uid-db".into()]));
        claim.metadata.owner_references = with_set;
        assert_eq!(uids(owners(&set("Delete", "Retain"), &pod, false, &claim)), None);
        assert_eq!(uids(owners(&set("Retain", "Retain"), &pod, false, &claim)), Some(vec![]));
    }
}
