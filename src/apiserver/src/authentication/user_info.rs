//! The identity of a caller.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// User name of requests that carry no credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// Group of every request without credentials.
pub const GROUP_UNAUTHENTICATED: &str = "system:unauthenticated";
/// Group of every request with valid credentials.
pub const GROUP_AUTHENTICATED: &str = "system:authenticated";
/// Group that may do everything, before any authorizer is asked.
pub const GROUP_MASTERS: &str = "system:masters";
/// Group of kubelets.
pub const GROUP_NODES: &str = "system:nodes";
/// Prefix of a kubelet's user name; the node's name follows.
pub const NODE_USER_PREFIX: &str = "system:node:";
/// Group of all service accounts; `:NAMESPACE` follows for those of one namespace.
pub const GROUP_SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
/// Prefix of a service account's user name; `NAMESPACE:NAME` follows.
pub const SERVICE_ACCOUNT_USER_PREFIX: &str = "system:serviceaccount:";

/// Who is asking, as authentication found out (`authentication.k8s.io/v1` UserInfo).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// Name that uniquely identifies the user among all active users.
    pub name: String,
    /// Identifier that tells apart users who have had the same name over time; empty when unknown.
    pub uid: String,
    /// Groups the user is in.
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user of this name in these groups and in `system:authenticated`.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        if !groups.iter().any(|group| group == GROUP_AUTHENTICATED) {
            groups.push(GROUP_AUTHENTICATED.to_owned());
        }
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// The caller without credentials.
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), groups: vec![GROUP_UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// A member of `system:masters`: what an administrator's certificate says.
    pub fn admin() -> Self {
        Self::new("system:admin", &[GROUP_MASTERS])
    }

    /// The kubelet of a node.
    pub fn node(name: &str) -> Self {
        Self::new(format!("{NODE_USER_PREFIX}{name}"), &[GROUP_NODES])
    }

    /// A service account.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let all_in_namespace = format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}");
        let mut user = Self::new(
            format!("{SERVICE_ACCOUNT_USER_PREFIX}{namespace}:{name}"),
            &[GROUP_SERVICE_ACCOUNTS, &all_in_namespace],
        );
        user.uid = uid.to_owned();
        user
    }

    /// Is the user in this group?
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|other| other == group)
    }

    /// The node whose kubelet this is: name `system:node:NAME` and group `system:nodes`.
    pub fn node_name(&self) -> Option<&str> {
        if !self.in_group(GROUP_NODES) {
            return None;
        }
        self.name.strip_prefix(NODE_USER_PREFIX).filter(|name| !name.is_empty())
    }

    /// Namespace and name of the service account this is.
    pub fn service_account_name(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.name.strip_prefix(SERVICE_ACCOUNT_USER_PREFIX)?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
    }

    /// The `user` object of TokenReview, SelfSubjectReview and AdmissionReview: empty fields are left out.
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        if !self.name.is_empty() {
            out.insert("username".into(), json!(self.name));
        }
        if !self.uid.is_empty() {
            out.insert("uid".into(), json!(self.uid));
        }
        if !self.groups.is_empty() {
            out.insert("groups".into(), json!(self.groups));
        }
        if !self.extra.is_empty() {
            out.insert("extra".into(), json!(self.extra));
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_knows_its_name_and_groups() {
        let user = UserInfo::service_account("ns", "builder", "1");
        assert_eq!(user.service_account_name(), Some(("ns", "builder")));
        assert!(user.in_group("system:serviceaccounts:ns"));
        assert!(user.in_group(GROUP_AUTHENTICATED));
    }

    #[test]
    fn a_node_name_needs_the_group_too() {
        assert_eq!(UserInfo::node("a").node_name(), Some("a"));
        assert_eq!(UserInfo::new("system:node:a", &[]).node_name(), None);
        assert_eq!(UserInfo::new("system:node:", &[GROUP_NODES]).node_name(), None);
    }
}
