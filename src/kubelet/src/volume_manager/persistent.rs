//! `persistentVolumeClaim` bound to a directory of this node (`hostPath` and `local` volumes).

use super::manager::VolumeError;
use crate::pod;
use client::ObjectKey;
use client::rest::Rest;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use std::path::PathBuf;

/// Where a claim's data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The directory.
    pub path: PathBuf,
    /// The `type` of a hostPath volume.
    pub type_: String,
    /// Whether `fsGroup` applies: hostPath directories keep their owners.
    pub managed: bool,
    /// Whether the volume as such is mounted read-only.
    pub read_only: bool,
}

/// Follows a claim to its directory.
///
/// # Errors
/// When the claim is not bound, or bound to something that this node cannot mount.
pub async fn resolve(rest: &Rest, pod: &Pod, claim_name: &str) -> Result<Claimed, VolumeError> {
    let key = ObjectKey::new(pod::namespace(pod), claim_name);
    let other = |message: String| VolumeError::Other(message);
    let claim: Option<PersistentVolumeClaim> =
        rest.get(&key).await.map_err(|error| other(format!("reading claim {key}: {error}")))?;
    let claim = claim.ok_or_else(|| other(format!("persistentvolumeclaim {claim_name:?} not found")))?;
    if claim.metadata.deletion_timestamp.is_some() && !holds(&claim) {
        return Err(other(format!("persistentvolumeclaim {claim_name:?} is being deleted")));
    }
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let volume_name =
        claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|name| !name.is_empty());
    let volume_name = volume_name
        .filter(|_| bound)
        .ok_or_else(|| other(format!("persistentvolumeclaim {claim_name:?} is not bound")))?;
    let volume: Option<PersistentVolume> = rest
        .get(&ObjectKey::new("", volume_name.clone()))
        .await
        .map_err(|error| other(format!("reading volume {volume_name}: {error}")))?;
    let spec = volume
        .and_then(|volume| volume.spec)
        .ok_or_else(|| other(format!("persistentvolume {volume_name:?} not found")))?;
    let bound_to = spec.claim_ref.as_ref().and_then(|claim| claim.uid.as_deref());
    if bound_to != claim.metadata.uid.as_deref() {
        return Err(other(format!("persistentvolume {volume_name:?} is not bound to claim {key}")));
    }
    if let Some(source) = spec.host_path {
        let type_ = source.type_.unwrap_or_default();
        return Ok(Claimed { path: source.path.into(), type_, managed: false, read_only: false });
    }
    if let Some(source) = spec.local {
        return Ok(Claimed {
            path: source.path.into(),
            type_: String::new(),
            managed: true,
            read_only: false,
        });
    }
    let kind = [
        (spec.csi.is_some(), "csi"),
        (spec.nfs.is_some(), "nfs"),
        (spec.iscsi.is_some(), "iscsi"),
        (spec.fc.is_some(), "fc"),
    ];
    let kind = kind.into_iter().find(|(is, _)| *is).map_or("its", |(_, kind)| kind);
    Err(other(format!(
        "persistentvolume {volume_name:?}: volumes of {kind} type are not supported on this node"
    )))
}

/// A claim in use is only marked for deletion; the protection finalizer keeps it usable until then.
fn holds(claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == "kubernetes.io/pvc-protection")
}
