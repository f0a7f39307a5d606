//! Evictions: when memory, disk or process ids run short, pods have to go, the ones that use most beyond what
//! they asked for first. Thresholds and ranking are pure; the manager measures and acts.

mod local_storage;
mod manager;
mod observation;
mod ranking;
mod thresholds;

pub use local_storage::{LocalUsage, is_limited, limited_volumes, over_limit};
pub use manager::{EvictionManager, EvictionTarget};
pub use observation::disk;
pub use ranking::PodUsage;
pub use thresholds::{Limit, Signal, Thresholds};
