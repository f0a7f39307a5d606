//! Stored objects: access for everyone inside the crate, and the pipeline that writes go through.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/registry` and `pkg/registry`.

mod admin_access;
mod certificates;
pub(crate) mod core;
mod dates;
pub(crate) mod deletion;
mod error;
mod extractor;
mod key;
mod meta_rules;
pub(crate) mod own;
mod resources;
mod runtime_config;
mod served;
mod store;
mod strategy;
mod update;
pub(crate) mod writer;

pub(crate) use core::event_expiry::TIME_TO_LIVE as EVENT_TTL;
pub(crate) use error::{Failure, status as status_of};
pub(crate) use strategy::{creates_on_update, shows_deleted};

pub use extractor::FieldExtractor;
pub use key::{key, prefix};
pub use resources::{Group, LiveResources, Resources};
pub use runtime_config::{RuntimeConfig, RuntimeConfigError};
pub use served::{Served, Source};
pub(crate) use store::encode;
pub use store::{Registry, decode};
