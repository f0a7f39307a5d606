//! Fills ClusterRoles that have an `aggregationRule` with the rules of the roles it selects.
//!
//! Upstream counterpart: `clusterrole-aggregation-controller`.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Informer, ObjectKey, Rest, Selector, rest::Patch};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::json;

use crate::framework::{Action, Context, Controller, ReconcileError, Watches};

const NAME: &str = "clusterrole-aggregation-controller";

/// The controller; keys are ClusterRoles.
pub struct ClusterRoleAggregation {
    rest: Rest,
    roles: Informer<ClusterRole>,
}

impl ClusterRoleAggregation {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { rest: context.rest.clone(), roles: context.informers.get() }
    }
}

#[async_trait]
impl Controller for ClusterRoleAggregation {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        let store = self.roles.store().clone();
        // A change of any role may change any aggregate; there are few of them.
        watches.mapped(&self.roles, move |_, keys| {
            for role in store.list().iter().filter(|role| role.aggregation_rule.is_some()) {
                keys.add(ObjectKey::of(&**role));
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(role) = self.roles.get(key) else { return Ok(Action::Done) };
        let all = self.roles.list();
        if let Some(rules) = plan(&role, &all) {
            let patch = Patch::Merge(json!({
                "metadata": {"uid": role.metadata.uid, "resourceVersion": role.metadata.resource_version},
                "rules": rules,
            }));
            self.rest.patch::<ClusterRole>(key, "", &patch).await?;
        }
        Ok(Action::Done)
    }
}

/// The rules that the role should have, unless it has them.
fn plan(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let rule = role.aggregation_rule.as_ref()?;
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in rule.cluster_role_selectors.iter().flatten() {
        let selector = Selector::new(Some(selector));
        let selected = all.iter().filter(|other| {
            other.metadata.name != role.metadata.name && selector.matches(other.metadata.labels.as_ref())
        });
        for found in selected.flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(found) {
                rules.push(found.clone());
            }
        }
    }
    (role.rules.as_deref().unwrap_or_default() != rules).then_some(rules)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::rbac::v1::AggregationRule,
        apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
    };

    use super::*;

    fn role(name: &str, label: &str, verbs: &[&str]) -> Arc<ClusterRole> {
        let rule = |verb: &&str| PolicyRule { verbs: vec![(*verb).to_owned()], ..PolicyRule::default() };
        Arc::new(ClusterRole {
            metadata: ObjectMeta {
                name: Some(name.into()),
                labels: Some([("to".to_owned(), label.to_owned())].into()),
                ..ObjectMeta::default()
            },
            rules: Some(verbs.iter().map(rule).collect()),
            aggregation_rule: None,
        })
    }

    #[test]
    fn the_union_of_selected_rules_has_no_duplicates_and_does_not_select_itself() {
        let mut aggregate = (*role("admin", "admin", &[])).clone();
        aggregate.aggregation_rule = Some(AggregationRule {
            cluster_role_selectors: Some(vec![LabelSelector {
                match_labels: Some([("to".to_owned(), "admin".to_owned())].into()),
                ..LabelSelector::default()
            }]),
        });
        let all = vec![
            Arc::new(aggregate.clone()),
            role("a", "admin", &["get", "list"]),
            role("b", "admin", &["list", "watch"]),
            role("c", "view", &["delete"]),
        ];
        let rules = plan(&aggregate, &all).unwrap();
        let verbs: Vec<_> = rules.iter().flat_map(|rule| rule.verbs.clone()).collect();
        assert_eq!(verbs, ["get", "list", "watch"]);
        aggregate.rules = Some(rules);
        assert_eq!(plan(&aggregate, &all), None);
        assert_eq!(plan(&role("plain", "x", &["get"]), &all), None);
    }
}
