//! The scheduler: finds a node for each pod that has none. Upstream counterpart: kube-scheduler.
//!
//! ```text
//!  pods without a node ─> queue ─> schedule_one: filter ─> score ─> reserve ─> (task) bind
//!                          ^  ^                     │ no node                   │ failed
//!   cluster events ────────┘  └── unschedulable ────┘<───────────────────────────┘
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`queue`] | which pod is next; back-off; what wakes a pod that did not fit |
//! | [`cache`] | nodes with the pods on them, including those that are being bound |
//! | [`resources`] | what a pod asks for and a node offers |
//! | [`framework`] | what a plugin is, and the plugins |
//! | [`volumes`] | claims, volumes and classes; `bind_volumes` has their choice carried out before a pod is bound |
//! | `workloads` | which pods belong together and are spread by default |
//! | [`schedule_one`] | the decision for one pod: pure over the cache |
//! | [`preemption`] | which less important pods have to go for one that fits nowhere |
//! | [`nominations`] | the pods that wait for others to go |
//!
//! It has no extenders and one profile (`default-scheduler`).

mod bind_volumes;
pub mod cache;
pub mod framework;
mod host_ports;
pub mod nominations;
pub mod preemption;
pub mod queue;
pub mod resources;
mod run;
pub mod schedule_one;
#[cfg(test)]
mod testing;
pub mod volumes;
mod workloads;

pub use run::{Config, run};

/// How important a pod is (KEP-268); admission writes the number of its class into it.
pub(crate) fn priority(pod: &k8s_openapi::api::core::v1::Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}
