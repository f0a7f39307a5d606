//! May they: system:masters, the Node authorizer and RBAC, and the access reviews.
//!
//! ```text
//!  Union:  system:masters -> NodeAuthorizer -> Rbac -> no opinion = forbidden
//!                               |                |
//!                        pods of the node   Policy (index by subject) <- feeds of roles and bindings
//! ```
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/authorization`, `plugin/pkg/auth/authorizer`.

mod attributes;
mod escalation;
mod forbidden;
mod node;
mod node_graph;
mod policy;
mod rbac;
mod review;
mod rule;
mod union;

pub use attributes::{Attributes, Authorizer, Decision};
pub use forbidden::forbidden;
pub use node::NodeAuthorizer;
pub use rbac::Rbac;
pub use review::{
    local_subject_access_review, self_subject_access_review, self_subject_rules_review, subject_access_review,
};
pub use rule::Rule;
pub use union::Union;

pub(crate) use escalation::{covers, describe_missing};
pub(crate) use node_graph::{MIRROR_ANNOTATION, PodFacts};
