//! Runs numbered pods with stable names and volumes.
//!
//! Upstream counterpart: `statefulset-controller`, with `maxUnavailable` (KEP-961), start ordinals (KEP-3335) and
//! claim retention (KEP-1847).

mod claims;
mod controller;
mod identity;
mod plan;

pub use controller::StatefulSetController;
