//! CertificateApproval, CertificateSigning, ClusterTrustBundleAttest and CertificateSubjectRestriction: who may
//! have which signer sign what (`certificates.k8s.io`).

use std::sync::Arc;

use apimachinery::status::Status;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::chain::{Operation, Plugin, Request, Validation};
use super::support::{forbidden, items, text};
use crate::authentication::{GROUP_MASTERS, UserInfo};
use crate::authorization::{Attributes, Authorizer};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

/// May the user do this with the signer, by its name or by all names of its domain?
async fn may(authorizer: &dyn Authorizer, user: &UserInfo, verb: &str, signer: &str) -> bool {
    let domain = signer.split_once('/').map(|(domain, _)| format!("{domain}/*"));
    for name in std::iter::once(signer.to_owned()).chain(domain) {
        let attributes = Attributes {
            verb,
            api_group: GROUP,
            api_version: "*",
            resource: "signers",
            name: &name,
            resource_request: true,
            ..Attributes::non_resource(user, "", "")
        };
        if authorizer.authorize(&attributes).await.allowed() {
            return true;
        }
    }
    false
}

/// Who approves requests may do so for this signer.
pub(super) struct CertificateApproval(Arc<dyn Authorizer>);

impl CertificateApproval {
    pub(super) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self(authorizer)
    }
}

impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for CertificateApproval {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let approves = request.is_any(GROUP, REQUESTS) && request.subresource == "approval";
        let Some(old) = request.old.filter(|_| approves) else { return Ok(()) };
        // The stored request counts, not what the caller says of it.
        let signer = text(old, "/spec/signerName");
        if may(self.0.as_ref(), request.user, "approve", signer).await {
            return Ok(());
        }
        let why = format!("user not permitted to approve requests with signerName {signer:?}");
        Err(forbidden(request, object, why))
    }
}

/// Who writes certificates may sign for this signer.
pub(super) struct CertificateSigning(Arc<dyn Authorizer>);

impl CertificateSigning {
    pub(super) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self(authorizer)
    }
}

impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for CertificateSigning {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let writes = request.is_any(GROUP, REQUESTS) && request.subresource == "status";
        let Some(old) = request.old.filter(|_| writes) else { return Ok(()) };
        let failed = |object: &Value| -> Vec<Value> {
            let conditions = items(object, "/status/conditions").iter();
            conditions.filter(|condition| text(condition, "/type") == "Failed").cloned().collect()
        };
        if text(old, "/status/certificate") == text(object, "/status/certificate")
            && failed(old) == failed(object)
        {
            return Ok(());
        }
        let signer = text(old, "/spec/signerName");
        if may(self.0.as_ref(), request.user, "sign", signer).await {
            return Ok(());
        }
        let why = format!("user not permitted to sign requests with signerName {signer:?}");
        Err(forbidden(request, object, why))
    }
}

/// Who writes trust bundles of a signer may attest for it.
pub(super) struct ClusterTrustBundleAttest(Arc<dyn Authorizer>);

impl ClusterTrustBundleAttest {
    pub(super) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self(authorizer)
    }
}

impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for ClusterTrustBundleAttest {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let signer = text(object, "/spec/signerName");
        if !request.is(GROUP, "clustertrustbundles") || !writes || signer.is_empty() {
            return Ok(());
        }
        if may(self.0.as_ref(), request.user, "attest", signer).await {
            return Ok(());
        }
        Err(forbidden(request, object, format!("user not permitted to attest for signerName {signer:?}")))
    }
}

/// Nobody gets a certificate of `system:masters` by asking for one.
pub(super) struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for CertificateSubjectRestriction {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
        let creates = request.operation == Operation::Create && request.is(GROUP, REQUESTS);
        if !creates || text(object, "/spec/signerName") != SIGNER {
            return Ok(());
        }
        let subject = subject(object).map_err(|error| forbidden(request, object, error))?;
        if subject.organizations.iter().any(|group| group == GROUP_MASTERS) {
            let why = format!("use of {SIGNER} signer with {GROUP_MASTERS} group is not allowed");
            return Err(forbidden(request, object, why));
        }
        Ok(())
    }
}

/// The name in a certificate signing request.
pub(super) struct RequestSubject {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
}

/// The name that a CertificateSigningRequest asks for.
///
/// # Errors
/// In words, when `spec.request` is no PKCS #10 request in PEM.
pub(super) fn subject(object: &Value) -> Result<RequestSubject, String> {
    let failed = || "unable to parse csr: not a PEM-encoded PKCS#10 certificate request".to_owned();
    let pem = STANDARD.decode(text(object, "/spec/request")).map_err(|_| failed())?;
    let der = CertificateSigningRequestDer::from_pem_slice(&pem).map_err(|_| failed())?;
    let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|_| failed())?;
    let name = &parsed.certification_request_info.subject;
    let organizations = name.iter_organization().filter_map(|item| item.as_str().ok()).map(str::to_owned);
    Ok(RequestSubject {
        common_name: name
            .iter_common_name()
            .last()
            .and_then(|name| name.as_str().ok())
            .unwrap_or("")
            .to_owned(),
        organizations: organizations.collect(),
    })
}
