//! Answers to expressions that ask for rights (`authorizer`).

use crate::authentication::UserInfo;
use crate::authorization::{Attributes, Authorizer};
use cel::{Check, Decided, Stage};
use parking_lot::Mutex;
use std::task::Poll;

/// What was decided so far in one request, and what is still wanted.
#[derive(Default)]
pub(in crate::admission) struct Decisions {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Vec<(Check, Decided)>,
    wanted: Vec<Check>,
}

impl cel::Authorizer for Decisions {
    fn authorize(&self, check: &Check) -> Poll<Decided> {
        let mut state = self.state.lock();
        if let Some((_, decided)) = state.known.iter().find(|(known, _)| known == check) {
            return Poll::Ready(decided.clone());
        }
        if !state.wanted.contains(check) {
            state.wanted.push(check.clone());
        }
        Poll::Pending
    }
}

/// Evaluates until every right that is asked for is known.
pub(in crate::admission) async fn settle<T: Send>(
    decisions: &Decisions,
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    evaluate: impl Fn(&Decisions) -> T + Send + Sync,
) -> T {
    loop {
        let outcome = evaluate(decisions);
        let wanted = std::mem::take(&mut decisions.state.lock().wanted);
        if wanted.is_empty() {
            return outcome;
        }
        drop(outcome);
        for check in wanted {
            let decided = decide(authorizer, user, &check).await;
            decisions.state.lock().known.push((check, decided));
        }
    }
}

async fn decide(authorizer: &dyn Authorizer, user: &UserInfo, check: &Check) -> Decided {
    let account = check
        .service_account
        .as_ref()
        .map(|(namespace, name)| UserInfo::service_account(namespace, name, ""));
    let user = account.as_ref().unwrap_or(user);
    let attributes = if check.stage == Stage::Path {
        Attributes::non_resource(user, &check.verb, &check.path)
    } else {
        Attributes {
            namespace: &check.namespace,
            api_group: &check.group,
            api_version: "*",
            resource: &check.resource,
            subresource: &check.subresource,
            name: &check.name,
            field_selector: &check.field_selector,
            resource_request: true,
            ..Attributes::non_resource(user, &check.verb, "")
        }
    };
    let decision = authorizer.authorize(&attributes).await;
    Decided { allowed: decision.allowed(), reason: decision.reason().to_owned(), error: String::new() }
}
