//! Scales workloads by what their pods use.
//!
//! Metrics are asked for every 15 seconds, of each autoscaler; a cluster without autoscalers asks for nothing. Sources are
//! `Resource` and `ContainerResource`, out of `metrics.k8s.io`.
//!
//! | module | what |
//! |---|---|
//! | `usage` | how many pods the use of a resource calls for: pure |
//! | `rates` | how fast replicas may change: stabilization and policies: pure |
//! | `metrics` | what `metrics.k8s.io` tells of pods |
//! | `controller` | scales, statuses, events |
//!
//! Upstream counterpart: `horizontal-pod-autoscaler` (KEP-853 behaviour, KEP-4951 tolerance).

mod controller;
mod metrics;
mod rates;
#[cfg(test)]
mod rates_tests;
mod usage;
#[cfg(test)]
mod usage_tests;

pub use controller::HorizontalPodAutoscaling;
