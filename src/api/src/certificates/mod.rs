//! `certificates.k8s.io`.

use crate::Kind;

mod certificate_signing_request;
mod cluster_trust_bundle;
mod names;
pub(crate) mod pem;

pub(crate) use names::{most_seconds, signer_name, trust_bundle_name};

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] =
    &[&certificate_signing_request::CertificateSigningRequest, &cluster_trust_bundle::ClusterTrustBundle];
