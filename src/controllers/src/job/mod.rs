//! Runs pods until so many of them have succeeded.
//!
//! Upstream counterpart: `job-controller`, with tracking by finalizer (KEP-2307), completion indexes (KEP-2214),
//! back-off per index (KEP-3850), pod failure policy (KEP-3329), success policy (KEP-3998), pod replacement
//! policy (KEP-3939), `suspend` (KEP-2232) and `managedBy` (KEP-4368).
//!
//! Pods carry a finalizer until they are counted. Counting is in two writes, so that neither a crash nor a lost
//! race counts a pod twice or not at all: first the pods' uids go into `status.uncountedTerminatedPods`, then the
//! finalizers go, then the uids become numbers.
//!
//! | file | what is in it |
//! |---|---|
//! | `controller` | watching and writing |
//! | `plan` | what to start, what to end, whether the job is over |
//! | `tally` | counting pods |
//! | `failure_policy` | what a failed pod means |
//! | `indexes` | sets of completion indexes as text |
//! | `template` | pods of a job |

mod backoff;
mod conditions;
mod controller;
mod failure_policy;
mod indexes;
mod plan;
mod tally;
mod template;
#[cfg(test)]
mod tests;

pub(crate) use conditions::finished_at;
pub use controller::JobController;
