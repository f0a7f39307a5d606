//! All authorizers, asked in turn.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;

use super::attributes::{Attributes, Authorizer, Decision, ResolvedRules};
use super::rule::Rule;
use crate::authentication::{GROUP_MASTERS, UserInfo};

/// Lets members of `system:masters` do everything, then asks each authorizer until one has an opinion. Which
/// authorizers there are can change while it is in use.
pub struct Union {
    authorizers: RwLock<Arc<[Arc<dyn Authorizer>]>>,
}

impl Union {
    /// Asks these, in this order.
    pub fn new(authorizers: Vec<Arc<dyn Authorizer>>) -> Self {
        Self { authorizers: RwLock::new(authorizers.into()) }
    }

    /// Asks these from now on.
    pub fn replace(&self, authorizers: Vec<Arc<dyn Authorizer>>) {
        *self.authorizers.write() = authorizers.into();
    }

    fn current(&self) -> Arc<[Arc<dyn Authorizer>]> {
        Arc::clone(&self.authorizers.read())
    }
}

#[async_trait]
impl Authorizer for Union {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(GROUP_MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons: Vec<String> = Vec::new();
        for authorizer in self.current().iter() {
            match authorizer.authorize(attributes).await {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    fn rules_for(&self, user: &UserInfo, namespace: &str) -> ResolvedRules {
        let mut all = ResolvedRules::default();
        if user.in_group(GROUP_MASTERS) {
            all.rules.extend(Rule::everything());
        }
        for authorizer in self.current().iter() {
            let resolved = authorizer.rules_for(user, namespace);
            all.rules.extend(resolved.rules);
            all.errors.extend(resolved.errors);
        }
        all
    }
}
