//! What is asked of an authorizer, and its answer.

use async_trait::async_trait;

use super::rule::Rule;
use crate::authentication::UserInfo;
use crate::endpoints::RequestInfo;

/// An authorizer's answer. The string is the reason, for audit logs and error messages; may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request may proceed.
    Allow(String),
    /// The request is refused and no other authorizer is asked.
    Deny(String),
    /// Another authorizer decides; refused if none allows.
    NoOpinion(String),
}

impl Decision {
    /// Was the request allowed?
    pub fn allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// The reason, whatever the answer.
    pub fn reason(&self) -> &str {
        match self {
            Self::Allow(reason) | Self::Deny(reason) | Self::NoOpinion(reason) => reason,
        }
    }
}

/// One request as authorizers see it. Empty strings where a part does not apply.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// `get`, `list`, `watch`, `create`, ... or the lower-case HTTP method of a non-resource request.
    pub verb: &'a str,
    /// Namespace of the object; empty for cluster-scoped resources and for requests over all namespaces.
    pub namespace: &'a str,
    /// API group, empty for the core group.
    pub api_group: &'a str,
    /// API version within the group.
    pub api_version: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// Subresource name, such as `status`.
    pub subresource: &'a str,
    /// Name of the object; empty for lists and creates.
    pub name: &'a str,
    /// URL path, for non-resource requests.
    pub path: &'a str,
    /// Field selector of a list, watch or deletecollection, as given: the Node authorizer goes by it.
    pub field_selector: &'a str,
    /// Label selector of a list, watch or deletecollection, as given.
    pub label_selector: &'a str,
    /// Is it a request for an API resource, rather than for a path such as /healthz?
    pub resource_request: bool,
}

impl<'a> Attributes<'a> {
    /// Attributes of a non-resource request.
    pub fn non_resource(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self {
            user,
            verb,
            namespace: "",
            api_group: "",
            api_version: "",
            resource: "",
            subresource: "",
            name: "",
            path,
            field_selector: "",
            label_selector: "",
            resource_request: false,
        }
    }

    /// Attributes of a request.
    pub fn of(user: &'a UserInfo, info: &'a RequestInfo) -> Self {
        if !info.is_resource_request {
            return Self::non_resource(user, &info.verb, &info.path);
        }
        Self {
            user,
            verb: &info.verb,
            namespace: &info.namespace,
            api_group: &info.api_group,
            api_version: &info.api_version,
            resource: &info.resource,
            subresource: &info.subresource,
            name: &info.name,
            path: &info.path,
            field_selector: &info.field_selector,
            label_selector: &info.label_selector,
            resource_request: true,
        }
    }

    /// Does the request read only (`get`, `list` or `watch`)?
    pub fn is_read_only(&self) -> bool {
        matches!(self.verb, "get" | "list" | "watch")
    }
}

/// What a user may do in a namespace, as far as an authorizer can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedRules {
    /// What is allowed.
    pub rules: Vec<Rule>,
    /// Why there may be more than that; empty when the rules are complete.
    pub errors: Vec<String>,
}

/// Decides whether a request may proceed.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Decides on one request. Never fails: an error inside is `NoOpinion` with the error as its reason.
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// What it allows a user in a namespace and cluster-wide, for SelfSubjectRulesReview.
    fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> ResolvedRules {
        ResolvedRules::default()
    }
}
