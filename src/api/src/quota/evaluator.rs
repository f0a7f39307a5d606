//! How the objects of one resource are counted.

use super::{Amounts, Quota, claim, one, pod, resource_claim, service};
use crate::quota::Scopes;
use apimachinery::gvk::GroupResource;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

/// Core resources that quotas may also name without `count/`.
const PLAIN: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

/// Resources that are not limited: not stored, or (events) never were.
const IGNORED: [(&str, &str); 11] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("events.k8s.io", "events"),
    ("policy", "evictions"),
];

/// Counts the objects of one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Evaluator {
    resource: GroupResource,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    Pods,
    Services,
    Claims,
    ResourceClaims,
    /// Every object is one.
    Objects,
}

impl Evaluator {
    /// The evaluator of a resource; `None` when it is not limited.
    pub fn of(resource: &GroupResource) -> Option<Self> {
        let (group, plural) = (resource.group.as_str(), resource.resource.as_str());
        if IGNORED.contains(&(group, plural)) {
            return None;
        }
        let rule = match (group, plural) {
            ("", "pods") => Rule::Pods,
            ("", "services") => Rule::Services,
            ("", "persistentvolumeclaims") => Rule::Claims,
            ("resource.k8s.io", "resourceclaims") => Rule::ResourceClaims,
            _ => Rule::Objects,
        };
        Some(Self { resource: resource.clone(), rule })
    }

    /// The evaluators that some of these names are about.
    pub fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<Self> {
        names.filter_map(Self::of_name).collect()
    }

    fn of_name(name: &str) -> Option<Self> {
        let core = |plural: &str| Self::of(&GroupResource::new("", plural));
        if let Some(counted) = name.strip_prefix("count/") {
            let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
            return Self::of(&GroupResource::new(group, plural));
        }
        if PLAIN.contains(&name) {
            return core(name);
        }
        if service::is_name(name) {
            return core("services");
        }
        if claim::is_name(name) {
            return core("persistentvolumeclaims");
        }
        if resource_claim::is_name(name) {
            return Self::of(&GroupResource::new("resource.k8s.io", "resourceclaims"));
        }
        if pod::is_name(name) { core("pods") } else { None }
    }

    /// The resource.
    pub fn resource(&self) -> &GroupResource {
        &self.resource
    }

    /// Whether its objects have to be looked at; those of others are just counted.
    pub fn reads_objects(&self) -> bool {
        self.rule != Rule::Objects
    }

    /// Whether an update may change what an object uses.
    pub fn counts_updates(&self, subresource: &str) -> bool {
        match self.rule {
            Rule::Pods => subresource == "resize",
            Rule::Services | Rule::Claims => subresource.is_empty(),
            Rule::ResourceClaims | Rule::Objects => false,
        }
    }

    /// Whether usage may become less by an update, and the quota's with it.
    pub fn may_shrink(&self) -> bool {
        self.rule == Rule::Pods
    }

    fn count_name(&self) -> String {
        if self.resource.group.is_empty() {
            format!("count/{}", self.resource.resource)
        } else {
            format!("count/{}.{}", self.resource.resource, self.resource.group)
        }
    }

    /// Whether a quota's name is about these objects.
    pub fn is_about(&self, name: &str) -> bool {
        if name == self.count_name() {
            return true;
        }
        match self.rule {
            Rule::Pods => pod::is_name(name),
            Rule::Services => service::is_name(name),
            Rule::Claims => claim::is_name(name),
            Rule::ResourceClaims => resource_claim::is_name(name),
            Rule::Objects => {
                self.resource.group.is_empty() && PLAIN.contains(&name) && self.resource.resource == name
            }
        }
    }

    /// Whether a quota that the controller has taken up is about this object.
    pub fn matches(&self, quota: &Quota, object: &Value) -> bool {
        quota.hard.keys().any(|name| self.is_about(name)) && self.in_scopes(&quota.scopes, object)
    }

    /// Whether all scopes hold an object. Objects that are only counted are in no scope.
    pub fn in_scopes(&self, scopes: &Scopes, object: &Value) -> bool {
        scopes.iter().all(|scope| match self.rule {
            Rule::Pods => pod::in_scope(scope, object),
            Rule::Claims => claim::in_scope(scope, object),
            Rule::Services | Rule::ResourceClaims | Rule::Objects => false,
        })
    }

    /// Whether an object says all that quotas on these names need.
    ///
    /// # Errors
    /// `must specify limits.cpu for: c`.
    pub fn constraints(&self, hard: &Amounts, object: &Value) -> Result<(), String> {
        match self.rule {
            Rule::Pods => pod::constraints(hard, object),
            _ => Ok(()),
        }
    }

    /// What an object uses.
    pub fn usage(&self, object: &Value, now: Timestamp) -> Amounts {
        let mut usage = match self.rule {
            Rule::Pods => pod::usage(object, now),
            Rule::Services => service::usage(object),
            Rule::Claims => claim::usage(object),
            Rule::ResourceClaims => resource_claim::usage(object),
            Rule::Objects => Amounts::new(),
        };
        usage.insert(self.count_name(), one());
        if self.rule == Rule::Objects && self.is_about(&self.resource.resource) {
            usage.insert(self.resource.resource.clone(), one());
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_lead_to_resources() {
        let found = |name: &str| {
            Evaluator::of_name(name).map(|e| format!("{}.{}", e.resource().resource, e.resource().group))
        };
        for (name, expected) in [
            ("secrets", Some("secrets.")),
            ("count/deployments.apps", Some("deployments.apps")),
            ("count/widgets.example.com", Some("widgets.example.com")),
            ("services.nodeports", Some("services.")),
            ("fast.storageclass.storage.k8s.io/requests.storage", Some("persistentvolumeclaims.")),
            ("gpu.deviceclass.resource.k8s.io/devices", Some("resourceclaims.resource.k8s.io")),
            ("requests.nvidia.com/gpu", Some("pods.")),
            ("hugepages-2Mi", Some("pods.")),
            ("count/events", None),
            ("storage", None),
        ] {
            assert_eq!(found(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn plain_objects_count_under_both_of_their_names_and_in_no_scope() {
        let secrets = Evaluator::of(&GroupResource::new("", "secrets")).unwrap();
        let usage = secrets.usage(&json!({}), Timestamp::UNIX_EPOCH);
        assert_eq!(super::super::pretty(&usage), "count/secrets=1,secrets=1");
        let quota = |spec: Value| {
            Quota::from(
                json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": {"secrets": "1"}}}),
            )
        };
        assert!(secrets.matches(&quota(json!({})), &json!({})));
        assert!(!secrets.matches(&quota(json!({"scopes": ["BestEffort"]})), &json!({})));
    }
}
