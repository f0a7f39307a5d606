//! `flowcontrol.apiserver.k8s.io`.

use crate::Kind;

mod flow_schema;
mod mandatory;
mod priority_level_configuration;
mod schema_rules;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] =
    &[&flow_schema::FlowSchema, &priority_level_configuration::PriorityLevelConfiguration];
