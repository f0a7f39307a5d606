//! From a pod's spec to sandboxes and containers: `compute_pod_actions` says what to do, the
//! [`RuntimeManager`] does it through CRI.

mod actions;
mod container_config;
mod container_gc;
mod hooks;
mod kill;
pub mod labels;
mod manager;
mod mounts;
mod observe;
mod observed;
mod sandbox_config;
mod security_context;
mod start;

pub use actions::{ContainerKind, ProbeLookup};
pub use container_gc::{removable_containers, removable_sandboxes};
pub use manager::{RuntimeManager, RuntimeParts, RuntimeSettings, SyncInputs};
pub use observe::observed_pods;
#[cfg(test)]
pub use observed::Sandbox;
pub use observed::{ObservedContainer, ObservedPod, State};
pub use start::known_restarts;
