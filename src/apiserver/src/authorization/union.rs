//! All authorizers, asked in turn.

use std::sync::Arc;

use async_trait::async_trait;

use super::attributes::{Attributes, Authorizer, Decision};
use crate::authentication::GROUP_MASTERS;

/// Lets members of `system:masters` do everything, then asks each authorizer until one has an opinion.
pub struct Union {
    authorizers: Vec<Arc<dyn Authorizer>>,
}

impl Union {
    /// Asks these, in this order.
    pub fn new(authorizers: Vec<Arc<dyn Authorizer>>) -> Self {
        Self { authorizers }
    }
}

#[async_trait]
impl Authorizer for Union {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(GROUP_MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons: Vec<String> = Vec::new();
        for authorizer in &self.authorizers {
            match authorizer.authorize(attributes).await {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }
}
