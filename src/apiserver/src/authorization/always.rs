//! AlwaysAllow and AlwaysDeny.

use async_trait::async_trait;

use super::attributes::{Attributes, Authorizer, Decision, ResolvedRules};
use super::rule::Rule;
use crate::authentication::UserInfo;

/// Allows everything.
pub(super) struct AlwaysAllow;

#[async_trait]
impl Authorizer for AlwaysAllow {
    async fn authorize(&self, _: &Attributes<'_>) -> Decision {
        Decision::Allow(String::new())
    }

    fn rules_for(&self, _: &UserInfo, _: &str) -> ResolvedRules {
        ResolvedRules { rules: Rule::everything().into(), errors: Vec::new() }
    }
}

/// Allows nothing, but leaves those after it to decide.
pub(super) struct AlwaysDeny;

#[async_trait]
impl Authorizer for AlwaysDeny {
    async fn authorize(&self, _: &Attributes<'_>) -> Decision {
        Decision::NoOpinion("Everything is forbidden.".into())
    }
}
