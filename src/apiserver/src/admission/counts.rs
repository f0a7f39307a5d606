//! Counts of what webhooks and policies do, under upstream's names.

use super::chain::{Operation, Request};
use crate::metrics::{Histogram, head};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Upper bounds of upstream's `apiserver_admission_webhook_admission_duration_seconds`.
const WEBHOOK_BUCKETS_SECONDS: [f64; 9] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0, 60.0];
/// Upper bounds of upstream's `apiserver_validating_admission_policy_check_duration_seconds`.
const POLICY_BUCKETS_SECONDS: [f64; 6] = [0.0000005, 0.001, 0.01, 0.1, 1.0, 10.0];

/// Counts by sets of labels. They come from configurations, of which there are few.
#[derive(Default)]
pub struct Counts {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By metric and labels.
    counters: BTreeMap<(&'static str, String), u64>,
    durations: BTreeMap<(&'static str, String), Histogram>,
}

const WEBHOOK_DURATION: &str = "apiserver_admission_webhook_admission_duration_seconds";
const WEBHOOK_REJECTIONS: &str = "apiserver_admission_webhook_rejection_count";
const WEBHOOK_REQUESTS: &str = "apiserver_admission_webhook_request_total";
const WEBHOOK_FAIL_OPEN: &str = "apiserver_admission_webhook_fail_open_count";
const CONDITION_EXCLUSIONS: &str = "apiserver_admission_match_condition_exclusions_total";
const VALIDATING_CHECKS: &str = "apiserver_validating_admission_policy_check_total";
const VALIDATING_DURATION: &str = "apiserver_validating_admission_policy_check_duration_seconds";
const MUTATING_CHECKS: &str = "apiserver_mutating_admission_policy_check_total";
const MUTATING_DURATION: &str = "apiserver_mutating_admission_policy_check_duration_seconds";

const COUNTERS: [(&str, &str); 6] = [
    (CONDITION_EXCLUSIONS, "Requests that match conditions kept from a webhook or policy."),
    (MUTATING_CHECKS, "Mutations by policies."),
    (VALIDATING_CHECKS, "Checks by policies."),
    (WEBHOOK_FAIL_OPEN, "Webhooks that failed and were passed over."),
    (WEBHOOK_REJECTIONS, "Requests that webhooks refused."),
    (WEBHOOK_REQUESTS, "Calls of webhooks."),
];

const DURATIONS: [(&str, &str); 3] = [
    (MUTATING_DURATION, "Time that a mutation took."),
    (VALIDATING_DURATION, "Time that a check took."),
    (WEBHOOK_DURATION, "Time that a webhook took."),
];

impl Counts {
    /// A webhook was called; `failure` says how it failed and with which HTTP code.
    pub(super) fn webhook_called(
        &self,
        name: &str,
        sort: &str,
        operation: Operation,
        took: Duration,
        failure: Option<(&str, u16)>,
    ) {
        let rejected = failure.is_some();
        let code = failure.map_or(200, |(_, code)| code);
        let name = clean(name);
        let base = format!("name=\"{name}\",operation=\"{}\"", operation.as_str());
        let mut state = self.state.lock();
        let labels = format!("{base},rejected=\"{rejected}\",type=\"{sort}\"");
        state.observe(WEBHOOK_DURATION, labels, &WEBHOOK_BUCKETS_SECONDS, took);
        let labels = format!(
            "code=\"{code}\",name=\"{name}\",operation=\"{}\",rejected=\"{rejected}\",type=\"{sort}\"",
            operation.as_str()
        );
        state.count(WEBHOOK_REQUESTS, labels);
        if let Some((kind, code)) = failure {
            let code = if kind == "no_error" { code } else { 0 };
            let labels = format!(
                "error_type=\"{kind}\",name=\"{name}\",operation=\"{}\",rejection_code=\"{code}\",type=\"{sort}\"",
                operation.as_str()
            );
            state.count(WEBHOOK_REJECTIONS, labels);
        }
    }

    /// A webhook failed and the request went on.
    pub(super) fn webhook_failed_open(&self, name: &str, sort: &str) {
        self.state.lock().count(WEBHOOK_FAIL_OPEN, format!("name=\"{}\",type=\"{sort}\"", clean(name)));
    }

    /// A match condition kept a request away; `kind` is `webhook` or `policy`.
    pub(super) fn condition_excluded(&self, name: &str, kind: &str, request: &Request<'_>) {
        let labels =
            format!("kind=\"{kind}\",name=\"{}\",operation=\"{}\"", clean(name), request.operation.as_str());
        self.state.lock().count(CONDITION_EXCLUSIONS, labels);
    }

    /// A policy was evaluated. `action` is `allow`, `deny`, `audit` or `warn`; `error` is `no_error`,
    /// `compile_error`, `invalid_error` or `out_of_budget`.
    pub(super) fn policy_checked(&self, check: &Check<'_>) {
        let labels = format!(
            "enforcement_action=\"{}\",error_type=\"{}\",policy=\"{}\",policy_binding=\"{}\"",
            check.action,
            check.error,
            clean(check.policy),
            clean(check.binding)
        );
        let (checks, duration) = if check.mutating {
            (MUTATING_CHECKS, MUTATING_DURATION)
        } else {
            (VALIDATING_CHECKS, VALIDATING_DURATION)
        };
        let mut state = self.state.lock();
        state.observe(duration, labels.clone(), &POLICY_BUCKETS_SECONDS, check.took);
        state.count(checks, labels);
    }

    /// Writes what Prometheus reads.
    pub(crate) fn write(&self, out: &mut String) -> std::fmt::Result {
        let state = self.state.lock();
        for (name, help) in COUNTERS {
            let series = state.counters.range((name, String::new())..).take_while(|((n, _), _)| *n == name);
            for (index, ((_, labels), count)) in series.enumerate() {
                if index == 0 {
                    head(out, name, "counter", help)?;
                }
                writeln!(out, "{name}{{{labels}}} {count}")?;
            }
        }
        for (name, help) in DURATIONS {
            let series = state.durations.range((name, String::new())..).take_while(|((n, _), _)| *n == name);
            for (index, ((_, labels), histogram)) in series.enumerate() {
                if index == 0 {
                    head(out, name, "histogram", help)?;
                }
                histogram.write(out, name, labels)?;
            }
        }
        Ok(())
    }
}

/// One evaluation of a policy.
pub(super) struct Check<'a> {
    pub(super) mutating: bool,
    pub(super) policy: &'a str,
    pub(super) binding: &'a str,
    pub(super) action: &'a str,
    pub(super) error: &'a str,
    pub(super) took: Duration,
}

impl State {
    fn count(&mut self, name: &'static str, labels: String) {
        *self.counters.entry((name, labels)).or_default() += 1;
    }

    fn observe(&mut self, name: &'static str, labels: String, bounds: &'static [f64], took: Duration) {
        let histogram = self.durations.entry((name, labels)).or_insert_with(|| Histogram::new(bounds));
        histogram.observe(took.as_secs_f64());
    }
}

fn clean(label: &str) -> String {
    label.replace(['"', '\\', '\n'], "")
}
