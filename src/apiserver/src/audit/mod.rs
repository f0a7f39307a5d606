//! The audit log: who did what, when, and what came of it (`audit.k8s.io/v1`).
//!
//! | module | what lives there |
//! |---|---|
//! | [`policy`] | the policy file: which requests are told of, and how much |
//! | [`event`] | one event as JSON |
//! | [`annotations`] | what parts of the server note about a request |
//! | [`record`] | the events of one request, by stage |
//! | [`auditor`] | policy, counts and the way to the log |
//! | [`delivery`] | whether requests wait for the log, batches, sizes |
//! | [`log`], [`rotating_file`] | the log's thread and its files |
//! | [`webhook`] | events posted to a webhook |
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/audit` and `plugin/pkg/audit`.

mod annotations;
mod auditor;
mod delivery;
mod event;
mod log;
mod policy;
mod record;
mod rotating_file;
mod webhook;

pub use annotations::Annotations;
pub use auditor::Auditor;
pub use delivery::{Delivery, Mode, Truncation};
pub use log::LogOptions;
pub use policy::{Policy, PolicyError};
pub use webhook::WebhookOptions;

pub(crate) use auditor::Sender;
pub(crate) use record::Record;
