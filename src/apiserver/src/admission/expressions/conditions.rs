//! Match conditions: expressions that a request has to meet besides rules and selectors (KEP-3716).

use super::decisions::{Decisions, settle};
use super::inputs::{Expression, Inputs};
use crate::admission::chain::Request;
use crate::admission::matching::Versioned;
use crate::authorization::Authorizer;
use api::admissionregistration::expressions::{Declared, Outcome, environment};
use api::value;
use cel::{Budget, RUNTIME_BUDGET_MATCH_CONDITIONS};
use serde_json::Value;

/// The conditions of a webhook or a policy.
#[derive(Debug)]
pub(in crate::admission) struct Conditions(Vec<Expression>);

/// What came of evaluating conditions.
#[derive(Debug, PartialEq)]
pub(in crate::admission) enum Match {
    /// All are met.
    Met,
    /// One is not.
    Unmet,
    /// None is unmet, and some could not be evaluated.
    Failed(String),
}

impl Conditions {
    /// Reads a list of conditions; `None` when it is empty. `params` says whether they may refer to parameters.
    pub(in crate::admission) fn read(conditions: &[Value], params: bool) -> Option<Self> {
        if conditions.is_empty() {
            return None;
        }
        let environment = environment(Declared { params, authorizer: true }).build();
        let compile = |condition: &Value| {
            Expression::new(&environment, value::text(condition, "expression").trim(), Outcome::Bool)
        };
        Some(Self(conditions.iter().map(compile).collect()))
    }

    /// Evaluates the conditions.
    pub(in crate::admission) fn evaluate(&self, inputs: &Inputs<'_>, decisions: &Decisions) -> Match {
        let bindings = match inputs.bindings(decisions, &[]) {
            Ok(bindings) => bindings,
            Err(error) => return Match::Failed(error.to_string()),
        };
        let mut budget = Budget::new(RUNTIME_BUDGET_MATCH_CONDITIONS);
        let mut errors = Vec::new();
        for condition in &self.0 {
            match condition.evaluate(&bindings, &mut budget) {
                Ok(Ok(value)) if value.as_bool() == Some(false) => return Match::Unmet,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => errors.push(error),
                Err(over) => return Match::Failed(over.0),
            }
        }
        match errors.as_slice() {
            [] => Match::Met,
            [one] => Match::Failed(one.clone()),
            many => Match::Failed(format!("[{}]", many.join(", "))),
        }
    }

    /// Evaluates the conditions of a webhook.
    pub(in crate::admission) async fn check(
        &self,
        request: &Request<'_>,
        seen: &Versioned<'_>,
        authorizer: &dyn Authorizer,
    ) -> Match {
        let inputs = Inputs::new(request, seen, None, &Value::Null);
        let decisions = Decisions::default();
        settle(&decisions, authorizer, request.user, |known| self.evaluate(&inputs, known)).await
    }
}
