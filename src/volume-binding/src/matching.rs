//! The smallest volume that does.

use std::cmp::Reverse;

use apimachinery::quantity::Quantity;
use client::Selector;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::objects::{claim_class, is_bound_to, modes_differ, volume_class};

/// For whom a volume is looked for.
#[derive(Clone, Copy)]
pub enum Consumer<'a> {
    /// Anybody, anywhere.
    Anywhere,
    /// A pod that is not scheduled yet: only volumes that were reserved for the claim will do.
    Unscheduled,
    /// A pod on a node; says whether the node reaches a volume.
    On(&'a dyn Fn(&PersistentVolume) -> bool),
}

/// The volume that a claim gets: one that is reserved for it, or the smallest that fits, of those with the fewest
/// access modes besides the wanted ones.
pub fn find<'a>(
    claim: &PersistentVolumeClaim,
    volumes: impl Iterator<Item = &'a PersistentVolume>,
    consumer: Consumer<'_>,
) -> Option<&'a PersistentVolume> {
    let selector =
        claim.spec.as_ref().and_then(|spec| spec.selector.as_ref()).map(|one| Selector::new(Some(one)));
    let requested = requested(claim)?;
    let mut best: Option<(&PersistentVolume, _)> = None;
    for volume in volumes {
        let reserved = is_bound_to(volume, claim);
        let taken = volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_some());
        if (taken && !reserved)
            || volume.metadata.deletion_timestamp.is_some()
            || modes_differ(claim, volume)
            || capacity(volume).is_none_or(|capacity| capacity < requested)
            || attributes_differ(claim, volume)
        {
            continue;
        }
        let reached = match consumer {
            Consumer::On(reaches) => reaches(volume),
            Consumer::Anywhere | Consumer::Unscheduled => true,
        };
        if reserved {
            return reached.then_some(volume);
        }
        let available =
            volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Available");
        if matches!(consumer, Consumer::Unscheduled)
            || !reached
            || !available
            || selector.as_ref().is_some_and(|selector| !selector.matches(volume.metadata.labels.as_ref()))
            || volume_class(volume) != claim_class(claim)
            || !has_access_modes(claim, volume)
        {
            continue;
        }
        let rank = Reverse((access_modes(volume).len(), capacity(volume), volume.metadata.name.clone()));
        if best.as_ref().is_none_or(|(_, known)| rank > *known) {
            best = Some((volume, rank));
        }
    }
    best.map(|(volume, _)| volume)
}

/// Why a volume that a claim names will not do, in upstream's words.
pub fn mismatch(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<&'static str> {
    if requested(claim) > capacity(volume) {
        return Some("requested PV is too small");
    }
    if volume_class(volume) != claim_class(claim) {
        return Some("storageClassName does not match");
    }
    if attributes_differ(claim, volume) {
        return Some("volumeAttributesClassName does not match");
    }
    if modes_differ(claim, volume) {
        return Some("incompatible volumeMode");
    }
    (!has_access_modes(claim, volume)).then_some("incompatible accessMode")
}

fn quantity(text: Option<&Text>) -> Option<Quantity> {
    text?.0.parse().ok()
}

fn requested(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    quantity(claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage"))
}

fn capacity(volume: &PersistentVolume) -> Option<Quantity> {
    quantity(volume.spec.as_ref()?.capacity.as_ref()?.get("storage"))
}

fn access_modes(volume: &PersistentVolume) -> &[String] {
    volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default()
}

fn has_access_modes(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    wanted.iter().all(|mode| access_modes(volume).contains(mode))
}

/// KEP-3751: a claim gets volumes of its own attributes class only.
fn attributes_differ(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let class = |name: Option<&String>| name.map_or("", String::as_str).to_owned();
    class(claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_ref()))
        != class(volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(name: &str, size: &str, spec: Value) -> PersistentVolume {
        let mut all = json!({"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"]});
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        let object = json!({"metadata": {"name": name, "labels": {"name": name}}, "spec": all,
            "status": {"phase": "Available"}});
        serde_json::from_value(object).unwrap()
    }

    fn claim(spec: Value) -> PersistentVolumeClaim {
        let mut all =
            json!({"resources": {"requests": {"storage": "5Gi"}}, "accessModes": ["ReadWriteOnce"]});
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        let object = json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}, "spec": all});
        serde_json::from_value(object).unwrap()
    }

    fn found(claim: &PersistentVolumeClaim, volumes: &[PersistentVolume], consumer: Consumer<'_>) -> String {
        let found = find(claim, volumes.iter(), consumer);
        found.and_then(|volume| volume.metadata.name.clone()).unwrap_or_default()
    }

    #[test]
    fn the_smallest_that_fits_wins_and_a_reserved_one_before_it() {
        let volumes = [
            volume("small", "1Gi", json!({})),
            volume("huge", "50Gi", json!({})),
            volume("right", "6Gi", json!({})),
            volume("many", "5Gi", json!({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]})),
            volume("taken", "5Gi", json!({"claimRef": {"name": "x", "namespace": "n", "uid": "x"}})),
            volume("block", "5Gi", json!({"volumeMode": "Block"})),
            volume("classy", "5Gi", json!({"storageClassName": "fast"})),
            volume("gold", "5Gi", json!({"volumeAttributesClassName": "gold"})),
        ];
        let plain = claim(json!({}));
        assert_eq!(found(&plain, &volumes, Consumer::Anywhere), "right");
        assert_eq!(found(&plain, &volumes, Consumer::Unscheduled), "");
        assert_eq!(
            found(&plain, &volumes, Consumer::On(&|v| v.metadata.name.as_deref() != Some("right"))),
            "huge"
        );
        assert_eq!(
            found(&claim(json!({"storageClassName": "fast"})), &volumes, Consumer::Anywhere),
            "classy"
        );
        assert_eq!(found(&claim(json!({"volumeMode": "Block"})), &volumes, Consumer::Anywhere), "block");
        let labelled = claim(json!({"selector": {"matchLabels": {"name": "huge"}}}));
        assert_eq!(found(&labelled, &volumes, Consumer::Anywhere), "huge");
        let reading = claim(json!({"accessModes": ["ReadOnlyMany"]}));
        assert_eq!(found(&reading, &volumes, Consumer::Anywhere), "many");

        let mut reserved = volumes.to_vec();
        reserved.push(volume("mine", "90Gi", json!({"claimRef": {"name": "c", "namespace": "n"}})));
        for consumer in [Consumer::Anywhere, Consumer::Unscheduled] {
            assert_eq!(found(&plain, &reserved, consumer), "mine");
        }
        assert_eq!(found(&plain, &reserved, Consumer::On(&|_| false)), "");
    }

    #[test]
    fn a_volume_that_is_not_available_is_nobodys() {
        let mut released = volume("v", "5Gi", json!({}));
        released.status = serde_json::from_value(json!({"phase": "Released"})).unwrap();
        assert_eq!(found(&claim(json!({})), &[released], Consumer::Anywhere), "");
    }

    #[test]
    fn what_is_wrong_with_a_named_volume_is_told() {
        let told = |spec: Value| mismatch(&claim(json!({})), &volume("v", "5Gi", spec));
        assert_eq!(told(json!({})), None);
        assert_eq!(told(json!({"capacity": {"storage": "1Gi"}})), Some("requested PV is too small"));
        assert_eq!(told(json!({"storageClassName": "x"})), Some("storageClassName does not match"));
        assert_eq!(told(json!({"accessModes": ["ReadOnlyMany"]})), Some("incompatible accessMode"));
    }
}
