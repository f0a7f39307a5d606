//! The scheduler with controllers and a real API server. No kubelet runs, so nodes are only objects.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod preemption;
mod spreading;
mod support;
mod volumes;
