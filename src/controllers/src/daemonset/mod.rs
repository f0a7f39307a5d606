//! Runs one pod on every node that a DaemonSet selects.
//!
//! Upstream counterpart: `daemonset-controller`. Pods are bound to their nodes by node affinity and scheduled by
//! the scheduler, as everybody else's.

mod controller;
mod placement;
mod plan;
mod update;

pub use controller::DaemonSetController;
