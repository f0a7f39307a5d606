//! Approves client certificates of kubelets, for whoever may ask for them, and what nodes ask for: serving certificates
//! with their own names and addresses, and the client certificates of their service proxies.
//!
//! Upstream counterpart: `csrapproving` for the former; the rest it leaves to people and add-ons.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use client::{Informer, ObjectKey, Rest};
use http::Method;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::api::core::v1::Node;
use pki::CertificateRequest;
use serde_json::{Value, json};

use super::{condition, is_issued, policy};
use crate::framework::{Action, Context, Controller, ReconcileError, Watches};

const NAME: &str = "certificatesigningrequest-approving-controller";

/// Approves; keys are requests.
pub struct CertificateApprover {
    rest: Rest,
    requests: Informer<CertificateSigningRequest>,
    nodes: Informer<Node>,
}

impl CertificateApprover {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { rest: context.rest.clone(), requests: context.informers.get(), nodes: context.nodes() }
    }

    async fn approve(
        &self,
        request: &CertificateSigningRequest,
        message: &str,
    ) -> Result<Action, ReconcileError> {
        let mut approved = request.clone();
        let status = approved.status.get_or_insert_default();
        status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
            type_: "Approved".into(),
            status: "True".into(),
            reason: Some("AutoApproved".into()),
            message: Some(message.into()),
            ..CertificateSigningRequestCondition::default()
        });
        self.rest.put(&approved, "approval").await?;
        Ok(Action::Done)
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

fn is_decided(request: &CertificateSigningRequest) -> bool {
    condition(request, "Approved").is_some() || condition(request, "Denied").is_some() || is_issued(request)
}

/// The node that asks for a serving certificate of its own, and what it asks for.
fn serving(request: &CertificateSigningRequest) -> Option<(String, CertificateRequest)> {
    if is_decided(request) || request.spec.signer_name != policy::KUBELET_SERVING {
        return None;
    }
    let parsed = CertificateRequest::from_pem(&request.spec.request.0).ok()?;
    let usages = request.spec.usages.as_deref().unwrap_or_default();
    policy::check(policy::KUBELET_SERVING, &parsed, usages).ok()?;
    let user = request.spec.username.as_deref()?;
    let name = user.strip_prefix("system:node:")?.to_owned();
    (is_by_node(request) && user == parsed.common_name).then_some((name, parsed))
}

/// Whether a node asks for the identity of its service proxy. It could read what that may read by other ways, since
/// every node has one: proxies are no more trusted than nodes.
fn is_proxy(request: &CertificateSigningRequest) -> bool {
    if is_decided(request) || request.spec.signer_name != policy::CLIENT {
        return false;
    }
    let Ok(parsed) = CertificateRequest::from_pem(&request.spec.request.0) else { return false };
    let usages = request.spec.usages.as_deref().unwrap_or_default();
    let plain = parsed.organizations.is_empty()
        && parsed.dns_names.is_empty()
        && parsed.addresses.is_empty()
        && parsed.emails.is_empty()
        && parsed.uris.is_empty();
    plain
        && parsed.common_name == "system:kube-proxy"
        && policy::check(policy::CLIENT, &parsed, usages).is_ok()
        && is_by_node(request)
}

fn is_by_node(request: &CertificateSigningRequest) -> bool {
    let user = request.spec.username.as_deref().unwrap_or_default();
    user.starts_with("system:node:")
        && request.spec.groups.iter().flatten().any(|group| group == "system:nodes")
}

/// Whether all that a serving certificate would speak for is the node's.
fn is_its_own(request: &CertificateRequest, node: &Node) -> bool {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let names = |name: &String| {
        node.metadata.name.as_ref() == Some(name)
            || addresses.iter().any(|known| known.type_ != "InternalIP" && known.address == *name)
    };
    let has = |address: &IpAddr| addresses.iter().any(|known| known.address.parse() == Ok(*address));
    request.dns_names.iter().all(names) && request.addresses.iter().all(has)
}

/// The permissions that would do, with what is told of the approval; the kubelet's own first.
fn permissions(request: &CertificateSigningRequest) -> Vec<(&'static str, &'static str)> {
    if is_decided(request) || request.spec.signer_name != policy::KUBELET_CLIENT {
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
        watches.applied(&self.requests);
        watches.reads(&self.nodes);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(request) = self.requests.get(key) else { return Ok(Action::Done) };
        if is_proxy(&request) {
            return self
                .approve(&request, "Auto approving the client certificate of a node's service proxy.")
                .await;
        }
        if let Some((name, parsed)) = serving(&request) {
            let node = self.nodes.find("", &name);
            if node.is_some_and(|node| is_its_own(&parsed, &node)) {
                return self
                    .approve(&request, "Auto approving serving certificate of the node itself.")
                    .await;
            }
            // Its status may be on its way.
            return Err(ReconcileError::Retry(format!(
                "node {name} does not have all names and addresses that it wants a certificate for"
            )));
        }
        let mut tried = Vec::new();
        for (subresource, message) in permissions(&request) {
            if self.may(&request, subresource).await? {
                return self.approve(&request, message).await;
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

    #[test]
    fn a_node_gets_serving_certificates_for_what_it_has_only() {
        let request = |user: &str, group: &str, name: &str, dns: &[&str]| CertificateSigningRequest {
            spec: CertificateSigningRequestSpec {
                request: ByteString(policy::tests::pem("system:nodes", name, dns).into_bytes()),
                signer_name: policy::KUBELET_SERVING.into(),
                usages: Some(vec!["digital signature".into(), "server auth".into()]),
                username: Some(user.into()),
                groups: Some(vec![group.into()]),
                ..CertificateSigningRequestSpec::default()
            },
            ..CertificateSigningRequest::default()
        };
        let node: Node = serde_json::from_value(json!({"metadata": {"name": "n1"}, "status": {"addresses": [
            {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "host1"}]}}))
        .unwrap();
        let own = "system:node:n1";
        let asked = |dns: &[&str]| serving(&request(own, "system:nodes", own, dns));
        for (dns, granted) in
            [(&["n1"][..], true), (&["host1", "n1"], true), (&["n2"], false), (&["10.0.0.1"], false)]
        {
            let (name, parsed) = asked(dns).unwrap();
            assert_eq!((name.as_str(), is_its_own(&parsed, &node)), ("n1", granted), "{dns:?}");
        }
        let (_, mut parsed) = asked(&["n1"]).unwrap();
        parsed.addresses = vec!["10.0.0.1".parse().unwrap()];
        assert!(is_its_own(&parsed, &node));
        parsed.addresses.push("10.0.0.2".parse().unwrap());
        assert!(!is_its_own(&parsed, &node));
        assert!(serving(&request("system:node:n2", "system:nodes", own, &["n1"])).is_none());
        assert!(serving(&request(own, "people", own, &["n1"])).is_none());
        assert!(serving(&request(own, "system:nodes", own, &[])).is_none());
    }

    #[test]
    fn nodes_get_the_identity_of_service_proxies_and_no_other() {
        let request = |user: &str, organization: &str, name: &str| {
            let pem = if organization.is_empty() {
                pki::Draft::new(name, None, &[], &[]).unwrap().request_pem
            } else {
                policy::tests::pem(organization, name, &[])
            };
            CertificateSigningRequest {
                spec: CertificateSigningRequestSpec {
                    request: ByteString(pem.into_bytes()),
                    signer_name: policy::CLIENT.into(),
                    usages: Some(vec!["digital signature".into(), "client auth".into()]),
                    username: Some(user.into()),
                    groups: Some(vec!["system:nodes".into()]),
                    ..CertificateSigningRequestSpec::default()
                },
                ..CertificateSigningRequest::default()
            }
        };
        let (node, proxy) = ("system:node:n1", "system:kube-proxy");
        assert!(is_proxy(&request(node, "", proxy)));
        assert!(!is_proxy(&request("somebody", "", proxy)));
        assert!(!is_proxy(&request(node, "", "system:kube-controller-manager")));
        assert!(!is_proxy(&request(node, "system:masters", proxy)));
        let mut by_others = request(node, "", proxy);
        by_others.spec.groups = None;
        assert!(!is_proxy(&by_others));
    }
}
