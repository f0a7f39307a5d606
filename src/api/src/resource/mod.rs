//! `resource.k8s.io`.

use crate::Kind;

mod resource_claim;
mod resource_slice;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[&resource_claim::ResourceClaim, &resource_slice::ResourceSlice];
