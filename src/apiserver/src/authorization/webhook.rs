//! The webhook authorizer: asks a server by SubjectAccessReview, and remembers what it said.
//!
//! Upstream counterpart: `k8s.io/apiserver/plugin/pkg/authorizer/webhook`.

use std::time::Duration;

use apimachinery::fields::FieldSelector;
use apimachinery::labels::{Operator, Selector};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::attributes::{Attributes, Authorizer, Decision, ResolvedRules};
use super::conditions::{Conditions, Matched};
use crate::authentication::UserInfo;
use crate::cached::Expiring;
use crate::remote::Remote;

/// Upstream's bounds: answers that are remembered, and bytes of what is asked by a caller, beyond which answers are
/// not.
const REMEMBERED: usize = 8192;
const LONGEST: usize = 10_000;

/// What an authorizer says when it cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailurePolicy {
    /// The next authorizer decides.
    NoOpinion,
    /// The request is refused.
    Deny,
}

/// How answers are asked for and kept.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// `v1` or `v1beta1`.
    pub(super) version: String,
    /// How long permissions are remembered.
    pub(super) authorized: Duration,
    /// How long refusals are remembered.
    pub(super) unauthorized: Duration,
    /// What is said when there is no answer.
    pub(super) failure: FailurePolicy,
}

/// See the module.
pub(super) struct WebhookAuthorizer {
    remote: Remote,
    settings: Settings,
    conditions: Conditions,
    decisions: Expiring<String, Decision>,
}

impl WebhookAuthorizer {
    pub(super) fn new(remote: Remote, settings: Settings, conditions: Conditions) -> Self {
        Self { remote, settings, conditions, decisions: Expiring::new(REMEMBERED) }
    }

    fn failed(&self, why: String) -> Decision {
        match self.settings.failure {
            FailurePolicy::NoOpinion => Decision::NoOpinion(why),
            FailurePolicy::Deny => Decision::Deny(why),
        }
    }
}

#[async_trait]
impl Authorizer for WebhookAuthorizer {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let spec = spec(attributes, &self.settings.version);
        match self.conditions.matches(&spec) {
            Matched::Yes => {}
            Matched::No => return Decision::NoOpinion(String::new()),
            Matched::Error(why) => return self.failed(why),
        }
        let key = spec.to_string();
        if let Some(decision) = self.decisions.get(&key) {
            return decision;
        }
        let review = json!({
            "kind": "SubjectAccessReview",
            "apiVersion": format!("authorization.k8s.io/{}", self.settings.version),
            "metadata": {"creationTimestamp": null},
            "spec": spec,
            "status": {"allowed": false},
        });
        let answer = match self.remote.review(&review).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(%error, "the authorization webhook has failed");
                return self.failed(error.to_string());
            }
        };
        let decision = decision(&answer);
        if length(attributes) < LONGEST {
            let lifetime =
                if decision.allowed() { self.settings.authorized } else { self.settings.unauthorized };
            self.decisions.put(key, decision.clone(), lifetime);
        }
        decision
    }

    fn rules_for(&self, _: &UserInfo, _: &str) -> ResolvedRules {
        let why = "webhook authorizer does not support user rule resolution".to_owned();
        ResolvedRules { rules: Vec::new(), errors: vec![why] }
    }
}

fn decision(answer: &Value) -> Decision {
    let status = answer.get("status");
    let is = |field: &str| status.and_then(|s| s.get(field)).and_then(Value::as_bool).unwrap_or(false);
    let reason = status.and_then(|s| s.get("reason")).and_then(Value::as_str).unwrap_or("").to_owned();
    match (is("allowed"), is("denied")) {
        (true, true) => {
            Decision::Deny("webhook subject access review returned both allow and deny response".into())
        }
        (false, true) => Decision::Deny(reason),
        (true, false) => Decision::Allow(reason),
        (false, false) => Decision::NoOpinion(reason),
    }
}

/// What a caller can make long at will.
fn length(attributes: &Attributes<'_>) -> usize {
    let parts = [
        attributes.namespace,
        attributes.verb,
        attributes.api_group,
        attributes.api_version,
        attributes.resource,
        attributes.subresource,
        attributes.name,
        attributes.path,
        attributes.field_selector,
        attributes.label_selector,
    ];
    parts.iter().map(|part| part.len()).sum()
}

/// The `spec` of a SubjectAccessReview; empty fields are left out.
pub(super) fn spec(attributes: &Attributes<'_>, version: &str) -> Value {
    let mut spec = json!({});
    let what = if attributes.resource_request {
        let mut what = texts(&[
            ("namespace", attributes.namespace),
            ("verb", attributes.verb),
            ("group", attributes.api_group),
            ("version", attributes.api_version),
            ("resource", attributes.resource),
            ("subresource", attributes.subresource),
            ("name", attributes.name),
        ]);
        if let Some(requirements) = field_requirements(attributes.field_selector) {
            api::value::set(&mut what, "fieldSelector", json!({ "requirements": requirements }));
        }
        if let Some(requirements) = label_requirements(attributes.label_selector) {
            api::value::set(&mut what, "labelSelector", json!({ "requirements": requirements }));
        }
        ("resourceAttributes", what)
    } else {
        ("nonResourceAttributes", texts(&[("path", attributes.path), ("verb", attributes.verb)]))
    };
    api::value::set(&mut spec, what.0, what.1);
    let user = attributes.user;
    if !user.name.is_empty() {
        api::value::set(&mut spec, "user", user.name.as_str());
    }
    if !user.groups.is_empty() {
        // The first version called them so.
        let field = if version == "v1beta1" { "group" } else { "groups" };
        api::value::set(&mut spec, field, user.groups.clone());
    }
    if !user.extra.is_empty() {
        api::value::set(&mut spec, "extra", json!(user.extra));
    }
    if !user.uid.is_empty() {
        api::value::set(&mut spec, "uid", user.uid.as_str());
    }
    spec
}

fn texts(fields: &[(&str, &str)]) -> Value {
    let given = fields.iter().filter(|(_, value)| !value.is_empty());
    given
        .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn field_requirements(selector: &str) -> Option<Vec<Value>> {
    let parsed = FieldSelector::parse(selector).ok().filter(|selector| !selector.terms.is_empty())?;
    let requirement = |term: &apimachinery::fields::Term| {
        let operator = if term.equal { "In" } else { "NotIn" };
        json!({"key": term.field, "operator": operator, "values": [term.value]})
    };
    Some(parsed.terms.iter().map(requirement).collect())
}

fn label_requirements(selector: &str) -> Option<Vec<Value>> {
    let parsed = Selector::parse(selector).ok().filter(|selector| !selector.requirements.is_empty())?;
    let requirements = parsed.requirements.iter().filter_map(|requirement| {
        let operator = match requirement.operator {
            Operator::In | Operator::Equals => "In",
            Operator::NotIn | Operator::NotEquals => "NotIn",
            Operator::Exists => return Some(json!({"key": requirement.key, "operator": "Exists"})),
            Operator::DoesNotExist => {
                return Some(json!({"key": requirement.key, "operator": "DoesNotExist"}));
            }
            // Upstream leaves out what it cannot say: the review is then wider than the request.
            _ => return None,
        };
        Some(json!({"key": requirement.key, "operator": operator, "values": requirement.values}))
    });
    Some(requirements.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_says_what_the_request_is_and_no_more() {
        let mut user = UserInfo::new("jane", &["dev"]);
        user.extra.insert("k".into(), vec!["v".into()]);
        let attributes = Attributes {
            verb: "list",
            namespace: "ns",
            api_version: "v1",
            resource: "pods",
            field_selector: "spec.nodeName=a,status.phase!=Failed",
            label_selector: "app in (a,b),!old",
            resource_request: true,
            ..Attributes::non_resource(&user, "", "/api/v1/namespaces/ns/pods")
        };
        assert_eq!(
            spec(&attributes, "v1"),
            json!({
                "resourceAttributes": {
                    "namespace": "ns", "verb": "list", "version": "v1", "resource": "pods",
                    "fieldSelector": {"requirements": [
                        {"key": "spec.nodeName", "operator": "In", "values": ["a"]},
                        {"key": "status.phase", "operator": "NotIn", "values": ["Failed"]}]},
                    "labelSelector": {"requirements": [
                        {"key": "app", "operator": "In", "values": ["a", "b"]},
                        {"key": "old", "operator": "DoesNotExist"}]},
                },
                "user": "jane", "groups": ["dev", "system:authenticated"], "extra": {"k": ["v"]},
            })
        );
        let path = Attributes::non_resource(&user, "get", "/metrics");
        assert_eq!(
            spec(&path, "v1beta1")["nonResourceAttributes"],
            json!({"path": "/metrics", "verb": "get"})
        );
        assert_eq!(spec(&path, "v1beta1")["group"], json!(["dev", "system:authenticated"]));
    }

    #[test]
    fn an_answer_that_says_both_is_a_refusal() {
        let answer = |status: Value| decision(&json!({ "status": status }));
        assert_eq!(answer(json!({"allowed": true, "reason": "r"})), Decision::Allow("r".into()));
        assert_eq!(answer(json!({"denied": true})), Decision::Deny(String::new()));
        assert_eq!(answer(json!({"allowed": false})), Decision::NoOpinion(String::new()));
        assert!(matches!(answer(json!({"allowed": true, "denied": true})), Decision::Deny(_)));
        assert_eq!(decision(&json!({})), Decision::NoOpinion(String::new()));
    }
}
