//! `scheduling.k8s.io`.

use crate::Kind;

mod priority_class;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[&priority_class::PriorityClass];
