//! What may be written: the chain of admission plugins that change and check objects on their way in.
//!
//! One file or folder per plugin; [`default_chain`] is the list of them in order.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission` and `plugin/pkg/admission`.

mod certificates;
mod chain;
mod control;
mod counts;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod defaults;
mod expressions;
mod limit_ranger;
mod limited_resources;
mod limits;
mod matching;
mod metrics;
mod namespace_lifecycle;
mod node_restriction;
mod node_restriction_rules;
mod optional;
mod persistent_volume_claim_resize;
mod pod_security;
mod pod_security_baseline;
mod pod_security_checks;
mod pod_security_policy;
mod pod_security_restricted;
mod pod_topology_labels;
mod policy;
mod priority;
mod rbac_escalation;
mod reinvocation;
mod resource_quota;
mod runtime_class;
mod service_account;
mod service_account_mount;
mod source;
mod storage_object_in_use_protection;
mod support;
mod taint_nodes_by_condition;
#[cfg(test)]
mod testing;
mod webhook;

pub use chain::{Chain, Mutation, Operation, Plugin, Request, Validation, Warnings};
pub use control::AdmissionControl;
pub use default_toleration_seconds::DefaultTolerationSeconds;
pub use defaults::{AdmissionConfig, default_chain};
pub use reinvocation::Reinvocation;
