//! Webhooks as configurations describe them.

use crate::admission::expressions::Conditions;
use crate::admission::matching::Criteria;
use crate::outbound::Endpoint;
use api::value;
use apimachinery::meta;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Upstream's default of `timeoutSeconds`.
const DEFAULT_TIMEOUT_SECONDS: u64 = 10;

/// One webhook.
pub(super) struct Webhook {
    /// Its name, which messages show.
    pub(super) name: String,
    /// The configuration that it is part of.
    pub(super) configuration: String,
    /// Identifies it among all.
    pub(super) uid: String,
    /// Which requests it is for.
    pub(super) criteria: Criteria,
    /// Conditions that a request has to meet besides; `None` when there are none.
    pub(super) conditions: Option<Conditions>,
    /// Where it is; or why it cannot be called.
    pub(super) endpoint: Result<Endpoint, String>,
    /// The version of AdmissionReview that it and we know; `None` when there is none.
    pub(super) review: Option<ReviewVersion>,
    /// How long it may take.
    pub(super) timeout: Duration,
    /// Whether a request goes on when the webhook cannot be asked.
    pub(super) ignores_failures: bool,
    /// Whether it may be called for a dry run.
    pub(super) dry_run: bool,
    /// Whether it may be asked again in the second round.
    pub(super) reinvocable: bool,
}

/// A version of `admission.k8s.io` AdmissionReview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReviewVersion {
    V1,
    V1Beta1,
}

impl ReviewVersion {
    /// Group and version.
    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// Reads a MutatingWebhookConfiguration or a ValidatingWebhookConfiguration.
pub(super) fn read(configuration: &Value) -> Vec<Arc<Webhook>> {
    let name = meta::name(configuration);
    let hooks = value::list(configuration, "webhooks").iter().enumerate();
    hooks.map(|(index, hook)| Arc::new(read_one(name, index, hook))).collect()
}

fn read_one(configuration: &str, index: usize, hook: &Value) -> Webhook {
    let name = value::text(hook, "name");
    let ignores_failures = value::text(hook, "failurePolicy") == "Ignore";
    let seconds = value::int(hook, "timeoutSeconds").and_then(|s| u64::try_from(s).ok());
    Webhook {
        name: name.to_owned(),
        configuration: configuration.to_owned(),
        uid: format!("{configuration}/{name}/{index}"),
        criteria: Criteria::of_webhook(hook),
        conditions: Conditions::read(value::list(hook, "matchConditions"), false),
        endpoint: Endpoint::from_config(value::field(hook, "clientConfig")),
        review: value::texts(hook, "admissionReviewVersions").find_map(|version| match version {
            "v1" => Some(ReviewVersion::V1),
            "v1beta1" => Some(ReviewVersion::V1Beta1),
            _ => None,
        }),
        timeout: Duration::from_secs(seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS)),
        ignores_failures,
        dry_run: matches!(value::text(hook, "sideEffects"), "None" | "NoneOnDryRun"),
        reinvocable: value::text(hook, "reinvocationPolicy") == "IfNeeded",
    }
}
