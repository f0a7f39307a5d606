//! May they: system:masters, the authorizers that are configured, and the access reviews.
//!
//! ```text
//!  Union:  system:masters -> NodeAuthorizer -> Rbac -> no opinion = forbidden   (or webhooks, as configured)
//!                               |                |
//!                        pods of the node   Policy (index by subject) <- feeds of roles and bindings
//! ```
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/authorization`, `plugin/pkg/auth/authorizer`.

mod abac;
mod always;
mod attributes;
mod conditions;
mod configuration;
mod escalation;
mod forbidden;
mod node;
mod node_graph;
mod options;
mod policy;
mod rbac;
mod review;
mod rule;
mod union;
mod webhook;

pub use attributes::{Attributes, Authorizer, Decision, ResolvedRules};
pub use configuration::{
    AuthorizationConfiguration, AuthorizerConfiguration, ConnectionInfo, MatchCondition, WebhookConfiguration,
};
pub use forbidden::forbidden;
pub use node::NodeAuthorizer;
pub use options::AuthorizationOptions;
pub use rbac::Rbac;
pub use review::{
    local_subject_access_review, self_subject_access_review, self_subject_rules_review, subject_access_review,
};
pub use rule::Rule;
pub use union::Union;

pub(crate) use escalation::{covers, describe_missing};
pub(crate) use node_graph::{MIRROR_ANNOTATION, PodFacts};
pub(crate) use options::Builtin;
