//! `apiregistration.k8s.io`.

use crate::Kind;

mod api_service;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[&api_service::APIService];
