//! ABAC: a file with a policy in each line, read once at the start.
//!
//! Upstream counterpart: `pkg/auth/authorizer/abac`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/abac/>

use std::path::Path;

use async_trait::async_trait;
use serde::Deserialize;

use super::attributes::{Attributes, Authorizer, Decision, ResolvedRules};
use super::rule::Rule;
use crate::authentication::{GROUP_AUTHENTICATED, UserInfo};
use crate::settings_file::ConfigurationError;

const API_VERSION: &str = "abac.authorization.kubernetes.io/v1beta1";
const KIND: &str = "Policy";
const ALL: &str = "*";

/// The policies of a file.
pub(super) struct Abac {
    policies: Vec<Policy>,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    spec: Policy,
}

/// A line of the form before versions: it says less, and what it does not say is everything.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Unversioned {
    user: String,
    group: String,
    readonly: bool,
    resource: String,
    namespace: String,
}

impl From<Unversioned> for Policy {
    fn from(old: Unversioned) -> Self {
        let Unversioned { user, group, readonly, resource, namespace } = old;
        let or_all = |text: &str| if text.is_empty() { ALL.to_owned() } else { text.to_owned() };
        let everybody = user.is_empty() && group.is_empty();
        Self {
            group: if everybody { ALL.to_owned() } else { group },
            user,
            readonly,
            api_group: ALL.to_owned(),
            non_resource_path: match (resource.as_str(), namespace.as_str()) {
                ("", "") => ALL.to_owned(),
                _ => String::new(),
            },
            resource: or_all(&resource),
            namespace: or_all(&namespace),
        }
    }
}

/// Who may do what. Empty text names nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Policy {
    user: String,
    group: String,
    /// Only reading is allowed.
    readonly: bool,
    api_group: String,
    resource: String,
    namespace: String,
    non_resource_path: String,
}

impl Abac {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or a line is no policy.
    pub(super) fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigurationError::Parse(format!("{}: {error}", path.display())))?;
        Self::parse(&text).map_err(|why| ConfigurationError::Parse(format!("{}: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let policies = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(
            |(number, line)| -> Result<Policy, String> {
                let wrong = |why: String| format!("line {}: {why}", number + 1);
                let read: serde_json::Value =
                    serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
                let says =
                    |field: &str| read.get(field).and_then(|v| v.as_str()).is_some_and(|v| !v.is_empty());
                if !(says("apiVersion") && says("kind")) {
                    let old: Unversioned =
                        serde_json::from_value(read).map_err(|error| wrong(error.to_string()))?;
                    return Ok(Policy::from(old).for_everybody());
                }
                let line: Line = serde_json::from_value(read).map_err(|error| wrong(error.to_string()))?;
                if line.api_version != API_VERSION || line.kind != KIND {
                    return Err(wrong(format!("it is no {KIND} of {API_VERSION}")));
                }
                Ok(line.spec.for_everybody())
            },
        );
        Ok(Self { policies: policies.collect::<Result<_, _>>()? })
    }
}

impl Policy {
    /// `*` means everybody who is authenticated.
    fn for_everybody(mut self) -> Self {
        if self.user == ALL || self.group == ALL {
            self.user.clear();
            GROUP_AUTHENTICATED.clone_into(&mut self.group);
        }
        self
    }

    fn is_about(&self, user: &UserInfo) -> bool {
        (!self.user.is_empty() || !self.group.is_empty())
            && (self.user.is_empty() || self.user == user.name)
            && (self.group.is_empty() || user.in_group(&self.group))
    }

    fn allows(&self, attributes: &Attributes<'_>) -> bool {
        let is = |wanted: &str, asked: &str| wanted == ALL || wanted == asked;
        if !self.is_about(attributes.user) || (self.readonly && !attributes.is_read_only()) {
            return false;
        }
        if attributes.resource_request {
            // Empty text is the core group and no namespace, as requests have it.
            return is(&self.namespace, attributes.namespace)
                && is(&self.resource, attributes.resource)
                && is(&self.api_group, attributes.api_group);
        }
        match self.non_resource_path.strip_suffix(ALL) {
            Some(beginning) => attributes.path.starts_with(beginning),
            None => self.non_resource_path == attributes.path,
        }
    }

    fn rules(&self) -> Vec<Rule> {
        let verbs: &[&str] = if self.readonly { &["get", "list", "watch"] } else { &[ALL] };
        let rule = Rule { verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(), ..Rule::default() };
        let mut rules = Vec::new();
        if !self.resource.is_empty() {
            rules.push(Rule {
                api_groups: vec![self.api_group.clone()],
                resources: vec![self.resource.clone()],
                ..rule.clone()
            });
        }
        if !self.non_resource_path.is_empty() {
            rules.push(Rule { non_resource_urls: vec![self.non_resource_path.clone()], ..rule });
        }
        rules
    }
}

#[async_trait]
impl Authorizer for Abac {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if self.policies.iter().any(|policy| policy.allows(attributes)) {
            Decision::Allow(String::new())
        } else {
            Decision::NoOpinion("No policy matched.".into())
        }
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> ResolvedRules {
        let here = self.policies.iter().filter(|policy| {
            policy.is_about(user) && (policy.namespace == ALL || policy.namespace == namespace)
        });
        ResolvedRules { rules: here.flat_map(Policy::rules).collect(), errors: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICIES: &str = r#"
# Who may do what.
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "alice", "namespace": "*", "resource": "*", "apiGroup": "*"}}
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "bob", "namespace": "projects", "resource": "pods", "readonly": true}}
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "*", "readonly": true, "nonResourcePath": "/version*"}}
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "carl", "group": "ops", "namespace": "*", "resource": "nodes"}}
"#;

    fn ask<'a>(user: &'a UserInfo, verb: &'a str, namespace: &'a str, resource: &'a str) -> Attributes<'a> {
        Attributes { namespace, resource, resource_request: true, ..Attributes::non_resource(user, verb, "") }
    }

    #[tokio::test]
    async fn a_line_allows_what_it_says() {
        let abac = Abac::parse(POLICIES).unwrap();
        let user = |name: &str, groups: &[&str]| UserInfo::new(name, groups);
        let (alice, bob) = (user("alice", &[]), user("bob", &[]));
        let nobody = UserInfo { groups: Vec::new(), ..user("nobody", &[]) };
        let (carl, other) = (user("carl", &["ops"]), user("carl", &[]));
        for (attributes, expected) in [
            (ask(&alice, "delete", "any", "secrets"), true),
            (Attributes { api_group: "apps", ..ask(&alice, "create", "any", "deployments") }, true),
            (ask(&bob, "list", "projects", "pods"), true),
            (ask(&bob, "create", "projects", "pods"), false),
            (ask(&bob, "list", "other", "pods"), false),
            (Attributes { api_group: "metrics.k8s.io", ..ask(&bob, "list", "projects", "pods") }, false),
            (Attributes::non_resource(&bob, "get", "/version/"), true),
            (Attributes::non_resource(&bob, "get", "/healthz"), false),
            (Attributes::non_resource(&alice, "get", "/version"), true),
            (Attributes::non_resource(&nobody, "get", "/version"), false),
            (ask(&carl, "get", "", "nodes"), true),
            (ask(&other, "get", "", "nodes"), false),
        ] {
            assert_eq!(abac.authorize(&attributes).await.allowed(), expected, "{attributes:?}");
        }
        let rules = abac.rules_for(&bob, "projects").rules;
        assert_eq!(rules.len(), 1);
        assert_eq!((rules[0].verbs.len(), rules[0].resources[0].as_str()), (3, "pods"));
    }

    #[tokio::test]
    async fn lines_without_a_version_allow_all_that_they_do_not_name() {
        let abac = |line: &str| Abac::parse(line).unwrap();
        let (jane, joe) = (UserInfo::new("jane", &["dev"]), UserInfo::new("joe", &[]));
        let allowed =
            async |line: &str, attributes: &Attributes<'_>| abac(line).authorize(attributes).await.allowed();
        let apps = Attributes { api_group: "apps", ..ask(&jane, "create", "a", "deployments") };
        assert!(allowed(r#"{"user": "jane"}"#, &apps).await);
        assert!(allowed(r#"{"user": "jane"}"#, &Attributes::non_resource(&jane, "get", "/x")).await);
        assert!(!allowed(r#"{"user": "jane"}"#, &ask(&joe, "get", "a", "pods")).await);
        assert!(allowed("{}", &ask(&joe, "get", "a", "pods")).await);
        let dev = r#"{"group": "dev", "namespace": "a", "readonly": true}"#;
        assert!(allowed(dev, &ask(&jane, "get", "a", "pods")).await);
        assert!(!allowed(dev, &ask(&jane, "create", "a", "pods")).await);
        assert!(!allowed(dev, &ask(&jane, "get", "b", "pods")).await);
        assert!(!allowed(dev, &Attributes::non_resource(&jane, "get", "/x")).await);
        assert!(!allowed(r#"{"resource": "pods"}"#, &ask(&jane, "get", "b", "secrets")).await);
    }

    #[test]
    fn lines_that_are_no_policies_are_told() {
        let why = |text: &str| Abac::parse(text).err().unwrap_or_default();
        assert!(why("\n{").starts_with("line 2: "));
        assert!(why(r#"{"user": 1}"#).starts_with("line 1: invalid type"));
        assert_eq!(
            why(r#"{"apiVersion": "v1", "kind": "Policy", "spec": {}}"#),
            "line 1: it is no Policy of abac.authorization.kubernetes.io/v1beta1"
        );
    }
}
