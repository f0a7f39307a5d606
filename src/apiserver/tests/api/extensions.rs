//! Paths beside Kubernetes' own.

use apimachinery::status::Result;
use apiserver::Body;
use apiserver::authentication::UserInfo;
use apiserver::endpoints::Extension;
use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::sync::Arc;
use testkit::TestServer;

struct Echo;

#[async_trait]
impl Extension for Echo {
    fn path(&self) -> &str {
        "/knarr/v1/echo"
    }

    async fn answer(&self, user: &UserInfo, request: Request<Body>) -> Result<Response<Body>> {
        let said = json!({
            "user": user.name, "method": request.method().as_str(), "uri": request.uri().to_string(),
            "type": request.headers()["content-type"].to_str().unwrap(),
            "body": request.into_body().collect().await.unwrap().to_bytes().len(),
        });
        Ok(Response::new(Full::from(said.to_string()).map_err(|never| match never {}).boxed_unsync()))
    }
}

#[tokio::test]
async fn an_extension_answers_whoever_may_ask_it() {
    let server = TestServer::start_with(|config| config.extensions.push(Arc::new(Echo))).await;
    let said = server.post("/knarr/v1/echo/a?b=c", &json!({"x": 1})).await.expect(200);
    assert_eq!(
        said,
        json!({"user": UserInfo::admin().name, "method": "POST", "uri": "/knarr/v1/echo/a?b=c",
               "type": "application/json", "body": 7})
    );
    server.get("/knarr/v1/echoes").await.expect(404);
    server.get("/knarr/v1").await.expect(404);
    let ask =
        async |user: Option<UserInfo>| server.request_as(user, "GET", "/knarr/v1/echo", &[], "").await.code;
    let bob = UserInfo::new("bob", &["system:authenticated"]);
    assert_eq!((ask(Some(bob.clone())).await, ask(None).await), (403, 403));
    let role = json!({"metadata": {"name": "echo"}, "rules": [{"nonResourceURLs": ["/knarr/v1/echo"], "verbs": ["get"]}]});
    server.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(201);
    let binding = json!({
        "metadata": {"name": "echo"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "echo"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    });
    server.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.expect(201);
    let allowed = || async { (ask(Some(bob.clone())).await == 200).then_some(()) };
    testkit::eventually("the binding counts", allowed).await;
    let posted = server.request_as(Some(bob.clone()), "POST", "/knarr/v1/echo", &[], "").await;
    assert_eq!((posted.code, posted.json()["kind"].clone()), (403, Value::from("Status")));
}
