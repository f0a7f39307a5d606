//! Validation of pods and pod templates, with the paths and words of `pkg/apis/core/validation`.

mod affinity;
mod containers;
mod env;
mod probes;
mod resources;
mod scheduling;
mod security;
mod spec;
mod volume_sources;
mod volumes;

pub use resources::{resource_name, resource_requirements};
pub use scheduling::{node_selector, taint_effect, tolerations};
pub use spec::{template, validate};
pub use volumes::{cross_check_source, volume_source_count};

/// Labels of nodes and names of well-known resources that several rules know.
mod known {
    /// Resources that a container can ask for without a domain in their name.
    pub const CONTAINER_RESOURCES: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
}
