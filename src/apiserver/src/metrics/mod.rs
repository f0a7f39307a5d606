//! What `/metrics` tells, under upstream's names, in Prometheus' text form.
//!
//! Counting values by size is `apimachinery::metrics`.
//!
//! | module | what lives there |
//! |---|---|
//! | [`requests`] | `apiserver_request_*`, requests under way, sizes of answers, events of watches |
//! | [`storage`] | `etcd_request_duration_seconds`: what writes wait for |
//! | [`process`] | `process_*`, `kubernetes_build_info` |

mod process;
mod requests;
mod storage;

pub use requests::Metrics;

pub(crate) use apimachinery::metrics::{Histogram, head};
pub(crate) use process::write as write_process;
pub(crate) use storage::{Metered, StorageMetrics};
