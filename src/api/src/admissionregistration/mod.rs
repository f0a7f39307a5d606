//! `admissionregistration.k8s.io`.

use crate::Kind;

pub mod expressions;
mod mutating_admission_policy;
mod mutating_admission_policy_binding;
mod mutating_webhook_configuration;
mod policies;
mod policy_rules;
mod rules;
pub mod type_checking;
mod validating_admission_policy;
mod validating_admission_policy_binding;
mod validating_webhook_configuration;
mod webhooks;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[
    &mutating_admission_policy::MutatingAdmissionPolicy,
    &mutating_admission_policy_binding::MutatingAdmissionPolicyBinding,
    &mutating_webhook_configuration::MutatingWebhookConfiguration,
    &validating_admission_policy::ValidatingAdmissionPolicy,
    &validating_admission_policy_binding::ValidatingAdmissionPolicyBinding,
    &validating_webhook_configuration::ValidatingWebhookConfiguration,
];
