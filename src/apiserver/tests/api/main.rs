//! The API server through its requests. One program, since linking takes longer than running.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod admission_policies;
mod admission_reviews;
mod admission_webhooks;
mod aggregation;
mod audit;
mod authentication;
mod authorization;
mod authors;
mod conversions;
mod crud;
mod custom_resources;
mod deletion;
mod discovery;
mod encryption;
mod endpoints;
mod extensions;
mod flow_control;
mod kms;
mod lagging;
mod lists;
mod negotiation;
mod observability;
mod openapi;
mod outbound;
mod patches;
mod proxying;
mod remote;
mod security;
mod services;
mod subresources;
mod support;
mod transport;
mod watches;
