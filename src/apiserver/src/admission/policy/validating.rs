//! ValidatingAdmissionPolicy: refuses, warns of or notes what does not hold.

use super::annotations::Collected;
use super::binding::{self, Action, Binding};
use super::configuration::{Checks, Policy, validating};
use super::validation::{Failure, Verdict, evaluate};
use super::{Tools, params};
use crate::admission::chain::{Plugin, Request, Validation};
use crate::admission::counts::Check;
use crate::admission::expressions::{Decisions, Inputs, settle};
use crate::admission::matching::{Versioned, is_exempt_from_policies};

use crate::admission::source::Source;
use crate::admission::support::forbidden;
use apimachinery::status::{Cause, Reason, Result, Status};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;
use storage::StorageError;
use tokio::time::Instant;

/// See the module.
pub(in crate::admission) struct ValidatingAdmissionPolicy {
    policies: Source<Policy<Checks>>,
    bindings: Source<Binding>,
    tools: Tools,
}

/// The first reason to refuse a request.
#[derive(Default)]
struct Denials {
    first: Option<(String, String)>,
}

impl Denials {
    fn add(&mut self, policy: &str, binding: Option<&str>, message: &str, reason: &str) {
        if self.first.is_none() {
            let by = match binding {
                Some(binding) => format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}'"),
                None => format!("ValidatingAdmissionPolicy '{policy}'"),
            };
            self.first = Some((format!("{by} denied request: {message}"), reason.to_owned()));
        }
    }

    /// The policy cannot be evaluated, for reasons that lie in it or in its binding.
    fn misconfigured(&mut self, policy: &Policy<Checks>, binding: Option<&str>, why: &str) {
        if !policy.ignores_failures {
            let what = if binding.is_some() { "binding" } else { "policy" };
            self.add(&policy.name, binding, &format!("failed to configure {what}: {why}"), "");
        }
    }
}

impl ValidatingAdmissionPolicy {
    /// Follows policies and bindings in the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::admission) async fn start(tools: Tools) -> std::result::Result<Self, StorageError> {
        let registry = &tools.registry;
        let policies = Source::start(registry, "validatingadmissionpolicies", validating).await?;
        let bindings = Source::start(registry, "validatingadmissionpolicybindings", binding::read).await?;
        Ok(Self { policies, bindings, tools })
    }

    /// One policy with all its bindings.
    async fn apply(
        &self,
        policy: &Policy<Checks>,
        bindings: &[&Arc<Binding>],
        request: &Request<'_>,
        object: &Value,
        decisions: &Decisions,
        denials: &mut Denials,
    ) -> Result<()> {
        let matcher = &self.tools.matcher;
        let invocation = match matcher.matches(&policy.criteria, request, object).await {
            Ok(Some(invocation)) => invocation,
            Ok(None) => return Ok(()),
            Err(status) => {
                denials.misconfigured(policy, None, &status.message);
                return Ok(());
            }
        };
        let seen = match Versioned::new(invocation, request, object).await {
            Ok(seen) => seen,
            Err(status) => {
                let why = format!("failed to convert object version: {}", status.message);
                denials.misconfigured(policy, None, &why);
                return Ok(());
            }
        };
        let served = match policy.param_kind.as_ref().map(|kind| params::resource(&self.tools, kind)) {
            Some(Err(why)) => {
                denials.misconfigured(policy, None, &why);
                return Ok(());
            }
            served => served.and_then(std::result::Result::ok),
        };
        let mut collected = Collected::default();
        for binding in bindings {
            if let Some(criteria) = &binding.criteria {
                match matcher.matches(criteria, request, object).await {
                    Ok(Some(_)) => {}
                    Ok(None) => continue,
                    Err(status) => {
                        denials.misconfigured(policy, Some(&binding.name), &status.message);
                        continue;
                    }
                }
            }
            let found = match params::collect(&self.tools, served.as_ref(), binding, request).await {
                Ok(found) => found,
                Err(why) => {
                    denials.misconfigured(policy, Some(&binding.name), &why);
                    continue;
                }
            };
            let namespace = matcher.namespace_object(request).await?;
            for param in &found {
                let began = Instant::now();
                let given = policy.param_kind.is_some().then_some(param);
                let inputs = Inputs::new(request, &seen, given, &namespace);
                let authorizer = self.tools.authorizer.as_ref();
                let verdict =
                    settle(decisions, authorizer, request.user, |known| evaluate(policy, &inputs, known))
                        .await;
                self.enforce(policy, binding, request, verdict, began, &mut collected, denials);
            }
        }
        collected.publish(&policy.name, request);
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "each is one thing that a verdict touches")]
    fn enforce(
        &self,
        policy: &Policy<Checks>,
        binding: &Binding,
        request: &Request<'_>,
        verdict: Verdict,
        began: Instant,
        collected: &mut Collected,
        denials: &mut Denials,
    ) {
        let count = |action: &str, error: &str| {
            self.tools.counts.policy_checked(&Check {
                mutating: false,
                policy: &policy.name,
                binding: &binding.name,
                action,
                error,
                took: began.elapsed(),
            });
        };
        if verdict.failures.is_empty() && verdict.annotation_errors.is_empty() {
            count("allow", "no_error");
        }
        for failure in &verdict.failures {
            for action in &binding.actions {
                match action {
                    Action::Deny => {
                        denials.add(&policy.name, Some(&binding.name), &failure.message, &failure.reason);
                        count("deny", failure.error);
                    }
                    Action::Warn => {
                        request.warnings.add(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                            policy.name, binding.name, failure.message
                        ));
                        count("warn", failure.error);
                    }
                    Action::Audit => {
                        note(policy, binding, request, failure);
                        count("audit", failure.error);
                    }
                }
            }
        }
        for (key, value) in verdict.annotations {
            collected.add(&key, value);
        }
        for error in &verdict.annotation_errors {
            denials.add(&policy.name, Some(&binding.name), error, "");
            count("deny", "invalid_error");
        }
    }
}

/// Notes a failed validation for the audit log.
fn note(policy: &Policy<Checks>, binding: &Binding, request: &Request<'_>, failure: &Failure) {
    let actions: Vec<&str> = binding.actions.iter().map(|action| action.as_str()).collect();
    let value = json!([{"message": failure.message, "policy": policy.name, "binding": binding.name,
        "expressionIndex": failure.index, "validationActions": actions}]);
    request.annotations.add("validation.policy.admission.k8s.io/validation_failure", value.to_string());
}

impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for ValidatingAdmissionPolicy {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<()> {
        let policies = self.policies.current();
        if policies.is_empty() || is_exempt_from_policies(request) {
            return Ok(());
        }
        let bindings = self.bindings.current();
        let (decisions, mut denials) = (Decisions::default(), Denials::default());
        for policy in policies.iter() {
            let bound: Vec<_> = bindings.iter().filter(|binding| binding.policy == policy.name).collect();
            if !bound.is_empty() {
                self.apply(policy, &bound, request, object, &decisions, &mut denials).await?;
            }
        }
        match denials.first {
            Some((message, reason)) => Err(denied(request, object, message, &reason)),
            None => Ok(()),
        }
    }
}

fn denied(request: &Request<'_>, object: &Value, message: String, reason: &str) -> Status {
    let mut status = forbidden(request, object, &message);
    (status.reason, status.code) = match reason {
        "Forbidden" => (Reason::Forbidden, 403),
        "Unauthorized" => (Reason::Unauthorized, 401),
        "RequestEntityTooLarge" => (Reason::RequestEntityTooLarge, 413),
        _ => (Reason::Invalid, 422),
    };
    if let Some(details) = status.details.as_mut() {
        details.causes.push(Cause { message, ..Cause::default() });
    }
    status
}
