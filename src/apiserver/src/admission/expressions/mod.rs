//! Expressions about a request: of match conditions and policies.
//!
//! An evaluation is pure and never waits. An expression that asks for rights ends it; the answer is found, and the
//! evaluation begins anew ([`settle`]).
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission/plugin/cel`.

mod conditions;
mod decisions;
mod inputs;

pub(super) use conditions::{Conditions, Match};
pub(super) use decisions::{Decisions, settle};
pub(super) use inputs::{Expression, Inputs, OutOfBudget};
