//! MutatingAdmissionPolicy: changes objects, one policy after the other.

use super::binding::{self, Binding};
use super::configuration::{Changes, Policy, mutating_policy};
use super::mutation::{Failure, mutate};
use super::{Tools, params};
use crate::admission::chain::{Mutation, Plugin, Request};
use crate::admission::counts::Check;
use crate::admission::expressions::{Decisions, Inputs, Match, settle};
use crate::admission::matching::{Invocation, Versioned, is_exempt_from_policies};

use crate::admission::reinvocation::Reinvocation;
use crate::admission::source::Source;
use crate::admission::support::forbidden;
use apimachinery::meta;
use apimachinery::status::{Cause, Reason, Result, Status};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use storage::StorageError;
use tokio::time::Instant;

const NAME: &str = "MutatingAdmissionPolicy";

/// See the module.
pub(in crate::admission) struct MutatingAdmissionPolicy {
    policies: Source<Policy<Changes>>,
    bindings: Source<Binding>,
    tools: Tools,
}

/// A policy with a binding and a parameter, that a request matches.
struct Matched {
    policy: Arc<Policy<Changes>>,
    binding: Arc<Binding>,
    invocation: Invocation,
    param: Value,
}

impl Matched {
    fn key(&self) -> String {
        let (namespace, name) = (meta::namespace(&self.param), meta::name(&self.param));
        format!("{}/{}/{namespace}/{name}", self.policy.name, self.binding.name)
    }
}

/// Why a request is refused: the sentences of all policies that refuse it.
#[derive(Default)]
struct Denials {
    messages: Vec<String>,
    invalid: bool,
}

impl Denials {
    fn add(&mut self, policy: &Policy<Changes>, binding: Option<&str>, message: &str, invalid: bool) {
        if policy.ignores_failures {
            return;
        }
        if self.messages.is_empty() {
            self.invalid = invalid;
        }
        self.messages.push(match binding {
            Some(binding) => {
                format!("policy '{}' with binding '{binding}' denied request: {message}", policy.name)
            }
            None => format!("policy {:?} denied request: {message}", policy.name),
        });
    }

    fn misconfigured(&mut self, policy: &Policy<Changes>, binding: Option<&str>, why: &str) {
        let what = if binding.is_some() { "binding" } else { "policy" };
        self.add(policy, binding, &format!("failed to configure {what}: {why}"), false);
    }
}

impl MutatingAdmissionPolicy {
    /// Follows policies and bindings in the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::admission) async fn start(tools: Tools) -> std::result::Result<Self, StorageError> {
        let registry = &tools.registry;
        let policies = Source::start(registry, "mutatingadmissionpolicies", mutating_policy).await?;
        let bindings = Source::start(registry, "mutatingadmissionpolicybindings", binding::read).await?;
        Ok(Self { policies, bindings, tools })
    }

    /// Which policies a request matches. All are chosen before any changes the object.
    async fn matched(&self, request: &Request<'_>, object: &Value, denials: &mut Denials) -> Vec<Matched> {
        let (policies, bindings) = (self.policies.current(), self.bindings.current());
        let mut all = Vec::new();
        for policy in policies.iter() {
            let bound: Vec<_> = bindings.iter().filter(|binding| binding.policy == policy.name).collect();
            if !bound.is_empty() {
                self.match_one(policy, &bound, request, object, &mut all, denials).await;
            }
        }
        all
    }

    async fn match_one(
        &self,
        policy: &Arc<Policy<Changes>>,
        bindings: &[&Arc<Binding>],
        request: &Request<'_>,
        object: &Value,
        all: &mut Vec<Matched>,
        denials: &mut Denials,
    ) {
        let matcher = &self.tools.matcher;
        let invocation = match matcher.matches(&policy.criteria, request, object).await {
            Ok(Some(invocation)) => invocation,
            Ok(None) => return,
            Err(status) => return denials.misconfigured(policy, None, &status.message),
        };
        let served = match policy.param_kind.as_ref().map(|kind| params::resource(&self.tools, kind)) {
            Some(Err(why)) => return denials.misconfigured(policy, None, &why),
            served => served.and_then(std::result::Result::ok),
        };
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
            match params::collect(&self.tools, served.as_ref(), binding, request).await {
                Ok(found) => all.extend(found.into_iter().map(|param| Matched {
                    policy: Arc::clone(policy),
                    binding: Arc::clone(binding),
                    invocation: invocation.clone(),
                    param,
                })),
                Err(why) => denials.misconfigured(policy, Some(&binding.name), &why),
            }
        }
    }

    /// Evaluates one policy with its parameter. Answers whether the object has changed; `None` when the policy is
    /// not for it after all.
    async fn apply(
        &self,
        matched: &Matched,
        request: &Request<'_>,
        object: &mut Value,
        namespace: &Value,
        decisions: &Decisions,
        denials: &mut Denials,
    ) -> Result<Option<bool>> {
        let policy = &matched.policy;
        let given = policy.param_kind.is_some().then_some(&matched.param);
        let before = object.clone();
        if let Some(conditions) = &policy.conditions {
            let seen = Versioned::new(matched.invocation.clone(), request, &before).await?;
            let inputs = Inputs::new(request, &seen, given, namespace);
            let authorizer = self.tools.authorizer.as_ref();
            let met =
                settle(decisions, authorizer, request.user, |known| conditions.evaluate(&inputs, known))
                    .await;
            match met {
                Match::Met => {}
                Match::Unmet => return Ok(None),
                Match::Failed(why) => {
                    denials.add(policy, Some(&matched.binding.name), &why, true);
                    return Ok(None);
                }
            }
        }
        if object.is_null() {
            return Ok(Some(false));
        }
        for index in 0..policy.rules.mutations.len() {
            let began = Instant::now();
            let result = self.mutate(matched, index, request, object, namespace, decisions).await?;
            let error = result.as_ref().err().map_or("no_error", |(_, class)| class);
            self.tools.counts.policy_checked(&Check {
                mutating: true,
                policy: &policy.name,
                binding: &matched.binding.name,
                action: if result.is_ok() { "allow" } else { "deny" },
                error,
                took: began.elapsed(),
            });
            match result {
                Ok(new) => *object = new,
                Err((why, _)) => denials.add(policy, Some(&matched.binding.name), &why, true),
            }
        }
        Ok(Some(*object != before))
    }

    async fn mutate(
        &self,
        matched: &Matched,
        index: usize,
        request: &Request<'_>,
        object: &Value,
        namespace: &Value,
        decisions: &Decisions,
    ) -> Result<std::result::Result<Value, Failure>> {
        let policy = &matched.policy;
        let Some(mutation) = policy.rules.mutations.get(index) else { return Ok(Ok(object.clone())) };
        let seen = Versioned::new(matched.invocation.clone(), request, object).await?;
        let kind = &seen.invocation.kind;
        let schema = seen.invocation.schema().ok_or_else(|| {
            Status::service_unavailable(format!(
                "Resource kind {}, Kind={} not found. There can be a delay between when CustomResourceDefinitions are created and when they are available.",
                kind.api_version(),
                kind.kind
            ))
        })?;
        let given = policy.param_kind.is_some().then_some(&matched.param);
        let inputs = Inputs::new(request, &seen, given, namespace);
        let authorizer = self.tools.authorizer.as_ref();
        let result = settle(decisions, authorizer, request.user, |known| {
            mutate(mutation, &policy.variables, &inputs, known, &seen.object, &schema)
        })
        .await;
        match result {
            Ok(new) => match seen.invocation.take_back(new).await {
                Ok(taken) => Ok(Ok(taken)),
                Err(status) => Err(Status::internal(status.message)),
            },
            Err(failure) => Ok(Err(failure)),
        }
    }
}

impl Plugin for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for MutatingAdmissionPolicy {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<()> {
        if self.policies.current().is_empty() || is_exempt_from_policies(request) {
            return Ok(());
        }
        let mut denials = Denials::default();
        let matched = self.matched(request, object, &mut denials).await;
        if !matched.is_empty() {
            let alone = Reinvocation::default();
            let rounds = request.reinvocation.unwrap_or(&alone);
            rounds.begin(NAME, object);
            let namespace = self.tools.matcher.namespace_object(request).await?;
            let decisions = Decisions::default();
            for matched in &matched {
                let key = matched.key();
                if !rounds.asks(NAME, &key) {
                    continue;
                }
                let changed =
                    self.apply(matched, request, object, &namespace, &decisions, &mut denials).await?;
                if let Some(changed) = changed {
                    rounds.asked(NAME, &key, changed, matched.policy.rules.reinvocable);
                }
            }
            rounds.end(NAME, object);
        }
        match denials.messages.first() {
            Some(first) => Err(denied(request, object, first.clone(), &denials)),
            None => Ok(()),
        }
    }
}

fn denied(request: &Request<'_>, object: &Value, message: String, denials: &Denials) -> Status {
    let mut status = forbidden(request, object, &message);
    status.message = message;
    if denials.invalid {
        status.reason = Reason::Invalid;
    }
    if let Some(details) = status.details.as_mut() {
        let causes = denials.messages.iter();
        details.causes.extend(causes.map(|message| Cause { message: message.clone(), ..Cause::default() }));
    }
    status
}
