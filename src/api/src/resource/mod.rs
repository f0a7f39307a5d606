//! `resource.k8s.io`.

use crate::Kind;

mod resource_claim;
mod resource_claim_template;
mod resource_slice;
mod v1beta1;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[
    &resource_claim::ResourceClaim,
    &resource_claim_template::ResourceClaimTemplate,
    &resource_slice::ResourceSlice,
];
