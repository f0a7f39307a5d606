//! Which requests a FlowSchema matches.

use crate::authentication::{SERVICE_ACCOUNT_USER_PREFIX, UserInfo};
use crate::endpoints::RequestInfo;
use k8s_openapi::api::flowcontrol::v1::{
    NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};

/// Stands for everything.
const ALL: &str = "*";

/// One of a FlowSchema's `rules`: somebody does something.
#[derive(Debug)]
pub(super) struct Rule {
    who: Vec<Who>,
    resources: Vec<Resources>,
    paths: Vec<Paths>,
}

#[derive(Debug)]
enum Who {
    User(Name),
    Group(Name),
    /// The common beginning of all names, or the one name.
    ServiceAccounts(String),
    ServiceAccount(String),
}

/// One name, or all.
#[derive(Debug)]
enum Name {
    All,
    Is(String),
}

/// Several names, or all.
#[derive(Debug)]
enum Names {
    All,
    In(Vec<String>),
}

#[derive(Debug)]
struct Resources {
    verbs: Names,
    groups: Names,
    resources: Names,
    cluster_scope: bool,
    namespaces: Names,
}

#[derive(Debug)]
struct Paths {
    verbs: Names,
    paths: Names,
}

impl Name {
    fn new(text: String) -> Self {
        if text == ALL { Self::All } else { Self::Is(text) }
    }

    fn is(&self, text: &str) -> bool {
        match self {
            Self::All => true,
            Self::Is(name) => name == text,
        }
    }
}

impl Names {
    fn new(names: Vec<String>) -> Self {
        if names.iter().any(|name| name == ALL) { Self::All } else { Self::In(names) }
    }

    fn any(&self, matches: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::In(names) => names.iter().any(|name| matches(name)),
        }
    }

    fn has(&self, text: &str) -> bool {
        self.any(|name| name == text)
    }
}

impl Rule {
    /// Reads a rule.
    pub(super) fn new(rule: PolicyRulesWithSubjects) -> Self {
        Self {
            who: rule.subjects.into_iter().filter_map(Who::new).collect(),
            resources: rule.resource_rules.unwrap_or_default().into_iter().map(Resources::new).collect(),
            paths: rule.non_resource_rules.unwrap_or_default().into_iter().map(Paths::new).collect(),
        }
    }

    /// Whether a request is one of these.
    pub(super) fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        self.who.iter().any(|who| who.is(user))
            && if info.is_resource_request {
                self.resources.iter().any(|rule| rule.matches(info))
            } else {
                self.paths.iter().any(|rule| rule.matches(info))
            }
    }
}

impl Who {
    fn new(subject: Subject) -> Option<Self> {
        if let Some(user) = subject.user {
            return Some(Self::User(Name::new(user.name)));
        }
        if let Some(group) = subject.group {
            return Some(Self::Group(Name::new(group.name)));
        }
        let account = subject.service_account?;
        let all = format!("{SERVICE_ACCOUNT_USER_PREFIX}{}:", account.namespace);
        Some(match account.name.as_str() {
            ALL => Self::ServiceAccounts(all),
            name => Self::ServiceAccount(all + name),
        })
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => name.is(&user.name),
            Self::Group(group) => user.groups.iter().any(|other| group.is(other)),
            Self::ServiceAccounts(prefix) => user.name.starts_with(prefix),
            Self::ServiceAccount(name) => user.name == *name,
        }
    }
}

impl Resources {
    fn new(rule: ResourcePolicyRule) -> Self {
        Self {
            verbs: Names::new(rule.verbs),
            groups: Names::new(rule.api_groups),
            resources: Names::new(rule.resources),
            cluster_scope: rule.cluster_scope.unwrap_or(false),
            namespaces: Names::new(rule.namespaces.unwrap_or_default()),
        }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        let in_scope =
            if info.namespace.is_empty() { self.cluster_scope } else { self.namespaces.has(&info.namespace) };
        in_scope
            && self.verbs.has(&info.verb)
            && self.groups.has(&info.api_group)
            && self.resources.any(|name| match name.split_once('/') {
                None => info.subresource.is_empty() && name == info.resource,
                Some((resource, subresource)) => resource == info.resource && subresource == info.subresource,
            })
    }
}

impl Paths {
    fn new(rule: NonResourcePolicyRule) -> Self {
        Self { verbs: Names::new(rule.verbs), paths: Names::new(rule.non_resource_urls) }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        self.verbs.has(&info.verb)
            && self.paths.any(|path| match path.strip_suffix(ALL) {
                Some(prefix) => info.path.starts_with(prefix),
                None => path == info.path,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rule(value: Value) -> Rule {
        Rule::new(serde_json::from_value(value).unwrap())
    }

    fn info(method: &str, uri: &str) -> RequestInfo {
        RequestInfo::parse(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn subjects_are_users_groups_and_service_accounts() {
        let who = |subject: Value| {
            rule(
                json!({"subjects": [subject], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}),
            )
        };
        let account = UserInfo::service_account("a", "builder", "");
        let path = info("GET", "/version");
        for (subject, matches) in [
            (json!({"kind": "User", "user": {"name": "*"}}), true),
            (json!({"kind": "User", "user": {"name": "system:serviceaccount:a:builder"}}), true),
            (json!({"kind": "User", "user": {"name": "builder"}}), false),
            (json!({"kind": "Group", "group": {"name": "system:serviceaccounts:a"}}), true),
            (json!({"kind": "Group", "group": {"name": "system:serviceaccounts:b"}}), false),
            (json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "a", "name": "*"}}), true),
            (json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "a", "name": "build"}}), false),
            (json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "", "name": "*"}}), false),
        ] {
            assert_eq!(who(subject.clone()).matches(&account, &path), matches, "{subject}");
        }
    }

    #[test]
    fn resources_go_by_verb_group_subresource_and_scope() {
        let rule = rule(json!({
            "subjects": [{"kind": "User", "user": {"name": "*"}}],
            "resourceRules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/status"],
                "namespaces": ["a"]}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics", "/debug/*"]}],
        }));
        let user = UserInfo::new("jane", &[]);
        for (method, uri, matches) in [
            ("GET", "/api/v1/namespaces/a/pods", true),
            ("GET", "/api/v1/namespaces/a/pods/x/status", true),
            ("GET", "/api/v1/namespaces/a/pods/x/log", false),
            ("DELETE", "/api/v1/namespaces/a/pods/x", false),
            ("GET", "/api/v1/namespaces/b/pods", false),
            ("GET", "/api/v1/pods", false),
            ("GET", "/apis/metrics.k8s.io/v1/namespaces/a/pods", false),
            ("GET", "/metrics", true),
            ("GET", "/debug/x", true),
            ("GET", "/metrics/slis", false),
        ] {
            assert_eq!(rule.matches(&user, &info(method, uri)), matches, "{method} {uri}");
        }
    }
}
