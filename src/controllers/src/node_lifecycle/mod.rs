//! Notices nodes that have fallen silent, and tells everybody by conditions and taints.
//!
//! Upstream counterpart: `node-lifecycle-controller`. Kubelets renew a Lease every ten seconds. When neither
//! lease nor status change for the grace period, the node's conditions become Unknown and its pods not ready;
//! taints keep new pods away at once, and make old ones leave unless so many nodes are silent that the trouble
//! is more likely between them and us.
//!
//! There is no polling: each node is looked at when its grace period would end.

mod controller;
mod health;
mod plan;
mod zones;

pub use controller::NodeLifecycle;
pub use health::NODE_MONITOR_GRACE_PERIOD;
