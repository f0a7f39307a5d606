//! Certificate signing requests: who is approved without being asked, and what is signed.

use apiserver::authentication::UserInfo;
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};

use crate::cluster::{Cluster, expect};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn request(name: &str, signer: &str, organization: &str, user: &str) -> Value {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, organization);
    subject.push(DnType::CommonName, user);
    params.distinguished_name = subject;
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {
            "request": STANDARD.encode(pem), "signerName": signer, "expirationSeconds": 3600,
            "usages": ["digital signature", "client auth"],
        },
    })
}

async fn issued(cluster: &Cluster, name: &str) -> String {
    cluster
        .eventually(&format!("{name} is issued"), || async {
            let found = cluster.get(&format!("{REQUESTS}/{name}")).await?;
            let certificate = STANDARD.decode(found["status"]["certificate"].as_str()?).unwrap();
            Some(String::from_utf8(certificate).unwrap())
        })
        .await
}

#[tokio::test]
async fn a_kubelet_that_may_gets_its_client_certificate_by_itself() {
    let cluster = Cluster::start().await;
    let node = UserInfo::new("system:node:n1", &["system:nodes"]);
    let body =
        request("node", "kubernetes.io/kube-apiserver-client-kubelet", "system:nodes", "system:node:n1");
    let made = cluster.server.request_as(Some(node), "POST", REQUESTS, &[], body.to_string()).await;
    expect(made, 201);
    assert!(issued(&cluster, "node").await.starts_with("-----BEGIN CERTIFICATE-----\n"));
    let found = cluster.get(&format!("{REQUESTS}/node")).await.unwrap();
    let condition = &found["status"]["conditions"][0];
    assert_eq!(condition["reason"], "AutoApproved");
    assert!(condition["lastUpdateTime"].is_string() && condition["lastTransitionTime"].is_string());
}

#[tokio::test]
async fn what_somebody_approves_is_signed_if_the_signer_signs_such_things() {
    let cluster = Cluster::start().await;
    let approve = json!({"status": {"conditions": [
        {"type": "Approved", "status": "True", "reason": "Test", "message": "yes"}]}});
    let signer = "kubernetes.io/kube-apiserver-client";
    cluster.create(REQUESTS, request("ann", signer, "dev", "ann")).await;
    cluster.patch(&format!("{REQUESTS}/ann/approval"), approve.clone()).await;
    issued(&cluster, "ann").await;
    let mut wrong = request("bob", signer, "dev", "bob");
    wrong["spec"]["usages"] = json!(["server auth"]);
    cluster.create(REQUESTS, wrong).await;
    cluster.patch(&format!("{REQUESTS}/bob/approval"), approve).await;
    let failed = cluster
        .eventually("the signer refuses", || async {
            let found = cluster.get(&format!("{REQUESTS}/bob")).await?;
            let conditions = found["status"]["conditions"].as_array()?.clone();
            conditions.into_iter().find(|condition| condition["type"] == "Failed")
        })
        .await;
    assert_eq!(failed["reason"], "SignerValidationFailure");
    assert_eq!(failed["message"], "invalid usage for client certificate: server auth");
}

#[tokio::test]
async fn a_node_gets_what_its_kubelet_serves_with_and_what_its_proxy_is() {
    let cluster = Cluster::start().await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n7"}});
    cluster.create("/api/v1/nodes", node).await;
    let ask = async |name: &str, signer: &str, usage: &str, draft: pki::Draft| {
        let body = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"request": STANDARD.encode(&draft.request_pem), "signerName": signer,
                "usages": ["digital signature", usage]},
        });
        let node = UserInfo::new("system:node:n7", &["system:nodes", "system:authenticated"]);
        let made = cluster.server.request_as(Some(node), "POST", REQUESTS, &[], body.to_string()).await;
        expect(made, 201);
    };
    let proxy = pki::Draft::new("system:kube-proxy", None, &[], &[]).unwrap();
    ask("proxy", "kubernetes.io/kube-apiserver-client", "client auth", proxy).await;
    issued(&cluster, "proxy").await;
    // Asked for before the node has told its address: granted when it has.
    let addresses = ["10.0.0.1".parse().unwrap()];
    let serving =
        pki::Draft::new("system:node:n7", Some("system:nodes"), &["n7".to_owned()], &addresses).unwrap();
    ask("serving", "kubernetes.io/kubelet-serving", "server auth", serving).await;
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
    cluster.patch("/api/v1/nodes/n7/status", status).await;
    issued(&cluster, "serving").await;
}
