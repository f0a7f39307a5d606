//! Which volume a claim gets: what the binder (a controller) and the scheduler must agree on. Pure; nobody is asked
//! and nothing is written.
//!
//! A claim and a volume are bound when each names the other: the volume by `spec.claimRef` with the claim's uid, the
//! claim by `spec.volumeName` and the annotation [`BIND_COMPLETED`]. The binder writes both. For a claim whose class
//! waits for its first consumer the scheduler decides: it writes `claimRef` into the volume that it chose, or
//! [`SELECTED_NODE`] into the claim so that a provisioner makes a volume; the binder does the rest.
//!
//! Upstream counterpart: `k8s.io/component-helpers/storage/volume`.

mod matching;
mod objects;

pub use matching::{Consumer, find, mismatch};
pub use objects::{
    annotation, bind_volume, claim_class, is_bound_to, is_delayed, is_fully_bound, is_prebound_to,
    modes_differ, pod_claims, set_annotation, volume_class,
};

/// On claims: the binder has finished.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On claims and volumes: the reference was set by the binder or the scheduler, not by a person.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// On claims: where a provisioner is to make the volume.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On volumes: who made it, and will delete it.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On claims: who is to make a volume.
pub const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// [`PROVISIONER`] as older provisioners know it.
pub const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// The provisioner of classes whose volumes people make.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
