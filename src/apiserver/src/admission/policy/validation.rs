//! Evaluating a validating policy. Pure.

use super::configuration::{Checks, Policy, Validation};
use crate::admission::expressions::{Decisions, Expression, Inputs, Match, OutOfBudget};
use cel::{Bindings, Budget};

/// The longest message that an expression may make.
const MESSAGE_MAX_BYTES: usize = 5 * 1024;

/// What came of evaluating a policy with one parameter.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// One for each validation that did not hold or could not be evaluated.
    pub(super) failures: Vec<Failure>,
    /// Keys and values for the audit log.
    pub(super) annotations: Vec<(String, String)>,
    /// Errors of audit annotations that refuse the request, whatever the binding's actions.
    pub(super) annotation_errors: Vec<String>,
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Failure {
    /// Which of the validations.
    pub(super) index: usize,
    /// A sentence.
    pub(super) message: String,
    /// A `metav1.StatusReason`; empty for that of errors.
    pub(super) reason: String,
    /// For metrics.
    pub(super) error: &'static str,
}

/// Evaluates a policy.
pub(super) fn evaluate(policy: &Policy<Checks>, inputs: &Inputs<'_>, decisions: &Decisions) -> Verdict {
    if let Some(conditions) = &policy.conditions {
        match conditions.evaluate(inputs, decisions) {
            Match::Met => {}
            Match::Unmet => return Verdict::default(),
            Match::Failed(why) => return failed(policy, why, "invalid_error"),
        }
    }
    let bindings = || inputs.bindings(decisions, &policy.variables);
    let (first, second) = match (bindings(), bindings()) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(error), _) | (_, Err(error)) => return failed(policy, error.to_string(), "invalid_error"),
    };
    let mut budget = Budget::default();
    let mut verdict = match validations(policy, &first, &mut budget) {
        Ok(failures) => Verdict { failures, ..Verdict::default() },
        Err(over) => return failed(policy, over.0, "out_of_budget"),
    };
    if let Err(over) = annotations(policy, &second, &mut verdict) {
        return failed(policy, over.0, "out_of_budget");
    }
    verdict
}

/// The policy could not be evaluated.
fn failed(policy: &Policy<Checks>, message: String, error: &'static str) -> Verdict {
    let failure = Failure { index: 0, message, reason: String::new(), error };
    let failures = if policy.ignores_failures { Vec::new() } else { vec![failure] };
    Verdict { failures, ..Verdict::default() }
}

fn validations(
    policy: &Policy<Checks>,
    bindings: &Bindings<'_>,
    budget: &mut Budget,
) -> Result<Vec<Failure>, OutOfBudget> {
    let all = &policy.rules.validations;
    let mut outcomes = Vec::with_capacity(all.len());
    for validation in all {
        outcomes.push(match validation.expression.evaluate(bindings, budget)? {
            Ok(value) => Ok(value.as_bool() == Some(true)),
            Err(error) => Err(error),
        });
    }
    let mut failures = Vec::new();
    for (index, (validation, outcome)) in all.iter().zip(outcomes).enumerate() {
        match outcome {
            Ok(true) => {}
            Ok(false) => match message(validation, bindings, budget) {
                Ok(message) => {
                    let reason = match validation.reason.as_str() {
                        "" => "Invalid".to_owned(),
                        reason => reason.to_owned(),
                    };
                    failures.push(Failure { index, message, reason, error: "no_error" });
                }
                Err(_) if policy.ignores_failures => {}
                Err(over) => failures.push(Failure {
                    index,
                    message: format!("failed messageExpression: {}", over.0),
                    reason: String::new(),
                    error: "out_of_budget",
                }),
            },
            Err(_) if policy.ignores_failures => {}
            Err(message) => {
                let error = if validation.expression.is_broken() { "compile_error" } else { "invalid_error" };
                failures.push(Failure { index, message, reason: String::new(), error });
            }
        }
    }
    Ok(failures)
}

/// The words for a validation that does not hold.
fn message(
    validation: &Validation,
    bindings: &Bindings<'_>,
    budget: &mut Budget,
) -> Result<String, OutOfBudget> {
    if let Some(worded) = &validation.worded {
        let value = worded.evaluate(bindings, budget)?;
        let text = value.as_ref().ok().and_then(cel::Value::as_str).unwrap_or("").trim();
        if !text.is_empty() && text.len() <= MESSAGE_MAX_BYTES && !text.contains('\n') {
            return Ok(text.to_owned());
        }
    }
    Ok(match validation.message.as_str() {
        "" => format!("failed expression: {}", validation.expression.source.trim()),
        message => message.to_owned(),
    })
}

fn annotations(
    policy: &Policy<Checks>,
    bindings: &Bindings<'_>,
    verdict: &mut Verdict,
) -> Result<(), OutOfBudget> {
    // A budget of their own, as upstream.
    let mut budget = Budget::default();
    for annotation in &policy.rules.annotations {
        let expression: &Expression = &annotation.value;
        match expression.evaluate(bindings, &mut budget)? {
            Ok(value) => match value.as_str().map(str::trim) {
                Some("") => {}
                Some(text) => verdict.annotations.push((annotation.key.clone(), text.to_owned())),
                None if matches!(value, cel::Value::Null) => {}
                None => verdict.annotation_errors.push(format!(
                    "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                    expression.source,
                    value.type_name()
                )),
            },
            Err(_) if policy.ignores_failures => {}
            Err(error) => verdict.annotation_errors.push(error),
        }
    }
    Ok(())
}
