//! The rim: caches, writes, events.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{Event, EventRecorder, Informer, ObjectKey, OwnWrites, Rest, rest};
use k8s_openapi::{
    api::{
        core::v1::{
            PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus, PersistentVolumeStatus, Pod,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use volume_binding::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER, PROVISIONER_BETA, annotation, bind_volume, claim_class,
    is_fully_bound, set_annotation,
};

use super::{
    claim::{self, Facts, Notice},
    volume::{self, Reclaim},
};
use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    pods, volume_protection,
};

const NAME: &str = "persistentvolume-controller";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// Index of claims that are not bound, by class.
const UNBOUND: &str = "unbound-class";
/// Index of claims by the volume that they name.
const BY_VOLUME: &str = "volume";
/// Index of volumes by the claim that they refer to.
const BY_REFERENCE: &str = "claim-reference";
/// A volume that was just written is not in the cache yet: its event does not bring a claim back that only might get it.
const CATCH_UP: Duration = Duration::from_millis(50);

/// Binds; keys are claims, and volumes (without namespace).
pub struct PersistentVolumeBinder {
    context: Context,
    rest: Rest,
    recorder: EventRecorder,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
    own_claims: OwnWrites,
    own_volumes: OwnWrites,
}

impl PersistentVolumeBinder {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        let claims = context.informers.get::<PersistentVolumeClaim>();
        claims.add_index(UNBOUND, |claim| match is_fully_bound(claim) {
            true => Vec::new(),
            false => vec![claim_class(claim).to_owned()],
        });
        claims.add_index(BY_VOLUME, |claim| {
            claim.spec.iter().filter_map(|spec| spec.volume_name.clone()).collect()
        });
        let volumes = context.informers.get::<PersistentVolume>();
        volumes.add_index(BY_REFERENCE, |volume| claim_key(volume).iter().map(ToString::to_string).collect());
        Self {
            rest: context.rest.clone(),
            recorder: context.recorder(NAME),
            claims,
            volumes,
            classes: context.informers.get(),
            pods: volume_protection::pods_by_claim(context),
            own_claims: OwnWrites::new(),
            own_volumes: OwnWrites::new(),
            context: context.clone(),
        }
    }

    async fn claim(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(claim) = self.claims.get(key) else {
            self.own_claims.forget(key);
            return Ok(Action::Done);
        };
        if self.own_claims.is_behind(&*claim) {
            return Ok(Action::Done);
        }
        if self.set_default_class(&claim).await? {
            return Ok(Action::Done);
        }
        let volumes = self.volumes.list();
        if volumes.iter().any(|volume| self.own_volumes.is_behind(&**volume)) {
            return Ok(Action::RequeueAfter(CATCH_UP));
        }
        let class = self.classes.find("", claim_class(&claim));
        let waiting: Vec<String> = self
            .pods
            .by_index(volume_protection::BY_CLAIM, &key.to_string())
            .iter()
            .filter(|pod| pods::node_name(pod).is_empty() && !pods::is_terminal(pod))
            .filter_map(|pod| pod.metadata.name.clone())
            .collect();
        let facts = Facts { volumes: &volumes, class: class.as_deref(), waiting_pods: &waiting };
        match claim::plan(&claim, &facts) {
            claim::Plan::Bind(volume) => self.bind(&volume, &claim).await?,
            claim::Plan::Wait(notice) => {
                self.tell(&*claim, notice.as_ref());
                self.claim_status(&claim, "Pending", None).await?;
            }
            claim::Plan::Provision(provisioner) => self.provision(&claim, &provisioner).await?,
            claim::Plan::Lost(notice) => {
                if phase_of_claim(&claim) != "Lost" {
                    self.tell(&*claim, Some(&notice));
                }
                self.claim_status(&claim, "Lost", None).await?;
            }
            claim::Plan::Broken(why) => return Err(ReconcileError::Retry(why)),
        }
        Ok(Action::Done)
    }

    /// Gives a claim that was made before there was a default class that class (KEP-3333). Answers whether it did.
    async fn set_default_class(&self, claim: &PersistentVolumeClaim) -> Result<bool, ReconcileError> {
        if is_fully_bound(claim) || !names_no_class(claim) {
            return Ok(false);
        }
        let Some(class) = default_class(&self.classes.list()) else { return Ok(false) };
        let mut changed = claim.clone();
        changed.spec.get_or_insert_default().storage_class_name = Some(class);
        let written = self.rest.replace(&changed).await?;
        self.own_claims.note(&written);
        Ok(true)
    }

    /// Makes each name the other, step by step; what fails is found half done and finished the next time.
    async fn bind(
        &self,
        volume: &PersistentVolume,
        claim: &PersistentVolumeClaim,
    ) -> Result<(), ReconcileError> {
        let volume = match bind_volume(volume, claim) {
            Some(changed) => {
                let written = self.rest.replace(&changed).await?;
                self.own_volumes.note(&written);
                written
            }
            None => volume.clone(),
        };
        let volume = self.volume_phase(&volume, "Bound", "").await?;
        let mut changed = claim.clone();
        let name = volume.metadata.name.clone();
        if changed.spec.as_ref().is_none_or(|spec| spec.volume_name != name) {
            changed.spec.get_or_insert_default().volume_name = name;
            set_annotation(&mut changed.metadata, BOUND_BY_CONTROLLER, "yes");
        }
        if annotation(&changed.metadata, BIND_COMPLETED).is_none() {
            set_annotation(&mut changed.metadata, BIND_COMPLETED, "yes");
        }
        if changed != *claim {
            changed = self.rest.replace(&changed).await?;
            self.own_claims.note(&changed);
        }
        self.claim_status(&changed, "Bound", Some(&volume)).await
    }

    /// Asks who makes volumes of the class for one.
    async fn provision(
        &self,
        claim: &PersistentVolumeClaim,
        provisioner: &str,
    ) -> Result<(), ReconcileError> {
        let mut changed = claim.clone();
        for key in [PROVISIONER, PROVISIONER_BETA] {
            if annotation(&changed.metadata, key) != Some(provisioner) {
                set_annotation(&mut changed.metadata, key, provisioner);
            }
        }
        if changed != *claim {
            let written = self.rest.replace(&changed).await?;
            self.own_claims.note(&written);
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by \
             the system administrator. If volume creation is delayed, please verify that the provisioner is running \
             and correctly registered."
        );
        self.tell(claim, Notice::normal("ExternalProvisioning", message).as_ref());
        Ok(())
    }

    async fn claim_status(
        &self,
        claim: &PersistentVolumeClaim,
        phase: &str,
        volume: Option<&PersistentVolume>,
    ) -> Result<(), ReconcileError> {
        let before = claim.status.clone().unwrap_or_default();
        let after = status_of_claim(&before, phase, volume);
        if after != before {
            let mut changed = claim.clone();
            changed.status = Some(after);
            let written = self.rest.replace_status(&changed).await?;
            self.own_claims.note(&written);
        }
        Ok(())
    }

    async fn volume(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(volume) = self.volumes.get(key) else {
            self.own_volumes.forget(key);
            return Ok(Action::Done);
        };
        if self.own_volumes.is_behind(&*volume) {
            return Ok(Action::Done);
        }
        let claim = self.claim_of(&volume).await?;
        match volume::plan(&volume, claim.as_deref()) {
            volume::Plan::Phase(phase) => drop(self.volume_phase(&volume, phase, "").await?),
            volume::Plan::LookAtClaim(notice) => {
                self.tell(&*volume, notice.as_ref());
                if let Some(key) = claim_key(&volume) {
                    return self.claim(&key).await;
                }
            }
            volume::Plan::Unbind => {
                let written = self.rest.replace(&volume::unbound(&volume)).await?;
                self.own_volumes.note(&written);
                self.volume_phase(&written, "Available", "").await?;
            }
            volume::Plan::Release(reclaim) => self.release(&volume, &reclaim).await?,
        }
        Ok(Action::Done)
    }

    /// The claim that a volume is bound to. One that has gone is believed to have only when the server says so.
    async fn claim_of(
        &self,
        volume: &PersistentVolume,
    ) -> Result<Option<Arc<PersistentVolumeClaim>>, ReconcileError> {
        let Some(key) = claim_key(volume) else { return Ok(None) };
        let uid = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.clone());
        let is_it = |claim: &PersistentVolumeClaim| claim.metadata.uid == uid;
        if let Some(claim) = self.claims.get(&key).filter(|claim| is_it(claim)) {
            return Ok(Some(claim));
        }
        if uid.is_none() || matches!(phase_of_volume(volume), "Released" | "Failed") {
            return Ok(None);
        }
        let fresh = self.rest.get::<PersistentVolumeClaim>(&key).await?;
        Ok(fresh.filter(is_it).map(Arc::new))
    }

    async fn release(&self, volume: &PersistentVolume, reclaim: &Reclaim) -> Result<(), ReconcileError> {
        match reclaim {
            // Where something went wrong people shall see it.
            Reclaim::Leave if phase_of_volume(volume) == "Failed" => {}
            Reclaim::Leave => drop(self.volume_phase(volume, "Released", "").await?),
            Reclaim::Fail(notice) => {
                if phase_of_volume(volume) != "Failed" {
                    self.tell(volume, Some(notice));
                }
                self.volume_phase(volume, "Failed", &notice.message).await?;
            }
        }
        Ok(())
    }

    async fn volume_phase(
        &self,
        volume: &PersistentVolume,
        phase: &str,
        message: &str,
    ) -> Result<PersistentVolume, ReconcileError> {
        let before = volume.status.clone().unwrap_or_default();
        let message = Some(message.to_owned()).filter(|message| !message.is_empty());
        if before.phase.as_deref() == Some(phase) && before.message == message {
            return Ok(volume.clone());
        }
        let since = match before.phase.as_deref() == Some(phase) {
            true => before.last_phase_transition_time.clone(),
            false => Some(Time(self.context.now())),
        };
        let mut changed = volume.clone();
        changed.status = Some(PersistentVolumeStatus {
            phase: Some(phase.to_owned()),
            message,
            last_phase_transition_time: since,
            ..before
        });
        let written = self.rest.replace_status(&changed).await?;
        self.own_volumes.note(&written);
        Ok(written)
    }

    fn tell<K: rest::Object>(&self, object: &K, notice: Option<&Notice>) {
        if let Some(notice) = notice {
            self.recorder.about(object, notice.kind, notice.reason, notice.message.as_str());
        }
    }
}

/// Whether a claim leaves the class to others; an empty name asks for none.
fn names_no_class(claim: &PersistentVolumeClaim) -> bool {
    claim_class(claim).is_empty() && claim.spec.as_ref().is_none_or(|spec| spec.storage_class_name.is_none())
}

fn is_default(class: &StorageClass) -> bool {
    annotation(&class.metadata, DEFAULT_CLASS) == Some("true")
}

/// The newest of the default classes, of several the first by name.
fn default_class(classes: &[Arc<StorageClass>]) -> Option<String> {
    let created = |class: &StorageClass| class.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let defaults = classes.iter().filter(|class| is_default(class));
    let newest = defaults.min_by_key(|class| (Reverse(created(class)), class.metadata.name.clone()));
    newest.and_then(|class| class.metadata.name.clone())
}

/// The status of a claim with or without a volume.
fn status_of_claim(
    before: &PersistentVolumeClaimStatus,
    phase: &str,
    volume: Option<&PersistentVolume>,
) -> PersistentVolumeClaimStatus {
    let was_bound = before.phase.as_deref() == Some("Bound");
    let mut status = PersistentVolumeClaimStatus { phase: Some(phase.to_owned()), ..before.clone() };
    let Some(spec) = volume.and_then(|volume| volume.spec.as_ref()) else {
        (status.access_modes, status.capacity) = (None, None);
        return status;
    };
    status.access_modes.clone_from(&spec.access_modes);
    // From then on whoever resizes the volume says what it has.
    if !was_bound || status.capacity.is_none() {
        status.capacity.clone_from(&spec.capacity);
    }
    if !was_bound {
        status.current_volume_attributes_class_name.clone_from(&spec.volume_attributes_class_name);
    }
    status
}

fn phase_of_claim(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("")
}

fn phase_of_volume(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("")
}

/// The claim that a volume refers to.
fn claim_key(volume: &PersistentVolume) -> Option<ObjectKey> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(ObjectKey::new(reference.namespace.clone()?, reference.name.clone()?))
}

#[async_trait]
impl Controller for PersistentVolumeBinder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        let volumes = self.volumes.clone();
        watches.mapped(&self.claims, move |event, keys| {
            let claim = event.object();
            let key = ObjectKey::of(&**claim);
            for volume in volumes.by_index(BY_REFERENCE, &key.to_string()) {
                keys.add(ObjectKey::of(&*volume));
            }
            if matches!(event, Event::Applied(..)) {
                keys.add(key);
            }
        });
        let claims = self.claims.clone();
        watches.mapped(&self.volumes, move |event, keys| {
            let volume = event.object();
            let name = volume.metadata.name.clone().unwrap_or_default();
            let mut concerned = claims.by_index(BY_VOLUME, &name);
            match event {
                Event::Applied(..) => {
                    keys.add(ObjectKey::cluster(name));
                    match claim_key(volume) {
                        Some(key) => keys.add(key),
                        None => {
                            concerned.extend(claims.by_index(UNBOUND, volume_binding::volume_class(volume)))
                        }
                    }
                }
                Event::Deleted(_) => concerned.extend(claim_key(volume).and_then(|key| claims.get(&key))),
            }
            concerned.iter().for_each(|claim| keys.add(ObjectKey::of(&**claim)));
        });
        let claims = self.claims.clone();
        watches.mapped(&self.classes, move |event, keys| {
            let name = event.object().metadata.name.clone().unwrap_or_default();
            let mut concerned = claims.by_index(UNBOUND, &name);
            if is_default(event.object()) {
                concerned.extend(claims.by_index(UNBOUND, ""));
            }
            concerned.iter().for_each(|claim| keys.add(ObjectKey::of(&**claim)));
        });
        watches.reads(&self.pods);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        if key.namespace.is_empty() { self.volume(key).await } else { self.claim(key).await }
    }

    /// One: two claims must not find the same volume.
    fn workers(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_has_what_its_volume_has_until_somebody_resizes_it() {
        let volume: PersistentVolume = serde_json::from_value(json!({"metadata": {}, "spec": {
            "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"]}}))
        .unwrap();
        let size = |status: &PersistentVolumeClaimStatus| {
            status.capacity.as_ref().and_then(|capacity| capacity.get("storage")).map(|size| size.0.clone())
        };
        let bound = status_of_claim(&PersistentVolumeClaimStatus::default(), "Bound", Some(&volume));
        assert_eq!(size(&bound).as_deref(), Some("10Gi"));
        let mut resized = volume;
        resized
            .spec
            .as_mut()
            .unwrap()
            .capacity
            .as_mut()
            .unwrap()
            .insert("storage".into(), k8s_openapi::apimachinery::pkg::api::resource::Quantity("20Gi".into()));
        assert_eq!(size(&status_of_claim(&bound, "Bound", Some(&resized))).as_deref(), Some("10Gi"));
        let lost = status_of_claim(&bound, "Lost", None);
        assert_eq!((size(&lost), lost.access_modes), (None, None));
    }
}
