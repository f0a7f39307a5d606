//! Removes tokens when their time is over.
//!
//! Upstream counterpart: `token-cleaner-controller`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    Informer, ObjectKey, Rest,
    rest::{self, DeleteOptions},
};
use k8s_openapi::api::core::v1::Secret;

use super::token;
use crate::framework::{Action, Context, Controller, ReconcileError, Watches};

const NAME: &str = "token-cleaner-controller";

/// Cleans; keys are Secrets.
pub struct TokenCleaner {
    context: Context,
    rest: Rest,
    secrets: Informer<Secret>,
}

impl TokenCleaner {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { rest: context.rest.clone(), secrets: token::informer(context), context: context.clone() }
    }
}

#[async_trait]
impl Controller for TokenCleaner {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.applied(&self.secrets);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(secret) = self.secrets.get(key) else { return Ok(Action::Done) };
        let Some(end) = token::expiration(&secret) else { return Ok(Action::Done) };
        let left = Duration::try_from(end.duration_since(self.context.now())).ok();
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Ok(Action::RequeueAfter(left));
        }
        let options = DeleteOptions::uid(secret.metadata.uid.clone().unwrap_or_default());
        match self.rest.delete::<Secret>(key, &options).await {
            Err(error) if rest::is_conflict(&error) => {}
            result => result?,
        }
        Ok(Action::Done)
    }
}
