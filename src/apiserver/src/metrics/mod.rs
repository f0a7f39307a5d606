//! What `/metrics` is made of: Prometheus' text form.

mod histogram;

pub(crate) use histogram::{Histogram, head};
