//! Keeps the number of pods that a ReplicaSet asks for.
//!
//! Upstream counterpart: `replicaset-controller`. The engine serves ReplicationControllers too, which differ in
//! their API only: see [`Replicas`].

mod controller;
mod engine;
mod plan;

pub use controller::ReplicaSetController;
pub(crate) use engine::{Engine, Replicas};
