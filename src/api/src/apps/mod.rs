//! The `apps` group: one line per kind.

mod controller_revision;
mod daemon_set;
mod deployment;
mod replica_set;
mod stateful_set;
pub(crate) mod workload;

pub(crate) use replica_set::{replica_columns, replica_row, replica_status};

use crate::kind::Kind;

/// Every kind of the group.
pub(crate) const KINDS: &[&dyn Kind] = &[
    &controller_revision::ControllerRevision,
    &daemon_set::DaemonSet,
    &deployment::Deployment,
    &replica_set::ReplicaSet,
    &stateful_set::StatefulSet,
];
