//! Subresources and resources with ways of their own.

use apiserver::authentication::UserInfo;
use serde_json::{Value, json};
use testkit::TestServer;

const PODS: &str = "/api/v1/namespaces/default/pods";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

async fn with_pod(server: &TestServer) -> Value {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.post(ACCOUNTS, &account).await.expect(201);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "busybox",
            "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}}]}});
    server.post(PODS, &pod).await.expect(201)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_an_ephemeral_container() {
    let server = TestServer::start().await;
    with_pod(&server).await;
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}});
    let refused = server.patch("strategic-merge", &format!("{PODS}/p"), &debug).await;
    assert_eq!(refused.code, 422, "{}", refused.text());
    let uri = format!("{PODS}/p/ephemeralcontainers");
    let patched = server.patch("strategic-merge", &uri, &debug).await.expect(200);
    assert_eq!(patched["spec"]["ephemeralContainers"][0]["name"], "debug");
    assert_eq!(server.get(&uri).await.expect(200), patched);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_resized() {
    let server = TestServer::start().await;
    with_pod(&server).await;
    let more = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "150m"}}}]}});
    assert_eq!(server.patch("strategic-merge", &format!("{PODS}/p"), &more).await.code, 422);
    let resized = server.patch("strategic-merge", &format!("{PODS}/p/resize"), &more).await.expect(200);
    assert_eq!(resized["spec"]["containers"][0]["resources"]["requests"]["cpu"], "150m");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_selected_by_node_and_phase() {
    let server = TestServer::start().await;
    with_pod(&server).await;
    let count = async |selector: &str| {
        let list = server.get(&format!("/api/v1/pods?fieldSelector={selector}")).await.expect(200);
        list["items"].as_array().unwrap().len()
    };
    assert_eq!(count("spec.nodeName%3D").await, 1);
    assert_eq!(count("spec.nodeName%3Dn1").await, 0);
    assert_eq!(count("status.phase%3DPending,metadata.namespace%3Ddefault").await, 1);
    assert_eq!(count("status.phase!%3DPending").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_gets_a_token_that_works() {
    let server = TestServer::start().await;
    with_pod(&server).await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
    let answer = server.post(&format!("{ACCOUNTS}/default/token"), &request).await.expect(201);
    let token = format!("Bearer {}", answer["status"]["token"].as_str().unwrap());
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let who = server
        .request_as(
            None,
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            &[("authorization", &token)],
            review.to_string(),
        )
        .await
        .expect(201);
    assert_eq!(who["status"]["userInfo"]["username"], "system:serviceaccount:default:default");
    server.post(&format!("{ACCOUNTS}/nope/token"), &request).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_reviewed() {
    let server = TestServer::start().await;
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "default"}}});
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(server.post(uri, &review).await.expect(201)["status"]["allowed"], true);
    let jane = Some(UserInfo::new("jane", &[]));
    let answer = server.request_as(jane, "POST", uri, &[], review.to_string()).await.expect(201);
    assert_eq!(answer["status"]["allowed"], false);
    assert_eq!(server.get(uri).await.code, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_request_is_approved_apart_from_the_rest() {
    let server = TestServer::start().await;
    let uri = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "r"},
        "spec": {"request": CSR, "signerName": "example.com/signer", "usages": ["client auth"]}});
    let created = server.post(uri, &request).await.expect(201);
    assert_eq!(created["spec"]["username"], "system:admin");
    let mut approved = created.clone();
    approved["status"] =
        json!({"conditions": [{"type": "Approved", "status": "True", "reason": "Test", "message": "ok"}]});
    let plain = server.put(&format!("{uri}/r"), &approved).await.expect(200);
    assert!(plain["status"].get("conditions").is_none(), "not by the object itself: {plain}");
    let approved = server.put(&format!("{uri}/r/approval"), &approved).await.expect(200);
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    assert_eq!(approved["spec"], created["spec"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn components_are_found_out_about() {
    let server = TestServer::start().await;
    let list = server.get("/api/v1/componentstatuses").await.expect(200);
    assert_eq!(list["items"][0]["metadata"]["name"], "etcd-0");
    assert_eq!(list["items"][0]["conditions"][0]["status"], "True");
    server.server.health().add_component("scheduler").set(true);
    let one = server.get("/api/v1/componentstatuses/scheduler").await.expect(200);
    assert_eq!(one["conditions"][0]["status"], "True");
    assert_eq!(server.get("/api/v1/componentstatuses/nope").await.code, 404);
}

/// A PKCS #10 request for CN=test (ECDSA P-256), base64 of its PEM.
const CSR: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIS01IRUNBUUF3RHpFTk1Bc0dBMVVFQXd3RWRHVnpkREJaTUJNR0J5cUdTTTQ5QWdFR0NDcUdTTTQ5QXdFSApBMElBQkJhUWE5K1RKTis5NW9aVHN4SnMzQXhvZVcvTDk5YnR1bEs2NmFjRHdpblNkM0VvRkxvOW9WRlRGeEtQCmlzc1B4U29vdUs2TjNzSFFKd3puc0NRRHhBeWdBREFLQmdncWhrak9QUVFEQWdOSkFEQkdBaUVBdit1dWIzNncKaXJvU2JPV0JURm5QSUYwdkdoTTlFaGpyMFpqOEgrd1kxY0FDSVFDNWIxekhmK05uajFHd2VMUXpMeTByRnFrcwo5VEVtN2xTdmFFNkE3dzB6WGc9PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";
