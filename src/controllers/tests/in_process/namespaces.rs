//! Namespaces: what they get, and how they go.

use serde_json::{Value, json};

use crate::cluster::{CA, Cluster, template};

#[tokio::test]
async fn every_namespace_gets_a_service_account_and_the_ca() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "/api/v1/namespaces",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
        )
        .await;
    let published = cluster
        .eventually("the CA is published", || {
            cluster.get("/api/v1/namespaces/team/configmaps/kube-root-ca.crt")
        })
        .await;
    assert_eq!(published["data"]["ca.crt"], CA);
    assert_eq!(published["metadata"]["managedFields"][0]["manager"], "kube-controller-manager");
    cluster
        .eventually("the account", || cluster.get("/api/v1/namespaces/team/serviceaccounts/default"))
        .await;
    // What somebody breaks is put right.
    cluster
        .patch(
            "/api/v1/namespaces/team/configmaps/kube-root-ca.crt",
            json!({"data": {"ca.crt": "x", "y": "z"}}),
        )
        .await;
    cluster.delete("/api/v1/namespaces/team/serviceaccounts/default", Value::Null).await;
    cluster
        .eventually("the CA is right again", || async {
            let found = cluster.get("/api/v1/namespaces/team/configmaps/kube-root-ca.crt").await?;
            (found["data"] == json!({"ca.crt": CA})).then_some(())
        })
        .await;
    cluster
        .eventually("the account is back", || cluster.get("/api/v1/namespaces/team/serviceaccounts/default"))
        .await;
}

#[tokio::test]
async fn a_secret_for_a_token_is_filled_and_goes_with_its_account() {
    let cluster = Cluster::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    cluster.create(accounts, account).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "robot-token", "annotations": {"kubernetes.io/service-account.name": "robot"}}});
    cluster.create("/api/v1/namespaces/default/secrets", secret).await;
    let uri = "/api/v1/namespaces/default/secrets/robot-token";
    let token = cluster
        .eventually("the Secret has a token", || async {
            let encoded = cluster.get(uri).await?["data"]["token"].as_str()?.to_owned();
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).ok()
        })
        .await;
    let bearer = format!("Bearer {}", String::from_utf8(token).unwrap());
    let whoami = async || {
        let uri = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let review =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
        cluster.server.request_as(None, "POST", uri, &[("authorization", &bearer)], review).await
    };
    let user = whoami().await.expect(201)["status"]["userInfo"]["username"].clone();
    assert_eq!(user, "system:serviceaccount:default:robot");
    cluster.delete(&format!("{accounts}/robot"), Value::Null).await;
    cluster
        .eventually("the Secret is gone", || async { cluster.get(uri).await.is_none().then_some(()) })
        .await;
    assert_eq!(whoami().await.code, 401);
}

#[tokio::test]
async fn a_deleted_namespace_is_emptied_and_goes() {
    let cluster = Cluster::start().await;
    cluster
        .create(
            "/api/v1/namespaces",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
        )
        .await;
    cluster
        .eventually("the account", || cluster.get("/api/v1/namespaces/team/serviceaccounts/default"))
        .await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", "nginx")},
    });
    cluster.create("/apis/apps/v1/namespaces/team/deployments", deployment).await;
    let held = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.com/hold"]},
    });
    cluster.create("/api/v1/namespaces/team/configmaps", held).await;
    cluster
        .eventually("two pods", || async {
            (cluster.list("/api/v1/namespaces/team/pods").await.len() == 2).then_some(())
        })
        .await;
    cluster.delete("/api/v1/namespaces/team", Value::Null).await;
    let namespace = cluster
        .eventually("the namespace says what holds it", || async {
            let namespace = cluster.get("/api/v1/namespaces/team").await?;
            let conditions = namespace["status"]["conditions"].as_array()?;
            let held = conditions.iter().any(|condition| {
                condition["type"] == "NamespaceFinalizersRemaining" && condition["status"] == "True"
            });
            held.then_some(namespace.clone())
        })
        .await;
    assert_eq!(namespace["status"]["phase"], "Terminating");
    cluster.patch("/api/v1/namespaces/team/configmaps/held", json!({"metadata": {"finalizers": null}})).await;
    cluster
        .eventually("the namespace is gone", || async {
            cluster.get("/api/v1/namespaces/team").await.is_none().then_some(())
        })
        .await;
    assert!(cluster.list("/apis/apps/v1/replicasets").await.is_empty());
}
