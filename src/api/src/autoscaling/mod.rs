//! `autoscaling`.

use crate::Kind;

mod behavior;
mod horizontal_pod_autoscaler;
mod metrics;
mod v1;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[&horizontal_pod_autoscaler::HorizontalPodAutoscaler];
