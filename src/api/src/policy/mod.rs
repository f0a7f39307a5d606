//! `policy`.

use crate::Kind;

mod pod_disruption_budget;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[&pod_disruption_budget::PodDisruptionBudget];
