//! Makes the claims of generic ephemeral volumes (KEP-1698): `POD-VOLUME`, owned by the pod.
//!
//! Upstream counterpart: `ephemeral-volume-controller`.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Event, EventRecorder, EventType, Informer, ObjectKey, Rest, rest};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, Volume},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    pods,
};

const NAME: &str = "ephemeral-volume-controller";

/// The controller; keys are pods.
pub struct EphemeralVolume {
    rest: Rest,
    recorder: EventRecorder,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
}

impl EphemeralVolume {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            rest: context.rest.clone(),
            recorder: context.recorder(NAME),
            pods: context.pods(),
            claims: context.informers.get(),
        }
    }
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter(|volume| volume.ephemeral.is_some())
}

/// The claim of one of the pod's volumes; `None` when it is not of this kind.
fn claim(pod: &Pod, volume: &Volume) -> Option<PersistentVolumeClaim> {
    let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
    let (name, uid) = (pod.metadata.name.clone()?, pod.metadata.uid.clone()?);
    let metadata = template.metadata.as_ref();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{}", volume.name)),
            namespace: pod.metadata.namespace.clone(),
            labels: metadata.and_then(|metadata| metadata.labels.clone()),
            annotations: metadata.and_then(|metadata| metadata.annotations.clone()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".into(),
                kind: "Pod".into(),
                name,
                uid,
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    })
}

fn is_owned_by(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    let owners = claim.metadata.owner_references.iter().flatten();
    owners
        .into_iter()
        .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == pod.metadata.uid.as_ref())
}

#[async_trait]
impl Controller for EphemeralVolume {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.mapped(&self.pods, |event, keys| {
            if let Event::Applied(pod, None) = event
                && volumes(pod).next().is_some()
            {
                keys.add(ObjectKey::of(&**pod));
            }
        });
        let pods = self.pods.clone();
        // One that somebody deleted too early comes again.
        watches.mapped(&self.claims, move |event, keys| {
            let Event::Deleted(claim) = event else { return };
            if let Some(key) = crate::ownership::controller_key::<Pod>(&claim.metadata)
                && pods.get(&key).is_some()
            {
                keys.add(key);
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(pod) = self.pods.get(key) else { return Ok(Action::Done) };
        if pod.metadata.deletion_timestamp.is_some() || pods::is_terminal(&pod) {
            return Ok(Action::Done);
        }
        for claim in volumes(&pod).filter_map(|volume| claim(&pod, volume)) {
            let claim_key = ObjectKey::of(&claim);
            let known = match self.claims.get(&claim_key) {
                Some(known) => Some(known),
                None => match self.rest.create(&claim).await {
                    Ok(_) => None,
                    Err(error) if rest::is_already_exists(&error) => {
                        self.rest.get(&claim_key).await?.map(Arc::new)
                    }
                    Err(error) if rest::is_namespace_terminating(&error) => None,
                    Err(error) => {
                        let message = format!("ephemeral volume claim {}: {error}", claim_key.name);
                        self.recorder.about(&*pod, EventType::Warning, "FailedBinding", message);
                        return Err(error.into());
                    }
                },
            };
            if known.is_some_and(|known| !is_owned_by(&known, &pod)) {
                return Err(ReconcileError::Retry(format!(
                    "PVC {claim_key} was not created for pod {key} (pod is not owner)"
                )));
            }
        }
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_is_named_after_pod_and_volume_and_goes_with_the_pod() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "u"},
            "spec": {"containers": [], "volumes": [
                {"name": "plain", "emptyDir": {}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}}}}]}}))
        .unwrap();
        let claims: Vec<_> = volumes(&pod).filter_map(|volume| claim(&pod, volume)).collect();
        let [claim] = claims.as_slice() else { panic!("{claims:?}") };
        assert_eq!(claim.metadata.name.as_deref(), Some("web-scratch"));
        assert_eq!(claim.metadata.labels.as_ref().unwrap()["a"], "b");
        assert_eq!(claim.spec.as_ref().unwrap().storage_class_name.as_deref(), Some("fast"));
        assert!(is_owned_by(claim, &pod));
        assert!(!is_owned_by(&PersistentVolumeClaim::default(), &pod));
    }
}
