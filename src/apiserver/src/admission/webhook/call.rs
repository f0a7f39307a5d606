//! One call of one webhook.

use super::Tools;
use super::configuration::Webhook;
use super::rejection;
use super::review::{self, Answer, Unusable};
use crate::admission::chain::Request;
use crate::admission::matching::Versioned;
use crate::outbound::{Endpoint, Limits};
use apimachinery::status::Status;
use bytes::Bytes;
use http::header;
use std::time::Duration;
use tokio::time::Instant;

/// The longest answer: a patch holds at most about one object, base64 makes a third more of it.
const ANSWER_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Why a webhook did not say yes.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be asked: the failure policy decides. A sentence, and the HTTP code for metrics.
    Calling(String, u16),
    /// It said no.
    Rejected(Status),
    /// Neither: the request fails whatever the failure policy.
    Fatal(Status),
}

impl Failure {
    /// The Status for the client.
    pub(super) fn status(self, webhook: &Webhook) -> Status {
        match self {
            Self::Calling(why, _) => Status::internal(calling(webhook, &why)),
            Self::Rejected(status) | Self::Fatal(status) => status,
        }
    }
}

/// The words for a webhook that could not be asked.
pub(super) fn calling(webhook: &Webhook, why: &str) -> String {
    format!("failed calling webhook {:?}: {why}", webhook.name)
}

/// Asks a webhook; counts, and passes on its warnings and annotations.
///
/// # Errors
/// When it does not say yes.
pub(super) async fn call(
    tools: &Tools,
    webhook: &Webhook,
    mutating: bool,
    request: &Request<'_>,
    seen: &Versioned<'_>,
) -> Result<Answer, Failure> {
    if request.dry_run && !webhook.dry_run {
        let message = format!("admission webhook {:?} does not support dry run", webhook.name);
        return Err(Failure::Fatal(Status::bad_request(message)));
    }
    let began = Instant::now();
    let result = ask(tools, webhook, mutating, request, seen).await;
    let outcome = result.as_ref().err().map(|failure| match failure {
        Failure::Calling(_, code) => ("calling_webhook_error", *code),
        Failure::Rejected(status) => ("no_error", status.code),
        Failure::Fatal(status) => ("apiserver_internal_error", status.code),
    });
    let sort = if mutating { "admit" } else { "validating" };
    tools.counts.webhook_called(&webhook.name, sort, request.operation, began.elapsed(), outcome);
    if outcome.is_some_and(|(kind, _)| kind == "calling_webhook_error") && webhook.ignores_failures {
        tools.counts.webhook_failed_open(&webhook.name, sort);
    }
    result
}

async fn ask(
    tools: &Tools,
    webhook: &Webhook,
    mutating: bool,
    request: &Request<'_>,
    seen: &Versioned<'_>,
) -> Result<Answer, Failure> {
    let unavailable = |why: String| Failure::Calling(why, 503);
    let Some(version) = webhook.review else {
        let why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        return Err(Failure::Calling(format!("could not create admission objects: {why}"), 400));
    };
    let endpoint = webhook
        .endpoint
        .as_ref()
        .map_err(|why| Failure::Calling(format!("could not get REST client: {why}"), 400))?;
    let credential = tools.credentials.of(endpoint);
    let shown = credential.filter(|credential| credential.identity.is_some());
    let endpoint = match shown {
        Some(shown) => &Endpoint { identity: shown.identity.clone(), ..endpoint.clone() },
        None => endpoint,
    };
    let mut post = http_request(endpoint, webhook.timeout)?;
    if let Some(authorization) = credential.and_then(|credential| credential.authorization.as_ref()) {
        post.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
    }
    let uid = uuid::Uuid::new_v4().to_string();
    let body = review::question(version, &uid, request, seen).to_string();
    let response = tools
        .outbound
        .call(
            endpoint,
            post.map(|()| Bytes::from(body)),
            Limits { timeout: webhook.timeout, max_bytes: ANSWER_MAX_BYTES },
        )
        .await
        .map_err(|error| unavailable(format!("failed to call webhook: {error}")))?;
    let code = response.status().as_u16();
    if !response.status().is_success() {
        let media = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let why = rejection::http_failure(code, media, response.body());
        return Err(Failure::Calling(format!("failed to call webhook: {why}"), code));
    }
    let answer = review::answer(version, &uid, mutating, response.body()).map_err(|error| match error {
        Unusable::Undecodable(why) => unavailable(format!("failed to call webhook: {why}")),
        Unusable::Invalid(why) => unavailable(format!("received invalid webhook response: {why}")),
        Unusable::Patch(why) => Failure::Fatal(Status::internal(why)),
    })?;
    for (key, value) in &answer.annotations {
        request.annotations.add(format!("{}/{key}", webhook.name), value.clone());
    }
    for warning in &answer.warnings {
        request.warnings.add(warning.clone());
    }
    if answer.allowed {
        Ok(answer)
    } else {
        Err(Failure::Rejected(rejection::refused(&webhook.name, &answer.status)))
    }
}

fn http_request(endpoint: &Endpoint, timeout: Duration) -> Result<http::Request<()>, Failure> {
    let calling = |why: String| Failure::Calling(format!("failed to call webhook: {why}"), 400);
    // The webhook learns how much time it has.
    let query = format!("timeout={}s", timeout.as_secs());
    let url = endpoint.url("", Some(&query)).map_err(|e| calling(e.to_string()))?;
    http::Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .body(())
        .map_err(|e| calling(e.to_string()))
}
