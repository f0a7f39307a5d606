//! `coordination.k8s.io`.

use crate::Kind;

mod lease;
mod lease_candidate;
mod strategy;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[&lease::Lease, &lease_candidate::LeaseCandidate];
