//! Rolls out pod templates through ReplicaSets.
//!
//! Upstream counterpart: `deployment-controller`. `kubectl rollout` works from what is written here: revision
//! annotations, the pod template hash, conditions and observed generation.
//!
//! | file | what is in it |
//! |---|---|
//! | `controller` | watching and writing |
//! | `plan` | the order of steps of one sync |
//! | `rollout` | the replica sets in work, scaling them |
//! | `annotations` | revisions and what a replica set remembers of its deployment |
//! | `status` | counting and conditions |

mod annotations;
mod controller;
mod plan;
mod rollout;
mod status;
#[cfg(test)]
mod tests;

pub use controller::DeploymentController;
