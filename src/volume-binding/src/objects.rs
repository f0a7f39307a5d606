//! Reading and binding claims and volumes.

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{BIND_COMPLETED, BOUND_BY_CONTROLLER};

const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";

/// An annotation's value.
pub fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Sets an annotation.
pub fn set_annotation(metadata: &mut ObjectMeta, key: &str, value: &str) {
    metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
}

/// Names of the claims that a pod uses, and whether they are for generic ephemeral volumes (KEP-1698).
pub fn pod_claims(pod: &Pod) -> impl Iterator<Item = (String, bool)> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(move |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some((source.claim_name.clone(), false)),
        (None, Some(_)) => Some((format!("{name}-{}", volume.name), true)),
        (None, None) => None,
    })
}

/// The class that a claim wants; empty for none.
pub fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    annotation(&claim.metadata, CLASS_BETA)
        .or_else(|| claim.spec.as_ref()?.storage_class_name.as_deref())
        .unwrap_or("")
}

/// The class that a volume is of; empty for none.
pub fn volume_class(volume: &PersistentVolume) -> &str {
    annotation(&volume.metadata, CLASS_BETA)
        .or_else(|| volume.spec.as_ref()?.storage_class_name.as_deref())
        .unwrap_or("")
}

/// Whether claims of a class wait for a pod to be scheduled.
pub fn is_delayed(class: Option<&StorageClass>) -> bool {
    class.and_then(|class| class.volume_binding_mode.as_deref()) == Some("WaitForFirstConsumer")
}

/// Whether the binder has finished with a claim.
pub fn is_fully_bound(claim: &PersistentVolumeClaim) -> bool {
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or("");
    !named.is_empty() && annotation(&claim.metadata, BIND_COMPLETED).is_some()
}

/// Whether a volume is reserved for this claim or bound to it; not for an earlier one of the same name.
pub fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(reference) = claim_ref(volume) else { return false };
    let uid = reference.uid.as_deref().unwrap_or("");
    reference.name == claim.metadata.name
        && reference.namespace == claim.metadata.namespace
        && (uid.is_empty() || claim.metadata.uid.as_deref() == Some(uid))
}

/// Whether somebody reserved a volume for this claim by name, before it was bound.
pub fn is_prebound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    is_bound_to(volume, claim)
        && claim_ref(volume).is_some_and(|reference| reference.uid.as_deref().unwrap_or("").is_empty())
}

fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// Whether one is a block device and the other a file system.
pub fn modes_differ(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let mode = |mode: Option<&String>| mode.map_or("Filesystem", String::as_str).to_owned();
    mode(claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()))
        != mode(volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()))
}

/// The volume with its reference to the claim; `None` when it has it.
pub fn bind_volume(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let bound = is_bound_to(volume, claim);
    if bound && !is_prebound_to(volume, claim) {
        return None;
    }
    let mut volume = volume.clone();
    if !bound {
        set_annotation(&mut volume.metadata, BOUND_BY_CONTROLLER, "yes");
    }
    volume.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        field_path: None,
    });
    Some(volume)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim() -> PersistentVolumeClaim {
        serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}})).unwrap()
    }

    fn volume(reference: Value) -> PersistentVolume {
        serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": {"claimRef": reference}})).unwrap()
    }

    #[test]
    fn a_reference_without_uid_reserves_and_one_with_another_uid_does_not() {
        let claim = claim();
        let reserved = volume(json!({"name": "c", "namespace": "n"}));
        assert!(is_bound_to(&reserved, &claim) && is_prebound_to(&reserved, &claim));
        assert!(!is_bound_to(&volume(json!({"name": "c", "namespace": "n", "uid": "earlier"})), &claim));
        assert!(!is_bound_to(&volume(json!({"name": "c", "namespace": "other"})), &claim));
        assert!(!is_bound_to(&volume(Value::Null), &claim));
    }

    #[test]
    fn binding_is_marked_unless_a_person_did_it() {
        let claim = claim();
        let bound = bind_volume(&volume(Value::Null), &claim).unwrap();
        assert_eq!(annotation(&bound.metadata, BOUND_BY_CONTROLLER), Some("yes"));
        assert_eq!(bind_volume(&bound, &claim), None);
        let reserved = bind_volume(&volume(json!({"name": "c", "namespace": "n"})), &claim).unwrap();
        assert_eq!(annotation(&reserved.metadata, BOUND_BY_CONTROLLER), None);
        assert_eq!(reserved.spec.unwrap().claim_ref.unwrap().uid.as_deref(), Some("u"));
    }
}
