//! An APIService (`apiregistration.k8s.io/v1`) as the server needs it.

use std::sync::Arc;

use api::value;
use apimachinery::meta;
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};

use crate::outbound::Endpoint;

/// The port of the Service where none is given.
const DEFAULT_PORT: u16 = 443;

/// A group and version, and who serves it.
#[derive(Debug)]
pub(crate) struct ApiService {
    /// `VERSION.GROUP`.
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    /// Higher groups come first in discovery.
    pub(crate) group_priority: i64,
    /// Higher versions come first in their group.
    pub(crate) version_priority: i64,
    /// Who serves it, if not this server.
    pub(crate) remote: Option<Remote>,
    /// What the object says of it.
    pub(crate) condition: Option<Condition>,
    /// Which object it is, and in which generation of its wishes.
    pub(crate) uid: String,
    spec: Value,
}

/// The Service that answers for a group and version.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: u16,
    /// How it is called, or why it cannot be.
    pub(crate) endpoint: Result<Endpoint, String>,
}

/// The condition `Available`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl ApiService {
    /// Reads an object. Calls to others are made as `identity`.
    pub(crate) fn parse(object: &Value, identity: Option<&Arc<CertifiedKey>>) -> Self {
        let spec = value::field(object, "spec");
        let service = value::field(spec, "service");
        let remote = service.is_object().then(|| Remote {
            namespace: value::text(service, "namespace").to_owned(),
            service: value::text(service, "name").to_owned(),
            port: value::int(service, "port").and_then(|p| u16::try_from(p).ok()).unwrap_or(DEFAULT_PORT),
            endpoint: Endpoint::from_config(spec).map(|mut endpoint| {
                endpoint.identity = identity.cloned();
                endpoint.http2 = true;
                endpoint
            }),
        });
        let conditions = value::list_at(object, &["status", "conditions"]);
        let condition = conditions.iter().find(|condition| value::text(condition, "type") == "Available");
        Self {
            name: meta::name(object).to_owned(),
            group: value::text(spec, "group").to_owned(),
            version: value::text(spec, "version").to_owned(),
            group_priority: value::int(spec, "groupPriorityMinimum").unwrap_or(0),
            version_priority: value::int(spec, "versionPriority").unwrap_or(0),
            remote,
            condition: condition.map(Condition::parse),
            uid: meta::uid(object).to_owned(),
            spec: spec.clone(),
        }
    }

    /// Whether requests are passed on.
    pub(crate) fn is_available(&self) -> bool {
        self.condition.as_ref().is_some_and(|condition| condition.status == "True")
    }

    /// Whether nothing but the status differs.
    pub(super) fn same_spec(&self, other: &Self) -> bool {
        self.uid == other.uid && self.spec == other.spec
    }
}

impl Condition {
    /// What is said of groups that this server serves.
    pub(crate) fn local() -> Self {
        Self::new("True", "Local", "Local APIServices are always available")
    }

    pub(super) fn new(status: &str, reason: &str, message: impl Into<String>) -> Self {
        Self { status: status.to_owned(), reason: reason.to_owned(), message: message.into() }
    }

    fn parse(condition: &Value) -> Self {
        let text = |name| value::text(condition, name).to_owned();
        Self { status: text("status"), reason: text("reason"), message: text("message") }
    }

    /// Writes it into an object; the time of transition changes only with the status.
    pub(super) fn write(&self, object: &mut Value, now: jiff::Timestamp) {
        let old = value::list_at(object, &["status", "conditions"]);
        let same = old.iter().find(|c| value::text(c, "type") == "Available");
        let since = same
            .filter(|c| value::text(c, "status") == self.status)
            .map(|c| value::text(c, "lastTransitionTime").to_owned())
            .filter(|since| !since.is_empty())
            .unwrap_or_else(|| apimachinery::time::rfc3339(now));
        let mut conditions: Vec<Value> =
            old.iter().filter(|c| value::text(c, "type") != "Available").cloned().collect();
        conditions.push(json!({
            "type": "Available", "status": self.status, "lastTransitionTime": since,
            "reason": self.reason, "message": self.message,
        }));
        value::set(object, "status", json!({ "conditions": conditions }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_transition_changes_with_the_status_only() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        let mut object = json!({"metadata": {"name": "v1.a"}, "spec": {"group": "a", "version": "v1"}});
        Condition::new("False", "MissingEndpoints", "x").write(&mut object, at("2026-01-01T00:00:00Z"));
        Condition::new("False", "ServiceNotFound", "y").write(&mut object, at("2026-01-01T00:00:01Z"));
        let condition = &object["status"]["conditions"][0];
        assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(condition["reason"], "ServiceNotFound");
        assert!(!ApiService::parse(&object, None).is_available());
        Condition::local().write(&mut object, at("2026-01-01T00:00:02Z"));
        assert_eq!(object["status"]["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:02Z");
        assert_eq!(object["status"]["conditions"].as_array().unwrap().len(), 1);
        assert!(ApiService::parse(&object, None).is_available());
    }
}
