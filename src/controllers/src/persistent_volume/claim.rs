//! What is to be done about a claim: pure.

use std::sync::Arc;

use client::EventType;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use volume_binding::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, Consumer, NO_PROVISIONER, SELECTED_NODE, annotation, claim_class,
    find, is_bound_to, is_delayed, mismatch,
};

/// Something that people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) kind: EventType,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Notice {
    pub(super) fn normal(reason: &'static str, message: impl Into<String>) -> Option<Self> {
        Some(Self { kind: EventType::Normal, reason, message: message.into() })
    }

    pub(super) fn warning(reason: &'static str, message: impl Into<String>) -> Option<Self> {
        Some(Self { kind: EventType::Warning, reason, message: message.into() })
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plan {
    /// Bind it to this volume, or finish that.
    Bind(Arc<PersistentVolume>),
    /// It has to wait.
    Wait(Option<Notice>),
    /// This provisioner is to make a volume.
    Provision(String),
    /// It has lost its volume.
    Lost(Notice),
    /// Nothing can be done.
    Broken(String),
}

/// What a plan is made from.
pub(super) struct Facts<'a> {
    /// All volumes.
    pub(super) volumes: &'a [Arc<PersistentVolume>],
    /// The claim's class, if it exists.
    pub(super) class: Option<&'a StorageClass>,
    /// Names of pods that use the claim and have no node yet.
    pub(super) waiting_pods: &'a [String],
}

pub(super) fn plan(claim: &PersistentVolumeClaim, facts: &Facts<'_>) -> Plan {
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or("");
    let named =
        facts.volumes.iter().find(|volume| !name.is_empty() && volume.metadata.name.as_deref() == Some(name));
    if annotation(&claim.metadata, BIND_COMPLETED).is_some() {
        return bound(claim, name, named);
    }
    if name.is_empty() { unbound(claim, facts) } else { wants(claim, name, named) }
}

fn bound(claim: &PersistentVolumeClaim, name: &str, volume: Option<&Arc<PersistentVolume>>) -> Plan {
    let lost = |reason, message: &str| {
        Plan::Lost(Notice { kind: EventType::Warning, reason, message: message.to_owned() })
    };
    if name.is_empty() {
        let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lost("ClaimLost", message);
    }
    let Some(volume) = volume else {
        return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    if reference.is_none_or(|reference| reference.uid == claim.metadata.uid) || is_bound_to(volume, claim) {
        return Plan::Bind(Arc::clone(volume));
    }
    lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}

/// The claim names a volume.
fn wants(claim: &PersistentVolumeClaim, name: &str, volume: Option<&Arc<PersistentVolume>>) -> Plan {
    let Some(volume) = volume else { return Plan::Wait(None) };
    if volume.spec.as_ref().is_none_or(|spec| spec.claim_ref.is_none()) {
        if let Some(why) = mismatch(claim, volume) {
            let message = format!("Cannot bind to requested volume \"{name}\": {why}");
            return Plan::Wait(Notice::warning("VolumeMismatch", message));
        }
        return Plan::Bind(Arc::clone(volume));
    }
    if is_bound_to(volume, claim) {
        return Plan::Bind(Arc::clone(volume));
    }
    if annotation(&claim.metadata, BOUND_BY_CONTROLLER).is_some() {
        return Plan::Broken(format!("volume {name} is already claimed by another claim"));
    }
    let message = format!("volume \"{name}\" already bound to a different claim.");
    Plan::Wait(Notice::warning("FailedBinding", message))
}

fn unbound(claim: &PersistentVolumeClaim, facts: &Facts<'_>) -> Plan {
    let delayed = is_delayed(facts.class);
    let consumer = if delayed { Consumer::Unscheduled } else { Consumer::Anywhere };
    let found = find(claim, facts.volumes.iter().map(Arc::as_ref), consumer);
    let found =
        found.and_then(|found| facts.volumes.iter().find(|one| one.metadata.name == found.metadata.name));
    if let Some(volume) = found {
        return Plan::Bind(Arc::clone(volume));
    }
    if delayed && annotation(&claim.metadata, SELECTED_NODE).is_none() {
        return Plan::Wait(match facts.waiting_pods {
            [] => Notice::normal(
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding",
            ),
            [one] => Notice::normal("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
            many => Notice::normal(
                "WaitForPodScheduled",
                format!("waiting for pods {} to be scheduled", many.join(",")),
            ),
        });
    }
    let class = claim_class(claim);
    if class.is_empty() {
        return Plan::Wait(Notice::normal(
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        ));
    }
    match facts.class {
        None => Plan::Wait(Notice::warning(
            "ProvisioningFailed",
            format!("storageclass.storage.k8s.io \"{class}\" not found"),
        )),
        Some(class) if class.provisioner == NO_PROVISIONER => Plan::Wait(Notice::warning(
            "ProvisioningFailed",
            format!("no volume plugin matched name: {NO_PROVISIONER}"),
        )),
        Some(class) => Plan::Provision(class.provisioner.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn volume(name: &str, spec: Value) -> Arc<PersistentVolume> {
        let mut all = json!({"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"]});
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        let object = json!({"metadata": {"name": name}, "spec": all, "status": {"phase": "Available"}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn claim(annotations: Value, spec: Value) -> PersistentVolumeClaim {
        let mut all =
            json!({"resources": {"requests": {"storage": "5Gi"}}, "accessModes": ["ReadWriteOnce"]});
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        let metadata = json!({"name": "c", "namespace": "n", "uid": "u", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "spec": all})).unwrap()
    }

    fn reason(plan: &Plan) -> &'static str {
        match plan {
            Plan::Bind(_) => "bind",
            Plan::Wait(notice) => notice.as_ref().map_or("wait", |notice| notice.reason),
            Plan::Provision(_) => "provision",
            Plan::Lost(notice) => notice.reason,
            Plan::Broken(_) => "broken",
        }
    }

    fn decided(
        claim: &PersistentVolumeClaim,
        volumes: &[Arc<PersistentVolume>],
        class: Value,
    ) -> &'static str {
        let class: Option<StorageClass> = serde_json::from_value(class).unwrap();
        reason(&plan(claim, &Facts { volumes, class: class.as_ref(), waiting_pods: &[] }))
    }

    #[test]
    fn a_new_claim_takes_waits_or_has_a_volume_made() {
        let immediate = json!({"provisioner": "example.com/disk", "volumeBindingMode": "Immediate"});
        let delayed = json!({"provisioner": "example.com/disk", "volumeBindingMode": "WaitForFirstConsumer"});
        let by_hand = json!({"provisioner": NO_PROVISIONER});
        let free = [volume("v", json!({"storageClassName": "s"}))];
        let of_class = claim(json!({}), json!({"storageClassName": "s"}));
        assert_eq!(decided(&of_class, &free, immediate.clone()), "bind");
        assert_eq!(decided(&of_class, &[], immediate), "provision");
        assert_eq!(decided(&of_class, &[], by_hand), "ProvisioningFailed");
        assert_eq!(decided(&of_class, &[], Value::Null), "ProvisioningFailed");
        assert_eq!(decided(&of_class, &free, delayed.clone()), "WaitForFirstConsumer");
        let selected = claim(json!({SELECTED_NODE: "n1"}), json!({"storageClassName": "s"}));
        assert_eq!(decided(&selected, &free, delayed), "provision");
        assert_eq!(decided(&claim(json!({}), json!({})), &[], Value::Null), "FailedBinding");
    }

    #[test]
    fn a_claim_gets_the_volume_that_it_names_or_none() {
        let wishes = claim(json!({}), json!({"volumeName": "v"}));
        let with = |spec: Value| decided(&wishes, &[volume("v", spec)], Value::Null);
        assert_eq!(decided(&wishes, &[], Value::Null), "wait");
        assert_eq!(with(json!({})), "bind");
        assert_eq!(with(json!({"storageClassName": "s"})), "VolumeMismatch");
        assert_eq!(with(json!({"claimRef": {"name": "c", "namespace": "n"}})), "bind");
        assert_eq!(with(json!({"claimRef": {"name": "x", "namespace": "n", "uid": "x"}})), "FailedBinding");
    }

    #[test]
    fn a_bound_claim_that_loses_its_volume_says_so() {
        let done = json!({BIND_COMPLETED: "yes"});
        let bound = claim(done.clone(), json!({"volumeName": "v"}));
        let with = |spec: Value| decided(&bound, &[volume("v", spec)], Value::Null);
        assert_eq!(with(json!({"claimRef": {"name": "c", "namespace": "n", "uid": "u"}})), "bind");
        assert_eq!(with(json!({})), "bind");
        assert_eq!(with(json!({"claimRef": {"name": "x", "namespace": "n", "uid": "x"}})), "ClaimMisbound");
        assert_eq!(decided(&bound, &[], Value::Null), "ClaimLost");
        assert_eq!(decided(&claim(done, json!({})), &[], Value::Null), "ClaimLost");
    }
}
