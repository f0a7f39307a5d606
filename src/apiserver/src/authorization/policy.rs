//! Roles and bindings, parsed and indexed by subject, so that deciding looks only at what concerns the user.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::rule::{Rule, or_empty};
use crate::authentication::{SERVICE_ACCOUNT_USER_PREFIX, UserInfo};

/// Which of the four kinds an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ClusterRole,
    Role,
    ClusterRoleBinding,
    RoleBinding,
}

impl Kind {
    pub(super) const ALL: [Self; 4] =
        [Self::ClusterRole, Self::Role, Self::ClusterRoleBinding, Self::RoleBinding];

    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::ClusterRole => "clusterroles",
            Self::Role => "roles",
            Self::ClusterRoleBinding => "clusterrolebindings",
            Self::RoleBinding => "rolebindings",
        }
    }
}

/// A binding as far as deciding needs it.
#[derive(Debug)]
pub(super) struct Binding {
    /// Empty for a ClusterRoleBinding.
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) role: RoleRef,
    pub(super) subjects: Vec<Subject>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RoleRef {
    pub(super) api_group: String,
    pub(super) kind: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Subject {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RoleObject {
    #[serde(deserialize_with = "or_empty")]
    rules: Vec<Rule>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct BindingObject {
    role_ref: RoleRef,
    #[serde(deserialize_with = "or_empty")]
    subjects: Vec<Subject>,
}

/// Rules by the name of their role.
type Roles = HashMap<Box<str>, Arc<[Rule]>>;

/// All roles and bindings.
#[derive(Debug, Default)]
pub(super) struct Policy {
    cluster_roles: Roles,
    /// By namespace, then name.
    roles: HashMap<Box<str>, Roles>,
    cluster_bindings: Bindings,
    /// By namespace.
    bindings: HashMap<Box<str>, Bindings>,
}

/// The bindings of one scope. A subject's bindings are ordered by name, so that reasons do not vary.
#[derive(Debug, Default)]
struct Bindings {
    by_name: HashMap<Box<str>, Arc<Binding>>,
    by_user: HashMap<Box<str>, Grants>,
    by_group: HashMap<Box<str>, Grants>,
}

/// Binding name to the binding and which of its subjects is meant.
type Grants = BTreeMap<Box<str>, (Arc<Binding>, usize)>;

/// One step of [`Policy::visit`].
pub(super) enum Visit<'a> {
    /// These rules are granted by a subject of a binding.
    Granted { binding: &'a Binding, subject: &'a Subject, rules: &'a [Rule] },
    /// A binding's role does not exist.
    Missing { binding: &'a Binding },
}

impl Policy {
    /// Forgets all objects of a kind.
    pub(super) fn clear(&mut self, kind: Kind) {
        match kind {
            Kind::ClusterRole => self.cluster_roles.clear(),
            Kind::Role => self.roles.clear(),
            Kind::ClusterRoleBinding => self.cluster_bindings = Bindings::default(),
            Kind::RoleBinding => self.bindings.clear(),
        }
    }

    /// Takes an object in, in place of its former state.
    pub(super) fn put(&mut self, kind: Kind, namespace: &str, name: &str, value: &[u8]) {
        // What the API server stored it can read; if not, an unreadable role grants nothing.
        let rules = || serde_json::from_slice::<RoleObject>(value).unwrap_or_default().rules.into();
        match kind {
            Kind::ClusterRole => {
                self.cluster_roles.insert(name.into(), rules());
            }
            Kind::Role => {
                self.roles.entry(namespace.into()).or_default().insert(name.into(), rules());
            }
            Kind::ClusterRoleBinding | Kind::RoleBinding => {
                let read: BindingObject = serde_json::from_slice(value).unwrap_or_default();
                let binding = Binding {
                    namespace: namespace.into(),
                    name: name.into(),
                    role: read.role_ref,
                    subjects: read.subjects,
                };
                self.bindings_of(kind, namespace).put(binding);
            }
        }
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        match kind {
            Kind::ClusterRole => {
                self.cluster_roles.remove(name);
            }
            Kind::Role => {
                if let Some(roles) = self.roles.get_mut(namespace) {
                    roles.remove(name);
                    if roles.is_empty() {
                        self.roles.remove(namespace);
                    }
                }
            }
            Kind::ClusterRoleBinding => self.cluster_bindings.remove(name),
            Kind::RoleBinding => {
                if let Some(bindings) = self.bindings.get_mut(namespace) {
                    bindings.remove(name);
                    if bindings.by_name.is_empty() {
                        self.bindings.remove(namespace);
                    }
                }
            }
        }
    }

    fn bindings_of(&mut self, kind: Kind, namespace: &str) -> &mut Bindings {
        match kind {
            Kind::RoleBinding => self.bindings.entry(namespace.into()).or_default(),
            _ => &mut self.cluster_bindings,
        }
    }

    /// The rules a role reference means, seen from a namespace.
    pub(super) fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<&[Rule]> {
        match role.kind.as_str() {
            "ClusterRole" => self.cluster_roles.get(role.name.as_str()).map(AsRef::as_ref),
            "Role" => self.roles.get(namespace)?.get(role.name.as_str()).map(AsRef::as_ref),
            _ => None,
        }
    }

    /// Goes through all that is granted to a user, cluster-wide first, then in the namespace unless it is
    /// empty; until `visitor` returns false.
    pub(super) fn visit(&self, user: &UserInfo, namespace: &str, mut visitor: impl FnMut(Visit<'_>) -> bool) {
        let in_namespace = if namespace.is_empty() { None } else { self.bindings.get(namespace) };
        for bindings in std::iter::once(&self.cluster_bindings).chain(in_namespace) {
            let by_user = bindings.by_user.get(user.name.as_str());
            let by_group = user.groups.iter().filter_map(|group| bindings.by_group.get(group.as_str()));
            for (binding, subject) in by_user.into_iter().chain(by_group).flat_map(BTreeMap::values) {
                let Some(subject) = binding.subjects.get(*subject) else { continue };
                let step = match self.rules_of(&binding.role, &binding.namespace) {
                    Some(rules) => Visit::Granted { binding, subject, rules },
                    None => Visit::Missing { binding },
                };
                if !visitor(step) {
                    return;
                }
            }
        }
    }
}

impl Bindings {
    fn put(&mut self, binding: Binding) {
        self.remove(&binding.name);
        let binding = Arc::new(binding);
        for (at, subject) in binding.subjects.iter().enumerate() {
            let (index, key) = match index_key(&binding, subject) {
                Some((true, key)) => (&mut self.by_group, key),
                Some((false, key)) => (&mut self.by_user, key),
                None => continue,
            };
            // The first of several equal subjects is the one that is named.
            index
                .entry(key)
                .or_default()
                .entry(binding.name.clone())
                .or_insert_with(|| (Arc::clone(&binding), at));
        }
        self.by_name.insert(binding.name.clone(), binding);
    }

    fn remove(&mut self, name: &str) {
        let Some(binding) = self.by_name.remove(name) else { return };
        for subject in &binding.subjects {
            let (index, key) = match index_key(&binding, subject) {
                Some((true, key)) => (&mut self.by_group, key),
                Some((false, key)) => (&mut self.by_user, key),
                None => continue,
            };
            if let Some(grants) = index.get_mut(&key) {
                grants.remove(name);
                if grants.is_empty() {
                    index.remove(&key);
                }
            }
        }
    }
}

/// Whether a subject is a group, and the group's or user's name.
fn index_key(binding: &Binding, subject: &Subject) -> Option<(bool, Box<str>)> {
    match subject.kind.as_str() {
        "User" => Some((false, subject.name.as_str().into())),
        "Group" => Some((true, subject.name.as_str().into())),
        "ServiceAccount" => {
            let namespace = subject.service_account_namespace(binding);
            let user = || format!("{SERVICE_ACCOUNT_USER_PREFIX}{namespace}:{}", subject.name).into();
            (!namespace.is_empty()).then(|| (false, user()))
        }
        _ => None,
    }
}

impl Subject {
    fn service_account_namespace<'a>(&'a self, binding: &'a Binding) -> &'a str {
        if self.namespace.is_empty() { &binding.namespace } else { &self.namespace }
    }

    /// As reasons tell it: `User "jane"`, `ServiceAccount "builder/ci"`.
    pub(super) fn describe(&self, binding: &Binding) -> String {
        match self.kind.as_str() {
            "ServiceAccount" => {
                format!("ServiceAccount \"{}/{}\"", self.name, self.service_account_namespace(binding))
            }
            kind => format!("{kind} {:?}", self.name),
        }
    }
}

impl Binding {
    /// As reasons tell it.
    pub(super) fn describe(&self, subject: &Subject) -> String {
        let (role, subject) = (&self.role, subject.describe(self));
        if self.namespace.is_empty() {
            format!("ClusterRoleBinding {:?} of {} {:?} to {subject}", self.name, role.kind, role.name)
        } else {
            let name = format!("{}/{}", self.name, self.namespace);
            format!("RoleBinding {name:?} of {} {:?} to {subject}", role.kind, role.name)
        }
    }

    /// What is wrong when the role does not exist.
    pub(super) fn missing_role(&self) -> String {
        let resource = if self.role.kind == "Role" { "role" } else { "clusterrole" };
        format!("{resource}.rbac.authorization.k8s.io {:?} not found", self.role.name)
    }
}
