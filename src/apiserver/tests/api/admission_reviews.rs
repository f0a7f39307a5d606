//! What is created and not kept goes through admission too: reviews, bindings, evictions, requests for tokens.

use crate::admission_webhooks::{VALIDATING, configure, hook, rule, webhook};
use serde_json::{Value, json};
use testkit::TestServer;

const PODS: &str = "/api/v1/namespaces/default/pods";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

/// Path, body, group and resource as rules have them, and the kind of the object.
fn requests() -> Vec<(&'static str, Value, &'static str, &'static str, &'static str)> {
    let asked = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    let spec = json!({"spec": {"user": "u", "resourceAttributes": asked}});
    let local =
        json!({"metadata": {"namespace": "default"}, "spec": {"user": "u", "resourceAttributes": asked}});
    let (authn, authz) = ("authentication.k8s.io", "authorization.k8s.io");
    vec![
        (
            "/apis/authentication.k8s.io/v1/tokenreviews",
            json!({"spec": {"token": "t"}}),
            authn,
            "tokenreviews",
            "TokenReview",
        ),
        (
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            json!({}),
            authn,
            "selfsubjectreviews",
            "SelfSubjectReview",
        ),
        (
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            spec,
            authz,
            "subjectaccessreviews",
            "SubjectAccessReview",
        ),
        (
            "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews",
            local,
            authz,
            "localsubjectaccessreviews",
            "LocalSubjectAccessReview",
        ),
        (
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            json!({"spec": {"resourceAttributes": asked}}),
            authz,
            "selfsubjectaccessreviews",
            "SelfSubjectAccessReview",
        ),
        (
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            json!({"spec": {"namespace": "default"}}),
            authz,
            "selfsubjectrulesreviews",
            "SelfSubjectRulesReview",
        ),
        (
            "/api/v1/namespaces/default/pods/p/binding",
            json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}),
            "",
            "pods/binding",
            "Binding",
        ),
        (
            "/api/v1/namespaces/default/pods/p/eviction",
            json!({"metadata": {"name": "p"}}),
            "",
            "pods/eviction",
            "Eviction",
        ),
        (
            "/api/v1/namespaces/default/serviceaccounts/default/token",
            json!({"spec": {"audiences": ["a"]}}),
            "",
            "serviceaccounts/token",
            "TokenRequest",
        ),
    ]
}

async fn prepare(server: &TestServer) {
    server.post(ACCOUNTS, &json!({"metadata": {"name": "default"}})).await.expect(201);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server.post(PODS, &pod).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_asked_about_what_is_not_kept() {
    let server = TestServer::start().await;
    prepare(&server).await;
    let (hooks, seen) =
        webhook(|_, _| json!({"allowed": false, "status": {"message": "no", "code": 403}})).await;
    let rules: Vec<Value> = requests()
        .iter()
        .map(|(_, _, group, resource, _)| rule(&["CREATE"], group, "v1", resource))
        .collect();
    configure(&server, VALIDATING, "v", &[hook(&hooks, "all", &json!({"rules": rules}))]).await;
    for (path, body, group, resource, kind) in requests() {
        let answer = server.post(path, &body).await;
        assert_eq!(answer.code, 403, "{path}: {}", answer.text());
        assert_eq!(
            answer.message(),
            "admission webhook \"all.example.com\" denied the request: no",
            "{path}"
        );
        let (_, request) = seen.lock().unwrap().pop().unwrap();
        assert_eq!(request["kind"]["kind"], kind);
        assert_eq!(request["resource"]["group"], group);
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        assert_eq!(request["resource"]["resource"], resource);
        assert_eq!(request.get("subResource").and_then(Value::as_str).unwrap_or(""), subresource);
        assert_eq!(request["object"]["spec"], body["spec"], "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_about_actions_but_leave_reviews_alone() {
    let server = TestServer::start().await;
    prepare(&server).await;
    let group = "/apis/admissionregistration.k8s.io/v1";
    let rules: Vec<Value> = requests()
        .iter()
        .map(|(_, _, group, resource, _)| rule(&["CREATE"], group, "v1", resource))
        .collect();
    let policy = json!({"metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": rules},
        "validations": [{"expression": "false", "message": "never"}]}});
    server.post(&format!("{group}/validatingadmissionpolicies"), &policy).await.expect(201);
    let binding =
        json!({"metadata": {"name": "p"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    server.post(&format!("{group}/validatingadmissionpolicybindings"), &binding).await.expect(201);
    for (path, body, group, ..) in requests() {
        let answer = server.post(path, &body).await;
        if group.is_empty() {
            assert_eq!(answer.code, 422, "{path}: {}", answer.text());
            assert!(answer.message().ends_with("denied request: never"), "{path}: {}", answer.message());
        } else {
            answer.expect(201);
        }
    }
}
