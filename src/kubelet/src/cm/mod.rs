//! Container manager: what requests and limits mean to the kernel. `limits` and `oom` are pure, `cgroups`
//! writes files.

mod cgroups;
mod limits;
mod oom;

pub use cgroups::{CgroupError, Cgroups};
pub use limits::{
    KernelFeatures, QUOTA_PERIOD_MICROSECONDS, container_resources, milli_cpu_to_quota, milli_cpu_to_shares,
    pod_limits,
};
pub use oom::oom_score_adj;
