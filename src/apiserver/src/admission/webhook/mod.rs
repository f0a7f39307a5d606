//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: servers outside decide about writes (KEP-492).
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission/plugin/webhook`.

mod call;
mod configuration;
mod mutating;
mod rejection;
mod review;
mod validating;

pub(super) use mutating::MutatingAdmissionWebhook;
pub(super) use validating::ValidatingAdmissionWebhook;

use super::chain::Request;
use super::counts::Counts;
use super::expressions::Match;
use super::matching::{Matcher, Versioned};
use super::source::Source;
use crate::authorization::Authorizer;
use crate::outbound::Outbound;
use crate::remote::Credentials;
use apimachinery::status::{Result, Status};
use configuration::Webhook;
use serde_json::Value;
use std::sync::Arc;

/// What both plugins work with.
#[derive(Clone)]
pub(super) struct Tools {
    /// Calls webhooks.
    pub(super) outbound: Outbound,
    /// As whom this server shows itself to them.
    pub(super) credentials: Arc<Credentials>,
    /// Finds out which are called.
    pub(super) matcher: Arc<Matcher>,
    /// Answers match conditions that ask for rights.
    pub(super) authorizer: Arc<dyn Authorizer>,
    /// Counts.
    pub(super) counts: Arc<Counts>,
}

/// Webhooks of one sort, in the order in which they are called.
struct Hooks {
    source: Source<Vec<Arc<Webhook>>>,
    tools: Tools,
}

impl Hooks {
    /// The request as a webhook is to see it; `None` when it is not for the webhook.
    ///
    /// # Errors
    /// When that cannot be found out, and the webhook wants to be asked then.
    async fn select<'a>(
        &self,
        webhook: &Webhook,
        request: &Request<'a>,
        object: &'a Value,
    ) -> Result<Option<Versioned<'a>>> {
        let Some(invocation) = self.tools.matcher.matches(&webhook.criteria, request, object).await? else {
            return Ok(None);
        };
        let seen = Versioned::new(invocation, request, object).await?;
        let Some(conditions) = &webhook.conditions else { return Ok(Some(seen)) };
        match conditions.check(request, &seen, self.tools.authorizer.as_ref()).await {
            Match::Met => Ok(Some(seen)),
            Match::Unmet => {
                self.tools.counts.condition_excluded(&webhook.name, "webhook", request);
                Ok(None)
            }
            Match::Failed(_) if webhook.ignores_failures => Ok(None),
            Match::Failed(why) => {
                Err(Status::forbidden(&request.resource.group_resource(), request.name, why))
            }
        }
    }
}
