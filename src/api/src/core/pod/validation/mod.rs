//! Validation of pods and pod templates, with the paths and words of `pkg/apis/core/validation`.

mod affinity;
mod annotations;
mod containers;
mod env;
mod probes;
mod projected;
mod resources;
mod scheduling;
mod security;
mod spec;
mod volume_sources;
mod volumes;
mod windows;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod volume_tests;

pub use annotations::{MIRROR, update as annotation_update};
pub use resources::{
    amount, any_resource_name, container_resource_name, is_extended, is_native, is_overcommit_allowed,
    is_standard, resource_name, resource_requirements,
};
pub use scheduling::{node_selector, node_selector_without_values, taint_effect, tolerations};
pub use spec::{template, validate, validate_create};
pub use volume_sources::{Holder, claim_metadata, exactly_one};

/// Labels of nodes and names of well-known resources that several rules know.
mod known {
    /// Resources that a container can ask for without a domain in their name.
    pub const CONTAINER_RESOURCES: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
}
