//! From a request to its user, with every kind of credentials and none.

use super::*;
use crate::authentication::{TokenSettings, self_subject_review, token_review};
use crate::authorization::{Attributes, Decision};
use crate::cached::testing::{create, registry};
use async_trait::async_trait;
use pki::{Component, LeafRequest, Pki};
use serde_json::json;

/// Lets `boss` impersonate whom they like, except the group `forbidden`.
struct Boss;

#[async_trait]
impl Authorizer for Boss {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.name == "boss" && attributes.name != "forbidden" {
            return Decision::Allow(String::new());
        }
        Decision::NoOpinion(format!(
            "{}/{}/{}",
            attributes.api_group, attributes.resource, attributes.subresource
        ))
    }
}

struct Fixture {
    authentication: Authentication,
    pki: Pki,
    _directory: tempfile::TempDir,
    token: String,
}

async fn fixture(anonymous: bool) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), Timestamp::now()).unwrap();
    let registry = registry().await;
    create(
        &registry,
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa", "namespace": "ns"}}),
    )
    .await;
    let keys = pki.load_service_account_keys().unwrap();
    let tokens =
        ServiceAccountTokens::new(TokenSettings::for_domain("cluster.local"), keys, registry.clone());
    let mut request = json!({});
    tokens.request("ns", "sa", &mut request, Timestamp::now()).await.unwrap();
    let config = AuthenticationConfig {
        client_authorities: pki.cluster_ca().bundle().unwrap(),
        request_header: Some(RequestHeaderConfig::new(
            pki.front_proxy_ca().bundle().unwrap(),
            vec!["front-proxy-client".into()],
        )),
        service_accounts: Some(Arc::new(tokens)),
        token_file: Some(TokenFile::parse("secret,boss,1,managers").unwrap()),
        bootstrap_tokens: true,
        anonymous,
        ..AuthenticationConfig::default()
    };
    let outbound = Outbound::new(registry.clone(), ([127, 0, 0, 1], 6443).into(), false);
    let authentication = Authentication::new(config, registry, Arc::new(Boss), &outbound).unwrap();
    let token = request["status"]["token"].as_str().unwrap().to_owned();
    Fixture { authentication, pki, _directory: directory, token }
}

fn parts(headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().uri("/api");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

impl Fixture {
    async fn ask(&self, headers: &[(&str, &str)], peer: Option<Component>) -> Result<UserInfo> {
        let chain = peer.map(|component| {
            self.pki.leaf(&LeafRequest::client(component, "n1"), Timestamp::now()).unwrap().chain
        });
        let parts = parts(headers);
        let info = RequestInfo::parse(&parts.method, &parts.uri);
        self.authentication.authenticate(&parts, &info, &chain.unwrap_or_default()).await
    }
}

#[tokio::test]
async fn credentials_of_each_kind_give_their_user() {
    let fixture = fixture(true).await;
    let admin = fixture.ask(&[], Some(Component::Admin)).await.unwrap();
    assert_eq!((admin.name.as_str(), admin.in_group("system:masters")), ("kubernetes-admin", true));
    assert!(admin.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
    let again = fixture.ask(&[], Some(Component::Admin)).await.unwrap();
    assert_eq!(again, admin);
    let kubelet = fixture.ask(&[], Some(Component::KubeletClient)).await.unwrap();
    assert_eq!(kubelet.node_name(), Some("n1"));
    let bearer = format!("Bearer {}", fixture.token);
    let account = fixture.ask(&[("authorization", &bearer)], None).await.unwrap();
    assert_eq!(account.name, "system:serviceaccount:ns:sa");
    let boss = fixture.ask(&[("authorization", "Bearer secret")], None).await.unwrap();
    assert_eq!(boss.groups, ["managers", "system:authenticated"]);
    assert_eq!(fixture.ask(&[], None).await.unwrap(), UserInfo::anonymous());
    assert_eq!(fixture.ask(&[("authorization", "Basic eDp5")], None).await.unwrap(), UserInfo::anonymous());
}

#[tokio::test]
async fn bad_credentials_are_no_anonymous_request() {
    let fixture = fixture(true).await;
    for token in ["wrong", "a.b.c", &fixture.token[..fixture.token.len() - 4]] {
        let refused = fixture.ask(&[("authorization", &format!("Bearer {token}"))], None).await.unwrap_err();
        assert_eq!(refused.code, 401, "{token}");
    }
    // A certificate of the wrong authority.
    assert_eq!(fixture.ask(&[], Some(Component::FrontProxyClient)).await.unwrap_err().code, 401);
    let strict = super::tests::fixture(false).await;
    assert_eq!(strict.ask(&[], None).await.unwrap_err().code, 401);
}

#[tokio::test]
async fn a_front_proxy_names_users_and_nobody_else_does() {
    let fixture = fixture(true).await;
    let headers = [
        ("x-remote-user", "jane"),
        ("x-remote-group", "a"),
        ("x-remote-group", "b"),
        ("x-remote-extra-s%2Fc", "v"),
    ];
    let jane = fixture.ask(&headers, Some(Component::FrontProxyClient)).await.unwrap();
    assert_eq!(
        (jane.name.as_str(), jane.groups),
        ("jane", vec!["a".into(), "b".into(), "system:authenticated".into()])
    );
    assert_eq!(jane.extra["s/c"], ["v"]);
    assert_eq!(fixture.ask(&headers, None).await.unwrap(), UserInfo::anonymous());
    let admin = fixture.ask(&headers, Some(Component::Admin)).await.unwrap();
    assert_eq!(admin.name, "kubernetes-admin");
}

#[tokio::test]
async fn impersonation_needs_permission_for_each_part() {
    let fixture = fixture(true).await;
    let boss = ("authorization", "Bearer secret");
    let jane = fixture
        .ask(
            &[
                boss,
                ("impersonate-user", "jane"),
                ("impersonate-group", "g"),
                ("impersonate-extra-a.io%2fK", "v"),
                ("impersonate-uid", "7"),
            ],
            None,
        )
        .await
        .unwrap();
    assert_eq!((jane.name.as_str(), jane.uid.as_str()), ("jane", "7"));
    assert_eq!(jane.groups, ["g", "system:authenticated"]);
    assert_eq!(jane.extra["a.io/k"], ["v"]);
    let account =
        fixture.ask(&[boss, ("impersonate-user", "system:serviceaccount:ns:sa")], None).await.unwrap();
    assert_eq!(account, UserInfo::service_account("ns", "sa", ""));
    let anonymous = fixture.ask(&[boss, ("impersonate-user", "system:anonymous")], None).await.unwrap();
    assert_eq!(anonymous, UserInfo::anonymous());
    let refused = fixture
        .ask(&[boss, ("impersonate-user", "jane"), ("impersonate-group", "forbidden")], None)
        .await
        .unwrap_err();
    assert_eq!(
        refused.message,
        "groups.authentication.k8s.io \"forbidden\" is forbidden: User \"boss\" cannot impersonate:user-info resource \"groups\" in API group \"authentication.k8s.io\" at the cluster scope: authentication.k8s.io/groups/"
    );
    assert_eq!(fixture.ask(&[("impersonate-user", "jane")], None).await.unwrap_err().code, 403);
    assert_eq!(fixture.ask(&[boss, ("impersonate-group", "g")], None).await.unwrap_err().code, 500);
}

#[tokio::test]
async fn callers_in_process_are_believed() {
    let fixture = fixture(false).await;
    let mut parts = parts(&[]);
    parts.extensions.insert(UserInfo::new("system:kube-scheduler", &[]));
    let info = RequestInfo::parse(&parts.method, &parts.uri);
    let user = fixture.authentication.authenticate(&parts, &info, &[]).await.unwrap();
    assert_eq!(user.name, "system:kube-scheduler");
}

#[tokio::test]
async fn reviews_tell_whose_token_it_is() {
    let fixture = fixture(true).await;
    let mut review = json!({"spec": {"token": fixture.token}});
    token_review(&fixture.authentication, &mut review).await.unwrap();
    assert_eq!(review["status"]["authenticated"], true);
    assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:ns:sa");
    let audience = "https://kubernetes.default.svc.cluster.local";
    assert_eq!(review["status"]["audiences"], json!([audience]));
    let mut wrong = json!({"spec": {"token": fixture.token, "audiences": ["vault"]}});
    token_review(&fixture.authentication, &mut wrong).await.unwrap();
    assert!(wrong["status"]["error"].as_str().unwrap().contains("audiences"));
    assert!(wrong["status"].get("authenticated").is_none());
    let mut unknown = json!({"spec": {"token": "x"}});
    token_review(&fixture.authentication, &mut unknown).await.unwrap();
    assert_eq!(unknown["status"], json!({"user": {}, "error": "invalid bearer token"}));
    assert_eq!(token_review(&fixture.authentication, &mut json!({"spec": {}})).await.unwrap_err().code, 400);
    let mut own = json!({});
    self_subject_review(&UserInfo::new("jane", &["g"]), &mut own);
    assert_eq!(
        own["status"]["userInfo"],
        json!({"username": "jane", "groups": ["g", "system:authenticated"]})
    );
}
