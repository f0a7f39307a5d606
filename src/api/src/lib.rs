//! Built-in kinds: identity, defaults, validation, strategy and table columns, as pure functions over JSON
//! trees.
//!
//! Not here: what all kinds share (the engine in `apiserver` does it), storage, conversion of protobuf. Upstream
//! counterpart: `k8s.io/kubernetes/pkg/apis`, `pkg/registry/*/strategy.go` and `pkg/printers/internalversion`.
//!
//! | module | what |
//! |---|---|
//! | [`kind`] | the [`Kind`] trait: everything that one kind is to the server |
//! | [`registry`] | all served resources, by resource and by kind |
//! | [`meta`] | rules of `ObjectMeta` that hold for every kind |
//! | [`validation`], [`columns`], [`value`] | parts that kinds are made of |
//! | `core`, `apps`, ... | one file per kind, one line per kind in the group's `mod.rs` |

pub mod admissionregistration;
mod apiextensions;
mod apiregistration;
pub(crate) mod apps;
mod autoscaling;
mod batch;
mod certificates;
pub mod columns;
mod coordination;
pub mod core;
mod diff;
mod discovery;
mod flowcontrol;
pub mod kind;
pub mod meta;
mod networking;
mod node;
mod policy;
pub mod quota;
mod rbac;
pub mod registry;
mod resource;
mod scheduling;
pub mod schema;
mod storage;
mod storagemigration;
mod table;
pub mod validation;
pub mod value;
pub mod versions;

pub use kind::{Kind, KindRef, NameRule, ScalePaths};
pub use registry::{Group, LazySchema, Registry, Resource, Subresource, registry};

/// Behaviour of every kind that has its own file, sorted by group and kind.
pub fn kinds() -> Vec<&'static dyn Kind> {
    let groups = [
        admissionregistration::KINDS,
        apiextensions::KINDS,
        apiregistration::KINDS,
        apps::KINDS,
        autoscaling::KINDS,
        batch::KINDS,
        certificates::KINDS,
        coordination::KINDS,
        core::KINDS,
        discovery::KINDS,
        flowcontrol::KINDS,
        networking::KINDS,
        node::KINDS,
        policy::KINDS,
        rbac::KINDS,
        resource::KINDS,
        scheduling::KINDS,
        storage::KINDS,
        storagemigration::KINDS,
    ];
    let mut all: Vec<&'static dyn Kind> = groups.into_iter().flatten().copied().collect();
    all.sort_by_key(|kind| kind.group_kind());
    all
}
