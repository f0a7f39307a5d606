//! What a cluster holds from its first second: namespaces, default RBAC policy, priority classes, flow control
//! and the ConfigMap by which aggregated API servers authenticate.
//!
//! ```text
//!   cluster_roles  controller_roles  namespace_roles  bindings     namespaces  priority_classes  flow_control
//!          \______________|______________|______________/               \____________|______________/
//!                     reconcile: create, or add what is missing         reconcile: create
//! ```
//!
//! Upstream counterpart: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`, `pkg/registry/*/rest`.

mod bindings;
pub(crate) mod cluster_info;
mod cluster_roles;
mod controller_roles;
mod flow_control;
mod namespace_roles;
mod objects;
mod reconcile;
mod table;

pub use objects::ExtensionAuthentication;
pub use reconcile::reconcile;

use crate::authorization::Rule;

/// What the Node authorizer lets every kubelet do, whatever the object: the rules of `system:node`.
pub(crate) fn node_rules() -> Vec<Rule> {
    cluster_roles::NODE.iter().map(table::StaticRule::rule).collect()
}
