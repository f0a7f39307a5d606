//! What `/metrics` tells of this process's clients and queues, under upstream's names.
//!
//! One set a process, as its clients and queues are: whoever serves `/metrics` is handed [`write`].
//!
//! | module | what lives there |
//! |---|---|
//! | [`queues`] | `workqueue_*` |
//! | [`requests`] | `rest_client_*` |
//!
//! Upstream counterpart: `k8s.io/component-base/metrics/prometheus/{workqueue,restclient}`.

pub(crate) mod queues;
pub(crate) mod requests;

use std::fmt;

/// Writes all of it.
///
/// # Errors
/// None, when `out` takes all that is written.
pub fn write(out: &mut String) -> fmt::Result {
    queues::PROCESS.write(out)?;
    requests::PROCESS.write(out)
}
