//! One audit event as JSON (`audit.k8s.io/v1` Event).

use super::annotations::Noted;
use crate::authentication::{Impersonated, UserInfo};
use crate::endpoints::RequestInfo;
use apimachinery::status::Status;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Says that the objects of an event were left out.
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// What the events of one request have in common.
#[derive(Debug)]
pub(super) struct About {
    pub(super) level: &'static str,
    pub(super) audit_id: String,
    pub(super) request_uri: String,
    pub(super) user: UserInfo,
    pub(super) source_ips: Vec<String>,
    pub(super) user_agent: String,
    pub(super) info: RequestInfo,
    pub(super) received: jiff::Timestamp,
}

/// An event on its way to the log.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) about: Arc<About>,
    pub(super) stage: &'static str,
    pub(super) at: jiff::Timestamp,
    pub(super) impersonated: Option<Impersonated>,
    pub(super) status: Option<ResponseStatus>,
    pub(super) request: Option<Arc<Value>>,
    pub(super) response: Option<Value>,
    pub(super) noted: Noted,
}

/// The status of an answer.
#[derive(Debug)]
pub(super) enum ResponseStatus {
    /// Just its code.
    Code(u16),
    /// A failure, told in full.
    Failure(Box<Status>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: &'static str,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_metadata: Option<AuthenticationMetadata>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "<[String]>::is_empty")]
    source_ips: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectReference<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<&'a Value>,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthenticationMetadata {
    impersonation_constraint: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectReference<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    resource_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subresource: &'a str,
}

impl Event {
    /// Appends the event as a line. What is longer than `limit` bytes goes without its objects; returns whether that
    /// was short enough. What is not is not appended.
    pub(super) fn write(&self, out: &mut Vec<u8>, limit: Option<usize>) -> bool {
        let start = out.len();
        // The line's end is no part of the event.
        let fits = |out: &Vec<u8>| limit.is_none_or(|limit| out.len() - start <= limit.saturating_add(1));
        self.append(out, false);
        if !fits(out) && matches!(self.about.level, "Request" | "RequestResponse") {
            out.truncate(start);
            self.append(out, true);
        }
        let fits = fits(out);
        if !fits {
            out.truncate(start);
            tracing::warn!(
                audit_id = self.about.audit_id,
                "an audit event is too large even after truncating"
            );
        }
        fits
    }

    fn append(&self, out: &mut Vec<u8>, truncated: bool) {
        let Self { about, noted, .. } = self;
        let mut annotations = Cow::Borrowed(&noted.annotations);
        if truncated {
            annotations.to_mut().insert(TRUNCATED.to_owned(), "true".to_owned());
        }
        let written = Written {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: about.level,
            audit_id: &about.audit_id,
            stage: self.stage,
            request_uri: &about.request_uri,
            verb: &about.info.verb,
            user: about.user.to_value(),
            impersonated_user: self.impersonated.as_ref().map(|impersonated| impersonated.user.to_value()),
            authentication_metadata: self
                .impersonated
                .as_ref()
                .map(|impersonated| impersonated.constraint)
                .filter(|constraint| !constraint.is_empty())
                .map(|impersonation_constraint| AuthenticationMetadata { impersonation_constraint }),
            source_ips: &about.source_ips,
            user_agent: &about.user_agent,
            object_ref: self.object_ref(),
            response_status: self.status.as_ref().map(ResponseStatus::to_value),
            request_object: self.request.as_deref().filter(|_| !truncated),
            response_object: self.response.as_ref().filter(|_| !truncated),
            request_received_timestamp: apimachinery::time::rfc3339_micro(about.received),
            stage_timestamp: apimachinery::time::rfc3339_micro(self.at),
            annotations: &annotations,
        };
        let length = out.len();
        match serde_json::to_writer(&mut *out, &written) {
            Ok(()) => out.push(b'\n'),
            Err(error) => {
                out.truncate(length);
                tracing::error!(%error, audit_id = about.audit_id, "an audit event has no JSON form");
            }
        }
    }

    /// About how much memory it holds.
    pub(super) fn size(&self) -> usize {
        /// Of the parts that are always there.
        const BASE: usize = 1024;
        BASE + self.request.as_ref().map_or(0, |object| weigh(object))
            + self.response.as_ref().map_or(0, weigh)
    }

    fn object_ref(&self) -> Option<ObjectReference<'_>> {
        let (info, noted) = (&self.about.info, &self.noted);
        fn or<'a>(one: &'a str, other: &'a str) -> &'a str {
            if one.is_empty() { other } else { one }
        }
        info.is_resource_request.then(|| ObjectReference {
            resource: &info.resource,
            namespace: or(&info.namespace, &noted.namespace),
            name: or(&info.name, &noted.name),
            uid: &noted.uid,
            api_group: &info.api_group,
            api_version: &info.api_version,
            resource_version: &noted.resource_version,
            subresource: &info.subresource,
        })
    }
}

impl ResponseStatus {
    fn to_value(&self) -> Value {
        match self {
            Self::Code(code) => serde_json::json!({"metadata": {}, "code": code}),
            Self::Failure(status) => {
                let mut value = serde_json::to_value(status).unwrap_or_default();
                if let Some(map) = value.as_object_mut() {
                    map.remove("kind");
                    map.remove("apiVersion");
                }
                value
            }
        }
    }
}

fn weigh(value: &Value) -> usize {
    match value {
        Value::String(text) => 32 + text.len(),
        Value::Array(items) => 32 + items.iter().map(weigh).sum::<usize>(),
        Value::Object(members) => {
            32 + members.iter().map(|(name, value)| 48 + name.len() + weigh(value)).sum::<usize>()
        }
        _ => 32,
    }
}
