//! All controllers against a real API server in the test's own process. A simulated kubelet runs the pods.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod autoscaling;
mod bootstrap;
mod certificates;
mod cluster;
mod garbage;
mod leadership;
mod migration;
mod namespaces;
mod nodes;
mod policies;
mod quotas;
mod services;
mod volumes;
mod workloads;
