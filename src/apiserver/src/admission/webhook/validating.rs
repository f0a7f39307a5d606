//! ValidatingAdmissionWebhook: webhooks that refuse objects, all at once.

use super::call::{Failure, call, calling};
use super::configuration::{Webhook, read};
use super::{Hooks, Tools};
use crate::admission::chain::{Plugin, Request, Validation};
use crate::admission::matching::{Versioned, is_exempt};
use crate::admission::source::Source;
use crate::registry::Registry;
use apimachinery::status::{Result, Status};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use storage::StorageError;

/// See the module.
pub(in crate::admission) struct ValidatingAdmissionWebhook(Hooks);

impl ValidatingAdmissionWebhook {
    /// Follows the configurations in the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::admission) async fn start(
        registry: &Registry,
        tools: Tools,
    ) -> std::result::Result<Self, StorageError> {
        let source = Source::start(registry, "validatingwebhookconfigurations", read).await?;
        Ok(Self(Hooks { source, tools }))
    }

    async fn ask(
        &self,
        index: usize,
        webhook: &Webhook,
        request: &Request<'_>,
        seen: &Versioned<'_>,
    ) -> Option<Status> {
        match call(&self.0.tools, webhook, false, request, seen).await {
            Ok(_) => None,
            Err(Failure::Calling(why, _)) if webhook.ignores_failures => {
                tracing::warn!(error = calling(webhook, &why), "a webhook failed and is passed over");
                let key = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}");
                request.annotations.add(key, webhook.name.clone());
                None
            }
            Err(failure) => Some(failure.status(webhook)),
        }
    }
}

impl Plugin for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for ValidatingAdmissionWebhook {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<()> {
        let configurations = self.0.source.current();
        if configurations.is_empty() || is_exempt(request) {
            return Ok(());
        }
        let mut relevant: Vec<(&Arc<Webhook>, Versioned<'_>)> = Vec::new();
        for webhook in configurations.iter().flat_map(|webhooks| webhooks.iter()) {
            if let Some(seen) = self.0.select(webhook, request, object).await? {
                relevant.push((webhook, seen));
            }
        }
        let calls = relevant
            .iter()
            .enumerate()
            .map(|(index, (webhook, seen))| self.ask(index, webhook, request, seen));
        // The first in order refuses, whoever was fastest: the same request gets the same answer.
        match futures::future::join_all(calls).await.into_iter().flatten().next() {
            Some(status) => Err(status),
            None => Ok(()),
        }
    }
}
