//! Deletes what its owners leave behind.
//!
//! Upstream counterpart: `garbage-collector-controller`. Objects name their owners in
//! `metadata.ownerReferences`; when all owners of an object are gone, so goes the object. How an owner goes
//! decides the order: in the background (owner first), in the foreground (dependents first), or orphaning them.
//!
//! | file | what is in it |
//! |---|---|
//! | `graph` | who owns whom, as far as that matters |
//! | `monitors` | watches of every resource that is served, also those that come and go |
//! | `plan` | what to do about one object |
//! | `controller` | reading fresh state and writing |
//!
//! To save memory the graph holds only objects that have owners, or that are being deleted with one of the
//! collector's finalizers; of all others, only that they exist.

mod controller;
mod graph;
mod monitors;
mod plan;

pub use controller::GarbageCollector;
