//! Kinds of the core group with verbs, or storage, of their own.

pub(crate) mod allocation;
pub(crate) mod binding;
pub(crate) mod component_status;
pub(crate) mod event;
pub(crate) mod event_expiry;
pub(crate) mod eviction;
pub(crate) mod kubernetes_service;
pub(crate) mod namespace;
pub(crate) mod service;
pub(crate) mod service_account;
pub(crate) mod service_families;
