//! Takes away tokens in Secrets that Kubernetes once made for every account and that nobody has used for a year: first
//! they are marked, and are not accepted any more; a year later the Secrets go.
//!
//! Upstream counterpart: `legacy-serviceaccount-token-cleaner-controller` (KEP-2799). Secrets that people made
//! themselves are none of its business: accounts do not list those.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    Informer, ObjectKey, Rest,
    informer::Scope,
    rest::{self, DeleteOptions, Patch},
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use serde_json::json;

use crate::framework::{Action, Context, Controller, ReconcileError, Watches};
use crate::service_account_tokens::{ACCOUNT_NAME, ACCOUNT_UID, TYPE};

const NAME: &str = "legacy-serviceaccount-token-cleaner-controller";
/// Says since which day the API server notes the use of tokens.
const TRACKING: (&str, &str) = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking");
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// How long a token may lie unused, and marked (upstream's default).
const PERIOD: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How often it is looked again (upstream's interval).
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The controller; keys are Secrets.
pub struct LegacyTokenCleaner {
    context: Context,
    rest: Rest,
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
}

impl LegacyTokenCleaner {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            secrets: context.informers.scoped(&Scope::fields(format!("type={TYPE}"))),
            accounts: context.informers.get(),
        }
    }

    /// Whether the Secret was made for its account, rather than by somebody.
    fn was_generated(&self, secret: &Secret) -> bool {
        let annotation = |key: &str| secret.metadata.annotations.as_ref().and_then(|all| all.get(key));
        let namespace = secret.metadata.namespace.as_deref().unwrap_or("");
        let account = annotation(ACCOUNT_NAME).and_then(|name| self.accounts.find(namespace, name));
        account.is_some_and(|account| {
            account.metadata.uid.as_ref() == annotation(ACCOUNT_UID)
                && account.secrets.iter().flatten().any(|listed| listed.name == secret.metadata.name)
        })
    }

    /// Asked of the server: the caches do not keep Secrets of pods.
    async fn is_mounted(&self, secret: &Secret) -> Result<bool, ReconcileError> {
        let namespace = secret.metadata.namespace.as_deref().unwrap_or("");
        let pods = self.rest.list::<Pod>(namespace, "").await?;
        let volumes = pods.iter().filter_map(|pod| pod.spec.as_ref()?.volumes.as_ref()).flatten();
        let mut sources = volumes.filter_map(|volume| volume.secret.as_ref());
        Ok(sources.any(|source| source.secret_name == secret.metadata.name))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    Mark,
    Delete,
}

fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

/// What to do with a token that was generated, where the use of tokens is noted since a day. Days compare as texts.
fn plan(secret: &Secret, tracked_since: &str, now: Timestamp) -> Plan {
    let Ok(long_ago) = now.checked_sub(PERIOD) else { return Plan::Nothing };
    let limit = day(long_ago);
    let label = |key: &str| secret.metadata.labels.as_ref().and_then(|all| all.get(key)).map(String::as_str);
    let created = secret.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
    let is_day = |text: &str| text.parse::<jiff::civil::Date>().is_ok();
    let recent = |text: &str| !is_day(text) || text >= limit.as_str();
    if recent(tracked_since) || created > long_ago || label(LAST_USED).is_some_and(recent) {
        return Plan::Nothing;
    }
    match label(INVALID_SINCE) {
        None => Plan::Mark,
        Some(since) if recent(since) => Plan::Nothing,
        Some(_) => Plan::Delete,
    }
}

#[async_trait]
impl Controller for LegacyTokenCleaner {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.secrets);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(secret) = self.secrets.get(key) else { return Ok(Action::Done) };
        if !self.was_generated(&secret) {
            return Ok(Action::RequeueAfter(INTERVAL));
        }
        let tracking = self.rest.get::<ConfigMap>(&ObjectKey::new(TRACKING.0, TRACKING.1)).await?;
        let since = tracking.and_then(|found| found.data?.get("since").cloned());
        let Some(since) = since else { return Ok(Action::RequeueAfter(INTERVAL)) };
        let now = self.context.now();
        let plan = plan(&secret, &since, now);
        if plan == Plan::Nothing || self.is_mounted(&secret).await? {
            return Ok(Action::RequeueAfter(INTERVAL));
        }
        let (uid, version) = (secret.metadata.uid.clone(), secret.metadata.resource_version.clone());
        let result = match plan {
            Plan::Nothing => Ok(()),
            Plan::Mark => {
                let metadata =
                    json!({"uid": uid, "resourceVersion": version, "labels": {INVALID_SINCE: day(now)}});
                let patch = Patch::Merge(json!({"metadata": metadata}));
                self.rest.patch::<Secret>(key, "", &patch).await.map(drop)
            }
            Plan::Delete => {
                let options = DeleteOptions::uid(uid.unwrap_or_default());
                self.rest.delete::<Secret>(key, &options).await
            }
        };
        match result {
            // It comes again when it has changed.
            Err(error) if rest::is_not_found(&error) || rest::is_conflict(&error) => {}
            result => result?,
        }
        Ok(Action::RequeueAfter(INTERVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_after_two_years_without_use() {
        let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        let old = "2024-01-01T00:00:00Z";
        let told = |created: &str, labels: serde_json::Value, since: &str| {
            let secret = json!({"metadata": {"name": "s", "creationTimestamp": created, "labels": labels}});
            plan(&serde_json::from_value(secret).unwrap(), since, now)
        };
        let noted = "2025-05-31";
        assert_eq!(told(old, json!({}), noted), Plan::Mark);
        assert_eq!(told(old, json!({}), "2025-06-01"), Plan::Nothing, "use is not noted for a year yet");
        assert_eq!(told("2025-06-02T00:00:00Z", json!({}), noted), Plan::Nothing, "too young");
        assert_eq!(told(old, json!({LAST_USED: "2025-05-31"}), noted), Plan::Mark);
        assert_eq!(told(old, json!({LAST_USED: "2025-06-01"}), noted), Plan::Nothing, "used");
        assert_eq!(told(old, json!({LAST_USED: "soon"}), noted), Plan::Nothing, "nobody knows");
        assert_eq!(told(old, json!({INVALID_SINCE: "2025-06-01"}), noted), Plan::Nothing);
        assert_eq!(told(old, json!({INVALID_SINCE: "2025-05-31"}), noted), Plan::Delete);
        assert_eq!(
            told(old, json!({INVALID_SINCE: "2025-05-31", LAST_USED: "2026-05-31"}), noted),
            Plan::Nothing
        );
    }
}
