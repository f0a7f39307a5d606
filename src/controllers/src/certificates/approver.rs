//! Approves client certificates of kubelets, for whoever may ask for them.
//!
//! Upstream counterpart: `csrapproving`.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Event, Informer, ObjectKey, Rest};
use http::Method;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use pki::CertificateRequest;
use serde_json::{Value, json};

use super::{condition, is_issued, policy};
use crate::framework::{Action, Context, Controller, ReconcileError, Watches};

const NAME: &str = "certificatesigningrequest-approving-controller";

/// Approves; keys are requests.
pub struct CertificateApprover {
    rest: Rest,
    requests: Informer<CertificateSigningRequest>,
}

impl CertificateApprover {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { rest: context.rest.clone(), requests: context.informers.get() }
    }

    /// Whether the requester may create this subresource of requests.
    async fn may(
        &self,
        request: &CertificateSigningRequest,
        subresource: &str,
    ) -> Result<bool, ReconcileError> {
        let spec = &request.spec;
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": spec.username, "uid": spec.uid, "groups": spec.groups, "extra": spec.extra,
                "resourceAttributes": {
                    "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create",
                    "subresource": subresource,
                },
            },
        });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let text = self.rest.raw(Method::POST, path, Some(review.to_string().into_bytes())).await?;
        let answer: Value = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        Ok(answer.pointer("/status/allowed").and_then(Value::as_bool) == Some(true))
    }
}

/// The permissions that would do, with what is told of the approval; the kubelet's own first.
fn permissions(request: &CertificateSigningRequest) -> Vec<(&'static str, &'static str)> {
    let decided = condition(request, "Approved").is_some() || condition(request, "Denied").is_some();
    if decided || is_issued(request) || request.spec.signer_name != policy::KUBELET_CLIENT {
        return Vec::new();
    }
    let usages = request.spec.usages.as_deref().unwrap_or_default();
    let Ok(parsed) = CertificateRequest::from_pem(&request.spec.request.0) else { return Vec::new() };
    if policy::kubelet_client(&parsed, usages).is_err() {
        return Vec::new();
    }
    let mut all = Vec::new();
    if request.spec.username.as_deref() == Some(parsed.common_name.as_str()) {
        all.push((
            "selfnodeclient",
            "Auto approving self kubelet client certificate after SubjectAccessReview.",
        ));
    }
    all.push(("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."));
    all
}

#[async_trait]
impl Controller for CertificateApprover {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.mapped(&self.requests, |event, keys| {
            if let Event::Applied(request, _) = event {
                keys.add(ObjectKey::of(&**request));
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(request) = self.requests.get(key) else { return Ok(Action::Done) };
        let mut tried = Vec::new();
        for (subresource, message) in permissions(&request) {
            if self.may(&request, subresource).await? {
                let mut approved = (*request).clone();
                let status = approved.status.get_or_insert_default();
                status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
                    type_: "Approved".into(),
                    status: "True".into(),
                    reason: Some("AutoApproved".into()),
                    message: Some(message.into()),
                    ..CertificateSigningRequestCondition::default()
                });
                self.rest.put(&approved, "approval").await?;
                return Ok(Action::Done);
            }
            tried.push(subresource);
        }
        if tried.is_empty() {
            return Ok(Action::Done);
        }
        // A binding may come that allows it; the queue's back-off looks again.
        Err(ReconcileError::Retry(format!(
            "recognized csr {:?} as [{}] but subject access review was not approved",
            key.name,
            tried.join(" ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::{ByteString, api::certificates::v1::CertificateSigningRequestSpec};

    #[test]
    fn only_kubelets_are_approved_and_only_once() {
        let request = |user: &str, signer: &str, name: &str| CertificateSigningRequest {
            spec: CertificateSigningRequestSpec {
                request: ByteString(policy::tests::pem("system:nodes", name, &[]).into_bytes()),
                signer_name: signer.into(),
                usages: Some(vec!["digital signature".into(), "client auth".into()]),
                username: Some(user.into()),
                ..CertificateSigningRequestSpec::default()
            },
            ..CertificateSigningRequest::default()
        };
        let of = |request: &CertificateSigningRequest| -> Vec<&str> {
            permissions(request).into_iter().map(|(subresource, _)| subresource).collect()
        };
        let (node, signer) = ("system:node:n1", policy::KUBELET_CLIENT);
        assert_eq!(of(&request("system:bootstrap:abc", signer, node)), ["nodeclient"]);
        let mut own = request(node, signer, node);
        assert_eq!(of(&own), ["selfnodeclient", "nodeclient"]);
        assert!(of(&request(node, policy::KUBELET_SERVING, node)).is_empty());
        assert!(of(&request("me", signer, "me")).is_empty());
        let denied = CertificateSigningRequestCondition { type_: "Denied".into(), ..Default::default() };
        own.status.get_or_insert_default().conditions = Some(vec![denied]);
        assert!(of(&own).is_empty());
    }
}
