//! `certificates.k8s.io`.

use crate::Kind;

mod certificate_signing_request;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[&certificate_signing_request::CertificateSigningRequest];
