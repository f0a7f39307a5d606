//! `resource.k8s.io`.

use crate::Kind;

mod capacity;
mod claim_spec;
mod claim_status;
mod device_class;
mod devices;
mod lists;
mod names;
mod resource_claim;
mod resource_claim_template;
mod resource_slice;
mod selectors;
mod v1beta1;

#[cfg(test)]
mod tests;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[
    &device_class::DeviceClass,
    &resource_claim::ResourceClaim,
    &resource_claim_template::ResourceClaimTemplate,
    &resource_slice::ResourceSlice,
];
