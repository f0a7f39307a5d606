//! `node.k8s.io`.

use crate::Kind;

mod runtime_class;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[&runtime_class::RuntimeClass];
