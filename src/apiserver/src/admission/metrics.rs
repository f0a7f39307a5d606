//! How long admission takes, by step and by plugin.

use super::chain::Operation;
use crate::metrics::{Histogram, head};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::Instant;

/// Upstream's bounds.
const DURATION_SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const OPERATIONS: [Operation; 4] =
    [Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];
/// What plugins do in a step.
const STEPS: [&str; 2] = ["admit", "validate"];
const REJECTED: [&str; 2] = ["false", "true"];
const CELLS: usize = OPERATIONS.len() * STEPS.len() * REJECTED.len();

/// Durations by operation, step and outcome; those that never occur cost nothing.
#[derive(Default)]
pub(super) struct Durations([OnceLock<Histogram>; CELLS]);

impl Durations {
    /// Counts how long something took.
    pub(super) fn observe(&self, operation: Operation, validates: bool, rejected: bool, took: Duration) {
        let operation = OPERATIONS.iter().position(|other| *other == operation).unwrap_or(0);
        let cell =
            (operation * STEPS.len() + usize::from(validates)) * REJECTED.len() + usize::from(rejected);
        if let Some(cell) = self.0.get(cell) {
            cell.get_or_init(|| Histogram::new(DURATION_SECONDS)).observe(took.as_secs_f64());
        }
    }

    fn write(&self, out: &mut String, metric: &str, more: &str) -> std::fmt::Result {
        let labels = OPERATIONS.iter().flat_map(|operation| {
            STEPS
                .iter()
                .flat_map(move |step| REJECTED.iter().map(move |rejected| (operation, step, rejected)))
        });
        for (cell, (operation, step, rejected)) in self.0.iter().zip(labels) {
            let Some(histogram) = cell.get() else { continue };
            let operation = operation.as_str();
            let labels = format!("{more}operation=\"{operation}\",rejected=\"{rejected}\",type=\"{step}\"");
            histogram.write(out, metric, &labels)?;
        }
        Ok(())
    }
}

/// A step under way.
pub(super) struct Step {
    operation: Operation,
    validates: bool,
    began: Instant,
    last: Instant,
}

impl Step {
    /// Begins a step.
    pub(super) fn begin(operation: Operation, validates: bool) -> Self {
        let began = Instant::now();
        Self { operation, validates, began, last: began }
    }

    /// A plugin is through.
    pub(super) fn done(&mut self, durations: &Durations, rejected: bool) {
        let now = Instant::now();
        durations.observe(self.operation, self.validates, rejected, now - self.last);
        self.last = now;
    }

    /// The step is through.
    pub(super) fn end(&self, durations: &Durations, rejected: bool) {
        durations.observe(self.operation, self.validates, rejected, self.last - self.began);
    }
}

/// Writes the durations of all steps and of each plugin.
pub(super) fn write<'a>(
    out: &mut String,
    steps: &Durations,
    plugins: impl Iterator<Item = (&'static str, &'a Durations)>,
) -> std::fmt::Result {
    const STEP: &str = "apiserver_admission_step_admission_duration_seconds";
    const PLUGIN: &str = "apiserver_admission_controller_admission_duration_seconds";
    head(out, STEP, "histogram", "Time that all plugins took.")?;
    steps.write(out, STEP, "")?;
    head(out, PLUGIN, "histogram", "Time that a plugin took.")?;
    for (name, durations) in plugins {
        durations.write(out, PLUGIN, &format!("name=\"{name}\","))?;
    }
    Ok(())
}
