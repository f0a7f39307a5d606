//! Says how many pods of each PodDisruptionBudget may be evicted now.
//!
//! Upstream counterpart: `disruption-controller`. The eviction subresource reads what is written here.

mod controller;
mod plan;

pub use controller::DisruptionController;
