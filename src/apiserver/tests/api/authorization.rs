//! Authorizers other than RBAC and Node, and their order.

use crate::remote::{Remote, json};
use apiserver::authentication::UserInfo;
use apiserver::authorization::{AuthorizationConfiguration, AuthorizationOptions};
use jiff::Timestamp;
use pki::Pki;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use testkit::{Answer, TestServer, eventually};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn list_as(server: &TestServer, name: &str) -> Answer {
    server.request_as(Some(UserInfo::new(name, &["dev"])), "GET", MAPS, &[], "").await
}

/// Allows jane, refuses joe, fails for jim, and knows nobody else.
async fn webhook(directory: &TempDir) -> Remote {
    let pki = Arc::new(Pki::load_or_create(directory.path(), Timestamp::now()).unwrap());
    Remote::start(&pki, "hook", [127, 0, 0, 1], |seen| {
        let spec = seen.json()["spec"].clone();
        assert_eq!(
            spec["resourceAttributes"],
            json!({"verb": "list", "version": "v1", "resource": "configmaps", "namespace": "default"})
        );
        assert_eq!(spec["groups"], json!(["dev", "system:authenticated"]));
        let status = match spec["user"].as_str() {
            Some("jane") => json!({"allowed": true, "reason": "she may"}),
            Some("joe") => json!({"allowed": false, "denied": true, "reason": "he may not"}),
            Some("jim") => return json(400, &json!({"kind": "Status", "message": "no idea"})),
            _ => json!({"allowed": false}),
        };
        json(201, &json!({"kind": "SubjectAccessReview", "status": status}))
    })
    .await
}

fn configuration(kubeconfig: &Path, failure: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {{type: RBAC, name: rbac}}
- type: Webhook
  name: hook
  webhook:
    {{timeout: 5s, authorizedTTL: 1m, unauthorizedTTL: 1m, subjectAccessReviewVersion: v1, failurePolicy: {failure},
    matchConditionSubjectAccessReviewVersion: v1,
    matchConditions: [{{expression: \"has(request.resourceAttributes) && request.user != 'ben'\"}}],
    connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {}}}}}
- {{type: AlwaysDeny, name: deny}}
",
        kubeconfig.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_decides_after_rbac_and_is_asked_once() {
    let directory = TempDir::new().unwrap();
    let hook = webhook(&directory).await;
    let file = directory.path().join("authorization.yaml");
    let kubeconfig = hook.kubeconfig(directory.path());
    std::fs::write(&file, configuration(&kubeconfig, "NoOpinion")).unwrap();
    let server =
        TestServer::start_with(|config| config.authorization = AuthorizationOptions::File(file.clone()))
            .await;
    let forbidden = "configmaps is forbidden: User \"NAME\" cannot list resource \"configmaps\" in API group \"\" in the \
        namespace \"default\": ";
    for _ in 0..2 {
        list_as(&server, "jane").await.expect(200);
        let joe = list_as(&server, "joe").await.expect(403);
        assert_eq!(joe["message"], forbidden.replace("NAME", "joe") + "he may not");
        let ann = list_as(&server, "ann").await.expect(403);
        assert_eq!(ann["message"], forbidden.replace("NAME", "ann") + "Everything is forbidden.");
    }
    let ben = list_as(&server, "ben").await.expect(403);
    assert_eq!(ben["message"], forbidden.replace("NAME", "ben") + "Everything is forbidden.");
    assert_eq!(hook.count("/"), 3);
    let jim = list_as(&server, "jim").await.expect(403);
    let told = jim["message"].as_str().unwrap();
    assert!(told.contains("no idea\nEverything is forbidden."), "{told}");
    // What the first authorizer allows the webhook is not asked about.
    server.get(MAPS).await.expect(200);
    assert_eq!(hook.count("/"), 4);
    let rules = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}});
    let told = server.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &rules).await.expect(201);
    assert_eq!(told["status"]["incomplete"], true);
    assert_eq!(told["status"]["evaluationError"], "webhook authorizer does not support user rule resolution");
    // The file is followed: who cannot be judged is refused at once.
    std::fs::write(&file, configuration(&kubeconfig, "Deny")).unwrap();
    eventually("the new failure policy is used", || async {
        let jim = list_as(&server, "jim").await;
        (!jim.message().contains("Everything")).then_some(jim)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_do_everything_where_that_is_said() {
    let modes = ["AlwaysAllow".to_owned()];
    let server = TestServer::start_with(|config| {
        let modes = AuthorizationConfiguration::from_modes(&modes, None);
        config.authorization = AuthorizationOptions::Given(modes);
    })
    .await;
    list_as(&server, "anybody").await.expect(200);
    let rules = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}});
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let anybody = Some(UserInfo::new("anybody", &[]));
    let told = server.request_as(anybody, "POST", uri, &[], rules.to_string()).await.expect(201);
    assert_eq!(
        told["status"]["resourceRules"],
        json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])
    );
    assert_eq!(told["status"]["incomplete"], Value::Bool(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn impersonation_can_be_kept_to_what_the_request_does() {
    let server = TestServer::start().await;
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
    let grant = async |name: &str, user: &str, rules: Value| {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
        server.post(&format!("{RBAC}/clusterroles"), &role).await.expect(201);
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]});
        server.post(&format!("{RBAC}/clusterrolebindings"), &binding).await.expect(201);
    };
    grant("jane", "jane", json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}])).await;
    grant(
        "helper",
        "helper",
        json!([
            {"apiGroups": ["authentication.k8s.io"], "resources": ["users"], "resourceNames": ["jane"], "verbs": ["impersonate:user-info"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["impersonate-on:user-info:list"]},
        ]),
    )
    .await;
    let as_jane = async |method: &str, uri: &str, groups: &[(&str, &str)]| {
        let mut headers = vec![("impersonate-user", "jane")];
        headers.extend(groups);
        let helper = Some(UserInfo::new("helper", &[]));
        server.request_as(helper, method, uri, &headers, "{}").await
    };
    as_jane("GET", MAPS, &[]).await.expect(200);
    let refused = as_jane("DELETE", &format!("{MAPS}/x"), &[]).await.expect(403);
    assert_eq!(
        refused["message"],
        "configmaps \"x\" is forbidden: User \"helper\" cannot impersonate-on:user-info:delete resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let masters = as_jane("GET", MAPS, &[("impersonate-group", "system:masters")]).await.expect(403);
    let told = masters["message"].as_str().unwrap();
    assert!(told.contains("impersonating the system:masters group is not allowed"), "{told}");
    // The old permission still is one.
    grant("old", "helper", json!([{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}]))
        .await;
    as_jane("DELETE", &format!("{MAPS}/x"), &[]).await.expect(404);
}
