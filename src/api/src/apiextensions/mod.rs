//! `apiextensions.k8s.io`.

use crate::Kind;

mod custom_resource_definition;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[&custom_resource_definition::CustomResourceDefinition];
