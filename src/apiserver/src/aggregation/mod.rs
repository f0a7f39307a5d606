//! Aggregation: groups and versions that other servers serve (`apiregistration.k8s.io`), as if this one did.
//!
//! ```text
//!  request ── authenticated, authorized ──> remote APIService? ── front-proxy certificate, X-Remote-* ──> its Service
//!                                                │ no
//!                                                └──> served here
//!
//!  APIServices, Services, EndpointSlices ── watched ──> availability ──> status, discovery, OpenAPI
//! ```
//!
//! | module | what |
//! |---|---|
//! | `api_service` | an APIService, and its condition |
//! | `table` | all of them, and what changes availability |
//! | `availability` | whether the server behind one answers |
//! | `documents`, `swagger`, `converted` | discovery and OpenAPI of those servers |
//! | `registration` | the APIServices of what is served here |
//! | `proxy`, `identity` | passing requests on, as their user |
//!
//! Upstream counterpart: `k8s.io/kube-aggregator`.

mod aggregator;
mod api_service;
mod availability;
mod converted;
mod documents;
mod identity;
mod proxy;
mod registration;
mod swagger;
mod table;

pub(crate) use aggregator::Aggregator;
pub(crate) use documents::{OpenApiElsewhere, Overlay};
pub(crate) use swagger::Swagger;

/// The group of APIServices.
pub(crate) const GROUP: &str = "apiregistration.k8s.io";
