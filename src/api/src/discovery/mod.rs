//! `discovery.k8s.io`.

use crate::Kind;

pub(crate) mod endpoint_rules;
mod endpoint_slice;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[&endpoint_slice::EndpointSlice];
