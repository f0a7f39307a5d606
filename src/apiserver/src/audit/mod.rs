//! The audit log: who did what, when, and what came of it.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/audit` and `plugin/pkg/audit`.

mod annotations;

pub use annotations::Annotations;
