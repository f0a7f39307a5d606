//! The notation of the tables: words separated by spaces.

use serde_json::{Map, Value, json};

use crate::authorization::Rule;

/// Stands for the core group, whose name is empty.
const CORE: &str = "core";

/// `get list watch`
pub(super) const READ: &str = "get list watch";
/// What changes objects.
pub(super) const WRITE: &str = "create update patch delete deletecollection";
/// Both.
pub(super) const READ_WRITE: &str = "get list watch create update patch delete deletecollection";

/// A rule in the notation of the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaticRule {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
    urls: &'static str,
}

/// These verbs on these resources.
pub(super) const fn on(verbs: &'static str, groups: &'static str, resources: &'static str) -> StaticRule {
    StaticRule { verbs, groups, resources, names: "", urls: "" }
}

/// These verbs on objects of these names.
pub(super) const fn named(
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
) -> StaticRule {
    StaticRule { verbs, groups, resources, names, urls: "" }
}

/// These verbs on these paths.
pub(super) const fn urls(verbs: &'static str, urls: &'static str) -> StaticRule {
    StaticRule { verbs, groups: "", resources: "", names: "", urls }
}

/// Writing events, which nearly everybody does.
pub(super) const EVENTS: StaticRule = on("create update patch", "core events.k8s.io", "events");

impl StaticRule {
    /// The rule, each list sorted.
    pub(super) fn rule(&self) -> Rule {
        let words = |text: &str| -> Vec<String> {
            let mut words: Vec<String> = text
                .split_whitespace()
                .map(|word| if word == CORE { String::new() } else { word.to_owned() })
                .collect();
            words.sort();
            words
        };
        Rule {
            verbs: words(self.verbs),
            api_groups: words(self.groups),
            resources: words(self.resources),
            resource_names: words(self.names),
            non_resource_urls: words(self.urls),
        }
    }
}

/// A Role or ClusterRole.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaticRole {
    /// Empty for a ClusterRole.
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    pub(super) rules: &'static [StaticRule],
    /// Which aggregated role it is part of: `admin`, `edit`, `view` or empty.
    pub(super) part_of: &'static str,
    /// Which parts it is made of, in place of rules.
    pub(super) made_of: &'static str,
}

/// A ClusterRole.
pub(super) const fn role(name: &'static str, rules: &'static [StaticRule]) -> StaticRole {
    StaticRole { namespace: "", name, rules, part_of: "", made_of: "" }
}

const GROUP: &str = "rbac.authorization.k8s.io";

fn metadata(namespace: &str, name: &str) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("name".into(), json!(name));
    if !namespace.is_empty() {
        metadata.insert("namespace".into(), json!(namespace));
    }
    metadata.insert("labels".into(), json!({"kubernetes.io/bootstrapping": "rbac-defaults"}));
    metadata.insert("annotations".into(), json!({"rbac.authorization.kubernetes.io/autoupdate": "true"}));
    metadata
}

impl StaticRole {
    /// The object.
    pub(super) fn object(&self) -> Value {
        let rules: Vec<Rule> = self.rules.iter().map(StaticRule::rule).collect();
        let mut object = role_object(self.namespace, self.name, &rules);
        if !self.part_of.is_empty() {
            let label = format!("{GROUP}/aggregate-to-{}", self.part_of);
            apimachinery::meta::set_label(&mut object, &label, "true");
        }
        if !self.made_of.is_empty()
            && let Some(object) = object.as_object_mut()
        {
            let label = format!("{GROUP}/aggregate-to-{}", self.made_of);
            let selector = json!({"matchLabels": {label: "true"}});
            object.insert("aggregationRule".into(), json!({"clusterRoleSelectors": [selector]}));
            // Filled by the controller that aggregates.
            object.insert("rules".into(), Value::Null);
        }
        object
    }
}

/// A Role, or a ClusterRole when the namespace is empty.
pub(super) fn role_object(namespace: &str, name: &str, rules: &[Rule]) -> Value {
    let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind,
        "metadata": metadata(namespace, name),
        "rules": rules,
    })
}

/// Who a binding is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    User(&'static str),
    Group(&'static str),
    /// Of `kube-system`.
    Account(&'static str),
}

/// A RoleBinding, or a ClusterRoleBinding when the namespace is empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaticBinding {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    pub(super) role: &'static str,
    pub(super) subjects: &'static [Subject],
}

impl StaticBinding {
    /// The object. A RoleBinding refers to a Role.
    pub(super) fn object(&self) -> Value {
        binding_object(self.namespace, self.name, self.role, self.subjects)
    }
}

pub(super) fn binding_object(namespace: &str, name: &str, role: &str, subjects: &[Subject]) -> Value {
    let subjects: Vec<Value> = subjects
        .iter()
        .map(|subject| match subject {
            Subject::User(name) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
            Subject::Group(name) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
            Subject::Account(name) => {
                json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})
            }
        })
        .collect();
    let (kind, role_kind) = match namespace {
        "" => ("ClusterRoleBinding", "ClusterRole"),
        _ => ("RoleBinding", "Role"),
    };
    let mut object = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind,
        "metadata": metadata(namespace, name),
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
    });
    if let Some(object) = object.as_object_mut()
        && !subjects.is_empty()
    {
        object.insert("subjects".into(), Value::Array(subjects));
    }
    object
}
