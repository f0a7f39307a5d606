//! CertificateSigningRequests: approving those of kubelets, signing what was approved, forgetting what is done.
//!
//! Upstream counterparts: `csrapproving`, `csrsigning-*` and `csrcleaner`.

mod approver;
mod cleaner;
mod policy;
mod signer;

pub use approver::CertificateApprover;
pub use cleaner::CertificateCleaner;
pub use signer::CertificateSigner;

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

fn condition<'a>(
    request: &'a CertificateSigningRequest,
    kind: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().find(|condition| condition.type_ == kind)
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}
