//! PersistentVolumes and claims: binding one to the other, their phases, what becomes of released volumes.
//!
//! Volumes are made and deleted by provisioners outside (CSI and others), which are told by annotations.
//!
//! Upstream counterpart: `persistentvolume-binder-controller`.

mod claim;
mod controller;
mod volume;

pub use controller::PersistentVolumeBinder;
