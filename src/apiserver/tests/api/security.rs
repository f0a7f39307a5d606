//! Who may do what, through the whole server: credentials, rights, admission.

use apiserver::authentication::UserInfo;
use serde_json::{Value, json};
use testkit::TestServer;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

async fn get_as(server: &TestServer, user: &UserInfo, uri: &str) -> testkit::Answer {
    server.request_as(Some(user.clone()), "GET", uri, &[], Vec::new()).await
}

async fn post_as(server: &TestServer, user: &UserInfo, uri: &str, body: &Value) -> testkit::Answer {
    server.request_as(Some(user.clone()), "POST", uri, &[], body.to_string()).await
}

fn role_binding(name: &str, kind: &str, role: &str, subject: &Value) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}, "subjects": [subject]})
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_in_particular_sees_health_and_version_and_no_more() {
    let server = TestServer::start().await;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        server.request_as(None, "GET", path, &[], Vec::new()).await.expect(200);
    }
    let refused = server.request_as(None, "GET", "/api/v1/namespaces/default/pods", &[], Vec::new()).await;
    let status = refused.expect(403);
    assert_eq!(
        status["message"],
        "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(status["details"], json!({"kind": "pods"}));
    let path = server.request_as(None, "GET", "/metrics", &[], Vec::new()).await.expect(403);
    assert_eq!(path["message"], "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"");
    let wrong = [("authorization", "Bearer nonsense")];
    server.request_as(None, "GET", "/version", &wrong, Vec::new()).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_acts_by_its_token_as_its_bindings_allow() {
    let server = TestServer::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    server.post(accounts, &account).await.expect(201);
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let issued = server.post(&format!("{accounts}/robot/token"), &request).await.expect(201);
    let bearer = format!("Bearer {}", issued["status"]["token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    let maps = "/api/v1/namespaces/default/configmaps";
    let list = || server.request_as(None, "GET", maps, &headers, Vec::new());
    assert_eq!(
        list().await.expect(403)["message"],
        "configmaps is forbidden: User \"system:serviceaccount:default:robot\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let subject = json!({"kind": "ServiceAccount", "name": "robot", "namespace": "default"});
    server
        .post(&bindings, &role_binding("r", "ClusterRole", "system:aggregate-to-view", &subject))
        .await
        .expect(201);
    list().await.expect(200);
    server.delete(&format!("{bindings}/r"), &Value::Null).await.expect(200);
    server.delete(&format!("{accounts}/robot"), &Value::Null).await.expect(200);
    list().await.expect(401);
    let again = server.post(&format!("{accounts}/robot/token"), &request).await;
    assert_eq!(again.expect(404)["message"], "serviceaccounts \"robot\" not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_ask_what_they_may_do_and_who_they_are() {
    let server = TestServer::start().await;
    let jane = UserInfo::new("jane", &["dev"]);
    let access = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "delete", "resource": "nodes"}}});
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(post_as(&server, &jane, uri, &access).await.expect(201)["status"]["allowed"], false);
    assert_eq!(server.post(uri, &access).await.expect(201)["status"]["allowed"], true);
    let rules = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}});
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let answer = post_as(&server, &jane, uri, &rules).await.expect(201);
    assert!(!answer["status"]["nonResourceRules"].as_array().unwrap().is_empty());
    let own = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let uri = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = post_as(&server, &jane, uri, &own).await.expect(201);
    assert_eq!(
        answer["status"]["userInfo"],
        json!({"username": "jane", "groups": ["dev", "system:authenticated"]})
    );
    // Asking about others takes a right of its own.
    let other = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "jim", "resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let uri = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    post_as(&server, &jane, uri, &other).await.expect(403);
    assert_eq!(server.post(uri, &other).await.expect(201)["status"]["allowed"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_registers_its_node_and_sees_its_own_pods() {
    let server = TestServer::start().await;
    let kubelet = UserInfo::node("n1");
    let node = |name: &str, labels: Value| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
    let nodes = "/api/v1/nodes";
    let refused = post_as(&server, &kubelet, nodes, &node("n2", json!({}))).await.expect(403);
    assert_eq!(
        refused["message"],
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\""
    );
    let role = json!({"node-role.kubernetes.io/control-plane": ""});
    let refused = post_as(&server, &kubelet, nodes, &node("n1", role)).await.expect(403);
    assert_eq!(
        refused["message"],
        "nodes \"n1\" is forbidden: node \"n1\" is not allowed to set the following labels: node-role.kubernetes.io/control-plane"
    );
    let made = post_as(&server, &kubelet, nodes, &node("n1", json!({"kubernetes.io/hostname": "n1"})))
        .await
        .expect(201);
    assert_eq!(
        made["spec"]["taints"],
        json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
    );
    get_as(&server, &kubelet, "/api/v1/nodes/n1").await.expect(200);
    get_as(&server, &kubelet, "/api/v1/nodes?fieldSelector=metadata.name%3Dn1").await.expect(200);
    get_as(&server, &kubelet, "/api/v1/nodes").await.expect(403);
    get_as(&server, &kubelet, "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.expect(200);
    get_as(&server, &kubelet, "/api/v1/pods").await.expect(403);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    server.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    get_as(&server, &kubelet, "/api/v1/namespaces/default/secrets/s").await.expect(403);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]}});
    server.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    get_as(&server, &kubelet, "/api/v1/namespaces/default/secrets/s").await.expect(200);
    get_as(&server, &UserInfo::node("n2"), "/api/v1/namespaces/default/secrets/s").await.expect(403);
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n1"}, "spec": {}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    post_as(&server, &kubelet, leases, &lease).await.expect(201);
    let uri = "/api/v1/namespaces/default/pods/p";
    let gone = server.request_as(Some(kubelet), "DELETE", uri, &[], r#"{"gracePeriodSeconds":0}"#).await;
    gone.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_its_token_volume_tolerations_and_priority() {
    let server = TestServer::start().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = server.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    let spec = &made["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    let volume = &spec["volumes"][0];
    assert_eq!(
        volume["projected"]["sources"][0]["serviceAccountToken"],
        json!({"expirationSeconds": 3607, "path": "token"})
    );
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume["name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_away_what_they_do_not_have() {
    let server = TestServer::start().await;
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let jane = UserInfo::new("jane", &[]);
    let subject = json!({"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"});
    let own = role_binding("own", "ClusterRole", "system:aggregate-to-admin", &subject);
    server.post(&bindings, &own).await.expect(201);
    let more = role_binding("more", "ClusterRole", "cluster-admin", &subject);
    let refused = post_as(&server, &jane, &bindings, &more).await.expect(403);
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("is attempting to grant RBAC permissions not currently held"), "{message}");
    let same = role_binding("same", "ClusterRole", "system:aggregate-to-admin", &subject);
    post_as(&server, &jane, &bindings, &same).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn impersonation_is_for_those_who_may() {
    let server = TestServer::start().await;
    let headers = [("impersonate-user", "jane"), ("impersonate-group", "dev")];
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let uri = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = server.request("POST", uri, &headers, &review).await.expect(201);
    assert_eq!(answer["status"]["userInfo"]["username"], "jane");
    let jim = UserInfo::new("jim", &[]);
    let refused = server.request_as(Some(jim), "POST", uri, &headers, review.to_string()).await.expect(403);
    assert_eq!(
        refused["message"],
        "selfsubjectreviews.authentication.k8s.io is forbidden: User \"jim\" cannot impersonate-on:user-info:create resource \"selfsubjectreviews\" in API group \"authentication.k8s.io\" at the cluster scope"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_namespace_refuses_and_warns() {
    let server = TestServer::start().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict", "labels": {
        "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}}});
    server.post("/api/v1/namespaces", &namespace).await.expect(201);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.post("/api/v1/namespaces/strict/serviceaccounts", &account).await.expect(201);
    let pod = |host: bool| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"hostNetwork": host, "containers": [{"name": "c", "image": "i"}]}})
    };
    let refused = server.post("/api/v1/namespaces/strict/pods", &pod(true)).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)"
    );
    let made = server.post("/api/v1/namespaces/strict/pods", &pod(false)).await;
    made.expect(201);
    let warning = made.headers.get("warning").and_then(|value| value.to_str().ok()).unwrap_or("");
    assert!(warning.contains("would violate PodSecurity"), "{warning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_keeps_the_version_of_the_standards_that_it_names() {
    let server = TestServer::start().await;
    let labels = |version: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "strict", "labels": {
            "pod-security.kubernetes.io/enforce": "baseline",
            "pod-security.kubernetes.io/enforce-version": version}}})
    };
    server.post("/api/v1/namespaces", &labels("v1.33")).await.expect(201);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.post("/api/v1/namespaces/strict/serviceaccounts", &account).await.expect(201);
    let pod = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [
            {"name": "c", "image": "i", "livenessProbe": {"httpGet": {"host": "h", "port": 80}}}]}})
    };
    server.post("/api/v1/namespaces/strict/pods", &pod("old")).await.expect(201);
    let changed = server.put("/api/v1/namespaces/strict", &labels("v1.34")).await;
    changed.expect(200);
    let warnings = changed.warnings();
    assert!(warnings.iter().any(|told| told.contains("old: probe or lifecycle host")), "{warnings:?}");
    let refused = server.post("/api/v1/namespaces/strict/pods", &pod("new")).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"new\" is forbidden: violates PodSecurity \"baseline:v1.34\": probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_devices_that_others_use_need_a_marked_namespace() {
    let server = TestServer::start().await;
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let spec = json!({"devices": {"requests": [
        {"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": true}}]}});
    let claim = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"name": "a"}, "spec": spec});
    let template = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": {"name": "a"}, "spec": {"spec": spec}});
    let why = "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    let refused = server.post(claims, &claim).await.expect(422);
    assert_eq!(refused["message"], format!("ResourceClaim.resource.k8s.io \"a\" is invalid: {why}"));
    let templates = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";
    let refused = server.post(templates, &template).await.expect(422);
    assert!(refused["message"].as_str().unwrap().ends_with(why), "{refused}");
    let mark = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    server.patch("merge", "/api/v1/namespaces/default", &mark).await.expect(200);
    server.post(claims, &claim).await.expect(201);
    server.post(templates, &template).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_says_since_when_it_is_in_its_phase() {
    let server = TestServer::start().await;
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/v"}}});
    let made = server.post("/api/v1/persistentvolumes", &volume).await.expect(201);
    let since = made["status"]["lastPhaseTransitionTime"].as_str().unwrap();
    assert_eq!(since, made["metadata"]["creationTimestamp"].as_str().unwrap());
    let mut given = made.clone();
    given["status"] = json!({"phase": "Available", "lastPhaseTransitionTime": "2001-01-01T00:00:00Z"});
    let uri = "/api/v1/persistentvolumes/v/status";
    let changed = server.put(uri, &given).await.expect(200);
    assert_eq!(changed["status"]["lastPhaseTransitionTime"], "2001-01-01T00:00:00Z");
    let mut released = changed.clone();
    released["status"] = json!({"phase": "Released"});
    let changed = server.put(uri, &released).await.expect(200);
    assert_ne!(changed["status"]["lastPhaseTransitionTime"], "2001-01-01T00:00:00Z");
    assert!(changed["status"]["lastPhaseTransitionTime"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn others_can_verify_tokens_by_the_published_keys() {
    let server = TestServer::start().await;
    let document = server.get("/.well-known/openid-configuration").await.expect(200);
    assert_eq!(document["issuer"], "https://kubernetes.default.svc.cluster.local");
    let keys = server.get("/openid/v1/jwks").await;
    assert_eq!(keys.expect(200)["keys"][0]["alg"], "ES256");
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
}
