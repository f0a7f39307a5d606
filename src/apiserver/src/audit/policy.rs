//! The audit policy: the first rule that matches a request says how much is told of it.

use crate::authentication::UserInfo;
use crate::endpoints::RequestInfo;
use apimachinery::decode;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// How much is told of a request.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what and when.
    Metadata,
    /// The object of the request too.
    Request,
    /// That and the object of the response.
    RequestResponse,
}

impl Level {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Metadata, Self::Request, Self::RequestResponse];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// When an event is told.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) enum Stage {
    /// The request is here.
    RequestReceived,
    /// The head of the answer is sent; only of requests that last long.
    ResponseStarted,
    /// All of the answer is sent.
    ResponseComplete,
    /// It was never answered as it should have been.
    Panic,
}

impl Stage {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// What a policy says of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) omit_stages: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the audit policy file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// It is no policy.
    #[error("the audit policy is not valid: {reason}")]
    Invalid {
        /// What was found.
        reason: String,
    },
}

/// An audit policy (`audit.k8s.io/v1` Policy).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// When it cannot be read or is no policy.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PolicyError::File { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let invalid = |reason: String| PolicyError::Invalid { reason };
        let policy: Self = decode::from_yaml(text).map_err(|e| invalid(e.to_string()))?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            let (version, kind) = (&policy.api_version, &policy.kind);
            return Err(invalid(format!("it is {version} {kind}, not audit.k8s.io/v1 Policy")));
        }
        if policy.rules.is_empty() {
            return Err(invalid("rules: Required value: a policy has to have at least one rule".to_owned()));
        }
        for (n, rule) in policy.rules.iter().enumerate() {
            let of_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
            if of_resources && !rule.non_resource_urls.is_empty() {
                return Err(invalid(format!(
                    "rules[{n}].nonResourceURLs: Invalid value: rules cannot apply to both regular resources and \
                     non-resource URLs"
                )));
            }
            for url in &rule.non_resource_urls {
                let star = url.trim_end_matches('*');
                if url != "*" && (!url.starts_with('/') || star.contains('*')) {
                    return Err(invalid(format!(
                        "rules[{n}].nonResourceURLs: Invalid value: {url:?}: non-resource URL rules have to begin \
                         with '/' and may end with '*'"
                    )));
                }
            }
        }
        Ok(policy)
    }

    /// What is to be told of a request. `user` is who sent it, not whom they act as.
    pub(super) fn verdict(&self, user: &UserInfo, info: &RequestInfo) -> Verdict {
        match self.rules.iter().find(|rule| rule.matches(user, info)) {
            None => Verdict { omit_stages: self.omit_stages.clone(), ..Verdict::default() },
            Some(rule) => Verdict {
                level: rule.level,
                omit_stages: [self.omit_stages.as_slice(), &rule.omit_stages].concat(),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
            },
        }
    }
}

impl Rule {
    fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        let may = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
        if !may(&self.users, &user.name) || !may(&self.verbs, &info.verb) {
            return false;
        }
        if !self.user_groups.is_empty() && !self.user_groups.iter().any(|group| user.in_group(group)) {
            return false;
        }
        if !self.resources.is_empty() || !self.namespaces.is_empty() {
            return info.is_resource_request
                && may(&self.namespaces, &info.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|group| group.matches(info)));
        }
        if !self.non_resource_urls.is_empty() {
            return !info.is_resource_request
                && self.non_resource_urls.iter().any(|url| match url.strip_suffix('*') {
                    Some(prefix) => info.path.starts_with(prefix),
                    None => *url == info.path,
                });
        }
        true
    }
}

impl GroupResources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.api_group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named = self.resource_names.is_empty() || self.resource_names.contains(&info.name);
        named
            && self.resources.iter().any(|wanted| match wanted.split_once('/') {
                None => wanted == "*" || (info.subresource.is_empty() && *wanted == info.resource),
                Some((resource, "*")) => resource == info.resource,
                Some(("*", subresource)) => subresource == info.subresource,
                Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Policy {
        Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}")).unwrap()
    }

    fn level(policy: &Policy, user: &UserInfo, method: &str, uri: &str) -> Level {
        policy.verdict(user, &RequestInfo::parse(&method.parse().unwrap(), &uri.parse().unwrap())).level
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = policy(
            "- {level: None, users: ['system:kube-proxy'], verbs: [watch], resources: [{group: '', resources: [endpoints]}]}\n\
             - {level: None, nonResourceURLs: ['/healthz*', /version]}\n\
             - {level: Metadata, resources: [{group: '', resources: [secrets, 'pods/log', 'services/*']}]}\n\
             - {level: Request, namespaces: [kube-system], resources: [{group: '', resources: [configmaps], resourceNames: [a]}]}\n\
             - {level: RequestResponse, userGroups: ['system:masters']}\n",
        );
        let (admin, jane) = (UserInfo::admin(), UserInfo::new("jane", &[]));
        for (user, method, uri, expected) in [
            (&UserInfo::new("system:kube-proxy", &[]), "GET", "/api/v1/endpoints?watch=1", Level::None),
            (&admin, "GET", "/healthz/etcd", Level::None),
            (&admin, "GET", "/version/", Level::RequestResponse),
            (&jane, "GET", "/api/v1/namespaces/a/secrets", Level::Metadata),
            (&jane, "GET", "/api/v1/namespaces/a/pods/b/log", Level::Metadata),
            (&jane, "GET", "/api/v1/namespaces/a/pods/b", Level::None),
            (&jane, "GET", "/api/v1/namespaces/a/services/b/status", Level::Metadata),
            (&jane, "GET", "/api/v1/namespaces/kube-system/configmaps/a", Level::Request),
            (&jane, "GET", "/api/v1/namespaces/kube-system/configmaps/b", Level::None),
            (&jane, "GET", "/api/v1/namespaces/a/configmaps/a", Level::None),
            (&admin, "GET", "/api/v1/namespaces/a/configmaps/a", Level::RequestResponse),
        ] {
            assert_eq!(level(&policy, user, method, uri), expected, "{} {method} {uri}", user.name);
        }
    }

    #[test]
    fn omissions_of_rule_and_policy_are_put_together() {
        let policy = Policy::parse(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nomitManagedFields: true\n\
             rules: [{level: Metadata, users: [jane], omitStages: [ResponseStarted], omitManagedFields: false}, {level: Metadata}]",
        )
        .unwrap();
        let info = RequestInfo::default();
        let jane = policy.verdict(&UserInfo::new("jane", &[]), &info);
        assert_eq!(jane.omit_stages, [Stage::RequestReceived, Stage::ResponseStarted]);
        assert!(!jane.omit_managed_fields);
        let other = policy.verdict(&UserInfo::new("joe", &[]), &info);
        assert_eq!((other.omit_stages, other.omit_managed_fields), (vec![Stage::RequestReceived], true));
    }

    #[test]
    fn what_is_no_policy_is_refused_with_its_place() {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        for (text, told) in [
            ("kind: Policy".to_owned(), "not audit.k8s.io/v1 Policy"),
            (head.to_owned(), "at least one rule"),
            (format!("{head}rules: [{{level: Loud}}]"), "Loud"),
            (format!("{head}rules: [{{level: None, namespaces: [a], nonResourceURLs: [/a]}}]"), "rules[0]"),
            (format!("{head}rules: [{{level: None, nonResourceURLs: [a]}}]"), "begin with '/'"),
        ] {
            let error = Policy::parse(&text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
