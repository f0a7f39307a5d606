//! Publishes the pods behind services as EndpointSlices (KEP-752).
//!
//! Upstream counterpart: `endpointslice-controller`.

pub(crate) mod controller;
mod desired;
mod reconcile;

pub use controller::EndpointSliceController;
pub(crate) use reconcile::{Changes, Wanted, reconcile};
