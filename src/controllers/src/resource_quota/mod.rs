//! ResourceQuotas: counts what namespaces use, so that `status.used` comes down when something goes.
//!
//! Admission reserves on the way in (see `apiserver::admission`); what is only released, and what a failed write left
//! reserved, is found here. Resources that no quota names are not watched.
//!
//! Upstream counterpart: `resourcequota-controller`.

mod controller;
mod monitors;
mod slim;

pub use controller::ResourceQuotaController;
