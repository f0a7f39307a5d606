//! The RBAC authorizer.

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use async_trait::async_trait;
use parking_lot::RwLock;
use storage::{Object, StorageError};

use super::attributes::{Attributes, Authorizer, Decision, ResolvedRules};
use super::policy::{Kind, Policy, RoleRef, Visit};
use super::rule::Rule;
use crate::authentication::UserInfo;
use crate::cached::{Feed, Sink};
use crate::registry::{Registry, prefix};

/// The API group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// Allows what roles and bindings grant; has no opinion on the rest.
///
/// # Cost
/// Two hash look-ups per group the user is in, and the rules of the roles found; no parsing. A refusal first
/// makes sure that no write that was acknowledged earlier is still on its way here.
pub struct Rbac {
    policy: Arc<RwLock<Policy>>,
    feeds: Vec<Feed>,
}

impl Rbac {
    /// Reads all roles and bindings and follows them from then on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(registry: &Registry) -> Result<Arc<Self>, StorageError> {
        let policy = Arc::new(RwLock::new(Policy::default()));
        let mut feeds = Vec::new();
        for kind in Kind::ALL {
            let prefix = prefix(&GroupResource::new(GROUP, kind.plural()), "");
            let sink = PolicySink { policy: Arc::clone(&policy), kind, prefix_length: prefix.len() };
            feeds.push(Feed::start(Arc::clone(registry.storage()), prefix, sink).await?);
        }
        Ok(Arc::new(Self { policy, feeds }))
    }

    /// Makes every write that has been acknowledged count.
    pub fn catch_up(&self) {
        self.feeds.iter().for_each(Feed::catch_up);
    }

    /// The rules of the role that a binding refers to, seen from the binding's namespace.
    pub(crate) fn rules_of_role(&self, kind: &str, name: &str, namespace: &str) -> Option<Vec<Rule>> {
        let role = RoleRef { api_group: GROUP.into(), kind: kind.into(), name: name.into() };
        self.policy.read().rules_of(&role, namespace).map(<[Rule]>::to_vec)
    }

    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let mut errors: Vec<String> = Vec::new();
        let mut reason = None;
        self.policy.read().visit(attributes.user, attributes.namespace, |step| {
            match step {
                Visit::Granted { binding, subject, rules } => {
                    if rules.iter().any(|rule| rule.allows(attributes)) {
                        reason = Some(format!("RBAC: allowed by {}", binding.describe(subject)));
                    }
                }
                Visit::Missing { binding } => {
                    let error = binding.missing_role();
                    if !errors.contains(&error) {
                        errors.push(error);
                    }
                }
            }
            reason.is_none()
        });
        match (reason, errors.as_slice()) {
            (Some(reason), _) => Decision::Allow(reason),
            (None, []) => Decision::NoOpinion(String::new()),
            (None, [one]) => Decision::NoOpinion(format!("RBAC: {one}")),
            (None, many) => Decision::NoOpinion(format!("RBAC: [{}]", many.join(", "))),
        }
    }
}

impl std::fmt::Debug for Rbac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rbac")
    }
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let decision = self.decide(attributes);
        if decision.allowed() {
            return decision;
        }
        // Again even if nothing was left to catch up with: a feed may have got there since the first answer.
        self.catch_up();
        self.decide(attributes)
    }

    /// All rules a user has in a namespace and cluster-wide (only cluster-wide when it is empty), and what
    /// could not be resolved.
    fn rules_for(&self, user: &UserInfo, namespace: &str) -> ResolvedRules {
        self.catch_up();
        let mut all = ResolvedRules::default();
        self.policy.read().visit(user, namespace, |step| {
            match step {
                Visit::Granted { rules, .. } => all.rules.extend_from_slice(rules),
                Visit::Missing { binding } => all.errors.push(binding.missing_role()),
            }
            true
        });
        all
    }
}

/// Takes the objects of one kind into the policy.
struct PolicySink {
    policy: Arc<RwLock<Policy>>,
    kind: Kind,
    prefix_length: usize,
}

impl PolicySink {
    /// Namespace (empty for the cluster-scoped kinds) and name.
    fn identity<'a>(&self, key: &'a str) -> (&'a str, &'a str) {
        let rest = key.get(self.prefix_length..).unwrap_or("");
        rest.split_once('/').unwrap_or(("", rest))
    }
}

impl Sink for PolicySink {
    fn reset(&self, objects: &[Arc<Object>]) {
        let mut policy = self.policy.write();
        policy.clear(self.kind);
        for object in objects {
            let (namespace, name) = self.identity(&object.key);
            policy.put(self.kind, namespace, name, &object.value);
        }
    }

    fn put(&self, object: &Object) {
        let (namespace, name) = self.identity(&object.key);
        self.policy.write().put(self.kind, namespace, name, &object.value);
    }

    fn remove(&self, key: &str) {
        let (namespace, name) = self.identity(key);
        self.policy.write().remove(self.kind, namespace, name);
    }
}

#[cfg(test)]
#[path = "rbac_tests.rs"]
mod tests;
