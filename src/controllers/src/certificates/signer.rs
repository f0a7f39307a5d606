//! Signs approved requests for the signers of `kubernetes.io`, by the cluster's authority.
//!
//! Upstream counterpart: `csrsigning-*`, one controller for all four.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Informer, ObjectKey, Rest};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{
        CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use pki::{Authority, CertificateRequest, Pki, Usages};

use super::{condition, is_issued, policy};
use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    manager::Config,
};

const NAME: &str = "certificatesigningrequest-signing-controller";
const SIGNERS: [&str; 4] = [policy::CLIENT, policy::KUBELET_CLIENT, policy::KUBELET_SERVING, policy::LEGACY];
/// The longest life, and what those get who do not say (upstream's `--cluster-signing-duration`).
const LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// The shortest life (KEP-2784).
const LIFE_MIN: SignedDuration = SignedDuration::from_mins(10);

/// Signs; keys are requests.
pub struct CertificateSigner {
    context: Context,
    rest: Rest,
    requests: Informer<CertificateSigningRequest>,
    pki: Option<Arc<Pki>>,
}

impl CertificateSigner {
    /// The controller, not running yet.
    pub fn new(context: &Context, config: &Config) -> Self {
        Self {
            rest: context.rest.clone(),
            requests: context.informers.get(),
            pki: config.pki.clone(),
            context: context.clone(),
        }
    }
}

enum Outcome {
    /// Not this controller's, not now, or not any more.
    Nothing,
    /// The certificate, PEM.
    Signed(String),
    /// The signer does not sign such things.
    Failed(String),
}

fn plan(
    authority: &Authority,
    request: &CertificateSigningRequest,
    now: Timestamp,
) -> Result<Outcome, ReconcileError> {
    let signer = request.spec.signer_name.as_str();
    let approved = condition(request, "Approved").is_some() && condition(request, "Denied").is_none();
    if !approved || condition(request, "Failed").is_some() || is_issued(request) || !SIGNERS.contains(&signer)
    {
        return Ok(Outcome::Nothing);
    }
    let retry = |error: pki::PkiError| ReconcileError::Retry(error.to_string());
    let parsed = CertificateRequest::from_pem(&request.spec.request.0).map_err(retry)?;
    let usages = request.spec.usages.as_deref().unwrap_or_default();
    if let Err(why) = policy::check(signer, &parsed, usages) {
        return Ok(Outcome::Failed(why));
    }
    let usages = Usages::named(usages.iter().map(String::as_str))
        .map_err(|unknown| ReconcileError::Retry(format!("unrecognized usage values: {unknown:?}")))?;
    let asked = request.spec.expiration_seconds.map(|seconds| SignedDuration::from_secs(seconds.into()));
    let life = asked.unwrap_or(LIFE).clamp(LIFE_MIN, LIFE);
    authority.sign_request(&parsed, &usages, life, now).map(Outcome::Signed).map_err(retry)
}

#[async_trait]
impl Controller for CertificateSigner {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.applied(&self.requests);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let (Some(pki), Some(request)) = (&self.pki, self.requests.get(key)) else { return Ok(Action::Done) };
        let now = self.context.now();
        let mut signed = (*request).clone();
        let status: &mut CertificateSigningRequestStatus = signed.status.get_or_insert_default();
        match plan(pki.cluster_ca(), &request, now)? {
            Outcome::Nothing => return Ok(Action::Done),
            Outcome::Signed(certificate) => status.certificate = Some(ByteString(certificate.into_bytes())),
            Outcome::Failed(message) => {
                status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
                    type_: "Failed".into(),
                    status: "True".into(),
                    reason: Some("SignerValidationFailure".into()),
                    message: Some(message),
                    last_update_time: Some(Time(now)),
                    ..CertificateSigningRequestCondition::default()
                });
            }
        }
        self.rest.replace_status(&signed).await?;
        Ok(Action::Done)
    }
}
