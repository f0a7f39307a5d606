//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: expressions decide about writes (KEP-3488, KEP-3962).
//!
//! A policy says what is wanted, a binding where, and parameters, any objects of the cluster, with which values.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/admission/plugin/policy`.

mod annotations;
mod binding;
mod configuration;
mod mutating;
mod mutation;
mod params;
mod validating;
mod validation;

pub(super) use mutating::MutatingAdmissionPolicy;
pub(super) use validating::ValidatingAdmissionPolicy;

use super::counts::Counts;
use super::matching::Matcher;
use crate::authorization::Authorizer;
use crate::registry::Registry;
use std::sync::Arc;

/// What both plugins work with.
#[derive(Clone)]
pub(super) struct Tools {
    /// The stored objects: parameters are among them.
    pub(super) registry: Registry,
    /// Finds out which requests policies are for.
    pub(super) matcher: Arc<Matcher>,
    /// Answers expressions that ask for rights.
    pub(super) authorizer: Arc<dyn Authorizer>,
    /// Counts.
    pub(super) counts: Arc<Counts>,
}
