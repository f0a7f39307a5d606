//! MutatingAdmissionWebhook: webhooks that change objects, one after the other.

use super::call::{Failure, call, calling};
use super::configuration::{Webhook, read};
use super::{Hooks, Tools};
use crate::admission::chain::{Mutation, Plugin, Request};
use crate::admission::matching::{Versioned, is_exempt};
use crate::admission::reinvocation::Reinvocation;
use crate::admission::source::Source;
use crate::registry::Registry;
use apimachinery::patch;
use apimachinery::status::{Result, Status};
use async_trait::async_trait;
use serde_json::{Value, json};
use storage::StorageError;

const NAME: &str = "MutatingAdmissionWebhook";

/// See the module.
pub(in crate::admission) struct MutatingAdmissionWebhook(Hooks);

impl MutatingAdmissionWebhook {
    /// Follows the configurations in the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::admission) async fn start(
        registry: &Registry,
        tools: Tools,
    ) -> std::result::Result<Self, StorageError> {
        let source = Source::start(registry, "mutatingwebhookconfigurations", read).await?;
        Ok(Self(Hooks { source, tools }))
    }

    /// Asks one webhook. Answers the changed object, if it has changed.
    async fn ask(&self, webhook: &Webhook, request: &Request<'_>, seen: &Versioned<'_>) -> Outcome {
        let answer = match call(&self.0.tools, webhook, true, request, seen).await {
            Ok(answer) => answer,
            Err(failure) => return Outcome::Failed(Box::new(failure)),
        };
        let Some(patch) = answer.patch.filter(|p| p.as_array().is_none_or(|list| !list.is_empty())) else {
            return Outcome::Unchanged;
        };
        let failed =
            |status: Status| Outcome::Failed(Box::new(Failure::Fatal(Status::internal(status.message))));
        if seen.object.is_null() {
            let why = format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                webhook.name
            );
            return failed(Status::bad_request(why));
        }
        let mut changed = seen.object.as_ref().clone();
        if let Err(status) = patch::json::apply(&mut changed, &patch) {
            return failed(Status::bad_request(patch::json::why(&status)));
        }
        match seen.invocation.take_back(changed).await {
            Ok(object) => Outcome::Changed(object),
            Err(status) => failed(status),
        }
    }
}

enum Outcome {
    Unchanged,
    Changed(Value),
    Failed(Box<Failure>),
}

impl Plugin for MutatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        NAME
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for MutatingAdmissionWebhook {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<()> {
        let configurations = self.0.source.current();
        if configurations.is_empty() || is_exempt(request) {
            return Ok(());
        }
        let alone = Reinvocation::default();
        let rounds = request.reinvocation.unwrap_or(&alone);
        let round = u8::from(rounds.is_second_round());
        rounds.begin(NAME, object);
        let webhooks = configurations.iter().flat_map(|webhooks| webhooks.iter());
        for (index, webhook) in webhooks.enumerate() {
            if !rounds.asks(NAME, &webhook.uid) {
                continue;
            }
            let outcome = {
                let Some(seen) = self.0.select(webhook, request, object).await? else { continue };
                self.ask(webhook, request, &seen).await
            };
            let outcome = match outcome {
                Outcome::Changed(new) if new == *object => Outcome::Unchanged,
                outcome => outcome,
            };
            let changed = matches!(outcome, Outcome::Changed(_));
            note(webhook, request, round, index, changed);
            rounds.asked(NAME, &webhook.uid, changed, webhook.reinvocable);
            match outcome {
                Outcome::Unchanged => {}
                Outcome::Changed(new) => *object = new,
                Outcome::Failed(failure) => {
                    let why = match *failure {
                        Failure::Calling(why, _) if webhook.ignores_failures => why,
                        failure => return Err(failure.status(webhook)),
                    };
                    tracing::warn!(error = calling(webhook, &why), "a webhook failed and is passed over");
                    let key =
                        format!("failed-open.mutating.webhook.admission.k8s.io/round_{round}_index_{index}");
                    request.annotations.add(key, webhook.name.clone());
                }
            }
        }
        rounds.end(NAME, object);
        Ok(())
    }
}

/// Notes for the audit log that a webhook was asked.
fn note(webhook: &Webhook, request: &Request<'_>, round: u8, index: usize, changed: bool) {
    if !request.annotations.are_kept() {
        return;
    }
    let value = json!({"configuration": webhook.configuration, "webhook": webhook.name, "mutated": changed});
    let key = format!("mutation.webhook.admission.k8s.io/round_{round}_index_{index}");
    request.annotations.add(key, value.to_string());
}
