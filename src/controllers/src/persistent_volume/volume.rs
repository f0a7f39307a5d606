//! What is to be done about a volume: pure.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use volume_binding::{BOUND_BY_CONTROLLER, PROVISIONED_BY, annotation, modes_differ};

use super::claim::Notice;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plan {
    /// Its phase is to be this.
    Phase(&'static str),
    /// Its claim is not bound to it yet; that is the claim's business.
    LookAtClaim(Option<Notice>),
    /// Its claim is bound elsewhere: take the reference away.
    Unbind,
    /// Its claim has gone; what is told of it as its new phase, if it is not told yet.
    Release(Reclaim),
}

/// What becomes of a released volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reclaim {
    /// It stays, or whoever made it deletes it.
    Leave,
    /// Nobody can do what it asks for.
    Fail(Notice),
}

/// `claim` is the claim that the volume's reference names, with the uid that it names.
pub(super) fn plan(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Plan {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    if reference.is_none_or(|reference| reference.uid.as_deref().unwrap_or("").is_empty()) {
        return Plan::Phase("Available");
    }
    let Some(claim) = claim else { return Plan::Release(reclaim(volume)) };
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or("");
    if named.is_empty() {
        let notice = modes_differ(claim, volume).then(|| {
            Notice::warning(
                "VolumeMismatch",
                "Cannot bind PersistentVolume to requested PersistentVolumeClaim due to incompatible volumeMode.",
            )
        });
        return Plan::LookAtClaim(notice.flatten());
    }
    if volume.metadata.name.as_deref() == Some(named) {
        return Plan::Phase("Bound");
    }
    let deletes = policy(volume) == "Delete";
    if deletes && annotation(&volume.metadata, PROVISIONED_BY).is_some() {
        // Made for this claim, which has another one: nobody needs it.
        return Plan::Release(reclaim(volume));
    }
    Plan::Unbind
}

fn policy(volume: &PersistentVolume) -> &str {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy.unwrap_or("Retain")
}

fn reclaim(volume: &PersistentVolume) -> Reclaim {
    let name = volume.metadata.name.as_deref().unwrap_or("");
    let outside = annotation(&volume.metadata, PROVISIONED_BY).is_some()
        || volume.spec.as_ref().is_some_and(|spec| spec.csi.is_some());
    let notice = match policy(volume) {
        "Delete" if !outside => Notice::warning(
            "VolumeFailedDelete",
            format!(
                "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
            ),
        ),
        "Recycle" => Notice::warning("VolumeFailedRecycle", "No recycler plugin found for the volume!"),
        _ => None,
    };
    notice.map_or(Reclaim::Leave, Reclaim::Fail)
}

/// The volume without its reference; one that a person set stays reserved for the claim's name.
pub(super) fn unbound(volume: &PersistentVolume) -> PersistentVolume {
    let mut volume = volume.clone();
    let ours = annotation(&volume.metadata, BOUND_BY_CONTROLLER).is_some();
    if let Some(spec) = volume.spec.as_mut() {
        if ours {
            spec.claim_ref = None;
        } else if let Some(reference) = spec.claim_ref.as_mut() {
            reference.uid = None;
            reference.resource_version = None;
        }
    }
    if let Some(annotations) = volume.metadata.annotations.as_mut() {
        annotations.remove(BOUND_BY_CONTROLLER);
    }
    volume
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(annotations: Value, spec: Value) -> PersistentVolume {
        let metadata = json!({"name": "v", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn claim(volume_name: &str) -> PersistentVolumeClaim {
        let metadata = json!({"name": "c", "namespace": "n", "uid": "u"});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"volumeName": volume_name}})).unwrap()
    }

    fn reference() -> Value {
        json!({"name": "c", "namespace": "n", "uid": "u"})
    }

    #[test]
    fn phases_follow_the_claim() {
        let bound = volume(json!({}), json!({"claimRef": reference()}));
        assert_eq!(plan(&volume(json!({}), json!({})), None), Plan::Phase("Available"));
        let reserved = volume(json!({}), json!({"claimRef": {"name": "c", "namespace": "n"}}));
        assert_eq!(plan(&reserved, None), Plan::Phase("Available"));
        assert_eq!(plan(&bound, Some(&claim("v"))), Plan::Phase("Bound"));
        assert_eq!(plan(&bound, Some(&claim(""))), Plan::LookAtClaim(None));
        assert_eq!(plan(&bound, Some(&claim("other"))), Plan::Unbind);
        assert_eq!(plan(&bound, None), Plan::Release(Reclaim::Leave));
    }

    #[test]
    fn only_who_made_a_volume_deletes_it() {
        let released = |annotations: Value, mut spec: Value| {
            spec["claimRef"] = reference();
            plan(&volume(annotations, spec), None)
        };
        let deleted = json!({"persistentVolumeReclaimPolicy": "Delete"});
        assert_eq!(
            released(json!({PROVISIONED_BY: "example.com/disk"}), deleted.clone()),
            Plan::Release(Reclaim::Leave)
        );
        let Plan::Release(Reclaim::Fail(notice)) = released(json!({}), deleted) else { panic!("it is left") };
        assert_eq!(notice.reason, "VolumeFailedDelete");
        let recycled = released(json!({}), json!({"persistentVolumeReclaimPolicy": "Recycle"}));
        let Plan::Release(Reclaim::Fail(notice)) = recycled else { panic!("it is left") };
        assert_eq!(notice.message, "No recycler plugin found for the volume!");
    }

    #[test]
    fn a_reservation_by_hand_survives_unbinding() {
        let by_hand = unbound(&volume(json!({}), json!({"claimRef": reference()})));
        let kept = by_hand.spec.unwrap().claim_ref.unwrap();
        assert_eq!((kept.name.as_deref(), kept.uid), (Some("c"), None));
        let ours = unbound(&volume(json!({BOUND_BY_CONTROLLER: "yes"}), json!({"claimRef": reference()})));
        assert_eq!(ours.spec.unwrap().claim_ref, None);
        assert_eq!(annotation(&ours.metadata, BOUND_BY_CONTROLLER), None);
    }
}
