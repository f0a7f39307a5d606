//! Keeps claims that pods use, and volumes that claims use, from vanishing under them.
//!
//! Upstream counterparts: `persistentvolumeclaim-protection-controller` and `persistentvolume-protection-controller`
//! (storage object in use protection). Both put a finalizer on what they protect, and take it away from what is
//! being deleted and no longer used.

use std::sync::Arc;

use async_trait::async_trait;
use client::{
    Event, Informer, ObjectKey, Rest,
    rest::{self, Object, Patch},
};
use k8s_openapi::{
    api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::json;
use volume_binding::pod_claims;

use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    pods,
};

const CLAIM_NAME: &str = "persistentvolumeclaim-protection-controller";
const VOLUME_NAME: &str = "persistentvolume-protection-controller";
const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
/// Name of the index of pods by the claims that they mount; the value is `namespace/name`.
pub(crate) const BY_CLAIM: &str = "claim";

/// All pods, indexed by the claims that they mount.
pub(crate) fn pods_by_claim(context: &Context) -> Informer<Pod> {
    let pods = context.pods();
    pods.add_index(BY_CLAIM, |pod| claims_of(pod).iter().map(ToString::to_string).collect());
    pods
}

/// The finalizers that an object should have, unless it has them.
fn finalizers(meta: &ObjectMeta, finalizer: &str, in_use: bool) -> Option<Vec<String>> {
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    let protected = finalizers.iter().any(|known| known == finalizer);
    match (meta.deletion_timestamp.is_some(), protected) {
        (false, false) => finalizers.push(finalizer.to_owned()),
        (true, true) if !in_use => finalizers.retain(|known| known != finalizer),
        _ => return None,
    }
    Some(finalizers)
}

async fn write<K: Object>(rest: &Rest, object: &K, finalizers: Vec<String>) -> Result<(), ReconcileError> {
    let meta = object.meta();
    let patch = Patch::Merge(json!({"metadata": {
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
        "finalizers": finalizers,
    }}));
    match rest.patch::<K>(&ObjectKey::of(object), "", &patch).await {
        Err(error) if rest::is_not_found(&error) => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

/// Protects claims; keys are PersistentVolumeClaims.
pub struct ClaimProtection {
    rest: Rest,
    claims: Informer<PersistentVolumeClaim>,
    pods: Informer<Pod>,
}

impl ClaimProtection {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { rest: context.rest.clone(), claims: context.informers.get(), pods: pods_by_claim(context) }
    }

    /// Whether a pod that may run mounts the claim. Asks the API server: a pod may be newer than the cache.
    async fn is_in_use(&self, key: &ObjectKey) -> Result<bool, ReconcileError> {
        let uses = |pod: &Pod| uses_volumes(pod) && claims_of(pod).contains(key);
        if self.pods.by_index(BY_CLAIM, &key.to_string()).iter().any(|pod| uses(pod)) {
            return Ok(true);
        }
        let fresh = self.rest.list::<Pod>(&key.namespace, "").await?;
        Ok(fresh.iter().any(uses))
    }
}

/// Whether a pod may be using its volumes. One that has ended is, until its node has let go of it.
fn uses_volumes(pod: &Pod) -> bool {
    !pods::node_name(pod).is_empty() && !pods::is_terminal(pod)
}

fn claims_of(pod: &Pod) -> Vec<ObjectKey> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    pod_claims(pod).map(|(claim, _)| ObjectKey::new(namespace, claim)).collect()
}

#[async_trait]
impl Controller for ClaimProtection {
    fn name(&self) -> &'static str {
        CLAIM_NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.claims);
        watches.mapped(&self.pods, |event, keys| {
            if matches!(event, Event::Deleted(_)) || pods::is_terminal(event.object()) {
                claims_of(event.object()).into_iter().for_each(|key| keys.add(key));
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(claim) = self.claims.get(key) else { return Ok(Action::Done) };
        let deleting = claim.metadata.deletion_timestamp.is_some();
        let in_use = deleting && self.is_in_use(key).await?;
        if let Some(finalizers) = finalizers(&claim.metadata, CLAIM_FINALIZER, in_use) {
            write(&self.rest, &*claim, finalizers).await?;
        }
        Ok(Action::Done)
    }
}

/// Protects volumes; keys are PersistentVolumes.
pub struct VolumeProtection {
    rest: Rest,
    volumes: Informer<PersistentVolume>,
}

impl VolumeProtection {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { rest: context.rest.clone(), volumes: context.informers.get() }
    }
}

#[async_trait]
impl Controller for VolumeProtection {
    fn name(&self) -> &'static str {
        VOLUME_NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.volumes);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(volume) = self.volumes.get(key) else { return Ok(Action::Done) };
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        if let Some(finalizers) = finalizers(&volume.metadata, VOLUME_FINALIZER, phase == Some("Bound")) {
            write(&self.rest, &*volume, finalizers).await?;
        }
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{EphemeralVolumeSource, PersistentVolumeClaimVolumeSource, PodSpec, Volume},
        apimachinery::pkg::apis::meta::v1::Time,
    };

    use super::*;

    #[test]
    fn the_finalizer_comes_at_once_and_goes_when_nothing_uses_the_object() {
        let meta = |deleting: bool, protected: bool| ObjectMeta {
            deletion_timestamp: deleting.then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
            finalizers: Some(if protected { vec!["x".into(), "other".into()] } else { vec!["other".into()] }),
            ..ObjectMeta::default()
        };
        let after = |deleting, protected, in_use| finalizers(&meta(deleting, protected), "x", in_use);
        assert_eq!(after(false, false, false), Some(vec!["other".into(), "x".into()]));
        assert_eq!(after(false, true, false), None);
        assert_eq!(after(true, true, true), None);
        assert_eq!(after(true, true, false), Some(vec!["other".into()]));
        assert_eq!(after(true, false, true), None);
    }

    #[test]
    fn pods_use_named_and_ephemeral_claims() {
        let volume = |name: &str, claim: Option<&str>| Volume {
            name: name.into(),
            persistent_volume_claim: claim.map(|claim| PersistentVolumeClaimVolumeSource {
                claim_name: claim.into(),
                ..PersistentVolumeClaimVolumeSource::default()
            }),
            ephemeral: claim.is_none().then(EphemeralVolumeSource::default),
            ..Volume::default()
        };
        let pod = Pod {
            metadata: ObjectMeta {
                name: Some("p".into()),
                namespace: Some("ns".into()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                volumes: Some(vec![volume("a", Some("data")), volume("tmp", None)]),
                ..PodSpec::default()
            }),
            status: None,
        };
        assert_eq!(claims_of(&pod), [ObjectKey::new("ns", "data"), ObjectKey::new("ns", "p-tmp")]);
    }
}
