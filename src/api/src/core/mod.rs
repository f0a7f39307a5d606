//! The core group: one line per kind.

pub mod persistent_volume_claim;
pub mod pod;
pub(crate) mod pod_warnings;

use crate::kind::Kind;

/// Every kind of the group that has its own file.
pub static KINDS: &[&dyn Kind] = &[&persistent_volume_claim::PersistentVolumeClaim, &pod::Pod];
