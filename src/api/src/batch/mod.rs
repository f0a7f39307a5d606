//! The `batch` group: one line per kind.

mod cron_job;
mod failure_policy;
mod indexes;
mod job;
mod job_rules;
mod job_status;
mod schedule;

use crate::kind::Kind;

/// Every kind of the group.
pub(crate) const KINDS: &[&dyn Kind] = &[&cron_job::CronJob, &job::Job];
