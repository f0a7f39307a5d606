//! Tokens: issued as asked, accepted while everything they are bound to lasts, refused otherwise.

use super::*;
use crate::authentication::jwt::tests::keys;
use crate::authentication::{PROJECTED_LIFETIME, jwt};
use crate::cached::testing::{create, registry, remove, update};
use serde_json::{Value, json};

const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

fn now() -> Timestamp {
    "2026-09-01T00:00:00Z".parse().unwrap()
}

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

struct Cluster {
    registry: Registry,
    tokens: ServiceAccountTokens,
    account: Value,
    pod: Value,
}

async fn cluster() -> Cluster {
    let registry = registry().await;
    let account = create(
        &registry,
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "sa", "namespace": "ns"}}),
    )
    .await;
    create(&registry, json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})).await;
    let pod = create(&registry, json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "ns"}, "spec": {"nodeName": "n1", "serviceAccountName": "sa"}}))
    .await;
    let tokens =
        ServiceAccountTokens::new(TokenSettings::for_domain("cluster.local"), keys(), registry.clone());
    Cluster { registry, tokens, account, pod }
}

impl Cluster {
    async fn issue(&self, spec: Value) -> Result<Value, Status> {
        let mut request = json!({"spec": spec});
        self.tokens.request("ns", "sa", &mut request, now()).await.map(|()| request)
    }

    async fn token(&self, spec: Value) -> String {
        self.issue(spec).await.unwrap()["status"]["token"].as_str().unwrap().to_owned()
    }

    async fn check(&self, token: &str, at: Timestamp) -> Result<Option<(UserInfo, Vec<String>)>, String> {
        self.tokens.authenticate(token, &[AUDIENCE.to_owned()], at).await
    }

    fn for_pod(&self) -> Value {
        let uid = self.pod["metadata"]["uid"].clone();
        json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid}})
    }
}

#[tokio::test]
async fn a_token_names_its_account_pod_and_node() {
    let cluster = cluster().await;
    let issued = cluster.issue(cluster.for_pod()).await.unwrap();
    assert_eq!(issued["status"]["expirationTimestamp"], "2026-09-01T01:00:00Z");
    assert_eq!(issued["spec"]["audiences"], json!([AUDIENCE]));
    let token = issued["status"]["token"].as_str().unwrap();
    let (user, audiences) = cluster.check(token, now()).await.unwrap().unwrap();
    assert_eq!(user.name, "system:serviceaccount:ns:sa");
    assert_eq!(user.uid, cluster.account["metadata"]["uid"]);
    assert_eq!(audiences, [AUDIENCE]);
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["n1"]);
    assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("JTI="));
}

#[tokio::test]
async fn times_and_audiences_are_kept_to() {
    let cluster = cluster().await;
    let token = cluster.token(json!({"expirationSeconds": 600})).await;
    assert!(cluster.check(&token, now() + seconds(659)).await.is_ok());
    assert!(cluster.check(&token, now() + seconds(661)).await.unwrap_err().contains("expired"));
    assert!(cluster.check(&token, now() - seconds(59)).await.is_ok());
    assert!(cluster.check(&token, now() - seconds(61)).await.unwrap_err().contains("not valid yet"));
    let elsewhere = cluster.token(json!({"audiences": ["vault", "other"]})).await;
    assert!(cluster.check(&elsewhere, now()).await.unwrap_err().contains("audiences"));
    let wanted = ["vault".to_owned()];
    let (_, audiences) = cluster.tokens.authenticate(&elsewhere, &wanted, now()).await.unwrap().unwrap();
    assert_eq!(audiences, wanted);
}

#[tokio::test]
async fn forged_and_foreign_tokens_are_refused() {
    let cluster = cluster().await;
    let claims = json!({
        "iss": AUDIENCE, "aud": AUDIENCE, "exp": now().as_second() + 60, "sub": "system:serviceaccount:ns:sa",
        "kubernetes.io": {"namespace": "ns", "serviceaccount": {"name": "sa", "uid": cluster.account["metadata"]["uid"]}},
    });
    let forged = jwt::encode(&keys(), &claims).unwrap();
    assert_eq!(cluster.check(&forged, now()).await.unwrap_err(), "invalid signature");
    let signed = |claims: &Value| jwt::encode(&cluster.tokens.keys, claims).unwrap();
    assert!(cluster.check(&signed(&claims), now()).await.unwrap().is_some());
    let mut other = claims.clone();
    other["sub"] = json!("system:serviceaccount:ns:admin");
    assert!(cluster.check(&signed(&other), now()).await.is_err());
    other = claims.clone();
    other.as_object_mut().unwrap().remove("kubernetes.io");
    assert!(cluster.check(&signed(&other), now()).await.is_err());
    other = claims;
    other["iss"] = json!("https://elsewhere");
    assert_eq!(cluster.check(&signed(&other), now()).await, Ok(None));
    assert_eq!(cluster.check("not.a.token", now()).await, Ok(None));
}

#[tokio::test]
async fn a_token_ends_with_its_account_and_with_its_pod() {
    let cluster = cluster().await;
    let (free, bound) = (cluster.token(json!({})).await, cluster.token(cluster.for_pod()).await);
    assert!(cluster.check(&free, now()).await.is_ok() && cluster.check(&bound, now()).await.is_ok());
    // Being deleted: good for another minute.
    let mut pod = cluster.pod.clone();
    pod["metadata"]["deletionTimestamp"] = json!("2026-09-01T00:00:00Z");
    update(&cluster.registry, &pod).await;
    assert!(cluster.check(&bound, now() + seconds(60)).await.is_ok());
    assert!(cluster.check(&bound, now() + seconds(61)).await.is_err());
    remove(&cluster.registry, &pod).await;
    assert!(cluster.check(&bound, now()).await.unwrap_err().contains("invalidated"));
    assert!(cluster.check(&free, now()).await.is_ok());
    // The same name is another account.
    remove(&cluster.registry, &cluster.account).await;
    assert!(cluster.check(&free, now()).await.is_err());
    create(
        &cluster.registry,
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "sa", "namespace": "ns"}}),
    )
    .await;
    assert!(cluster.check(&free, now()).await.unwrap_err().contains("invalidated"));
}

#[tokio::test]
async fn a_token_of_the_projected_lifetime_lives_a_year_and_says_an_hour() {
    let cluster = cluster().await;
    let mut spec = cluster.for_pod();
    spec["expirationSeconds"] = json!(PROJECTED_LIFETIME);
    let issued = cluster.issue(spec.clone()).await.unwrap();
    assert_eq!(issued["status"]["expirationTimestamp"], "2026-09-01T01:00:07Z");
    let token = issued["status"]["token"].as_str().unwrap();
    assert!(cluster.check(token, now() + seconds(364 * 86400)).await.is_ok());
    let claims: Value = jwt::unverified(token).unwrap();
    assert_eq!(claims["kubernetes.io"]["warnafter"], now().as_second() + PROJECTED_LIFETIME);
    // Not so for another audience.
    spec["audiences"] = json!(["vault"]);
    let claims: Value = jwt::unverified(&cluster.token(spec).await).unwrap();
    assert_eq!(claims["exp"], now().as_second() + PROJECTED_LIFETIME);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let cluster = cluster().await;
    let refused = |spec: Value| {
        let cluster = &cluster;
        async move {
            let status = cluster.issue(spec).await.unwrap_err();
            (status.code, status.message)
        }
    };
    let (code, message) = refused(json!({"expirationSeconds": 599})).await;
    assert_eq!(code, 422);
    assert_eq!(
        message,
        "TokenRequest.authentication.k8s.io \"sa\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"
    );
    assert_eq!(refused(json!({"expirationSeconds": 1_i64 << 33})).await.0, 422);
    let mut bound = cluster.for_pod();
    bound["boundObjectRef"]["uid"] = json!("other");
    assert_eq!(refused(bound.clone()).await.0, 409);
    bound["boundObjectRef"]["name"] = json!("q");
    assert_eq!(refused(bound.clone()).await.0, 404);
    bound["boundObjectRef"]["name"] = json!("");
    assert_eq!(refused(bound.clone()).await.0, 404);
    bound["boundObjectRef"]["kind"] = json!("ConfigMap");
    let (code, message) = refused(bound).await;
    assert_eq!((code, message.as_str()), (400, "cannot bind token to object of type /v1, Kind=ConfigMap"));
    create(
        &cluster.registry,
        json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "q", "namespace": "ns"}, "spec": {"serviceAccountName": "other"}}),
    )
    .await;
    let other = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "q"}});
    assert_eq!(refused(other).await.0, 400);
    let mut unknown = json!({"spec": {}});
    assert_eq!(cluster.tokens.request("ns", "nobody", &mut unknown, now()).await.unwrap_err().code, 404);
}

#[tokio::test]
async fn a_token_in_a_secret_is_good_while_the_secret_holds_it() {
    let cluster = cluster().await;
    let claims = |uid: &Value| {
        json!({"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:ns:sa",
            "kubernetes.io/serviceaccount/namespace": "ns",
            "kubernetes.io/serviceaccount/secret.name": "s",
            "kubernetes.io/serviceaccount/service-account.name": "sa",
            "kubernetes.io/serviceaccount/service-account.uid": uid})
    };
    let uid = &cluster.account["metadata"]["uid"];
    let token = jwt::encode(&cluster.tokens.keys, &claims(uid)).unwrap();
    assert!(cluster.check(&token, now()).await.unwrap_err().contains("invalidated"));
    let encode = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "ns"},
        "type": "kubernetes.io/service-account-token", "data": {"token": encode(&token)}});
    let mut secret = create(&cluster.registry, secret).await;
    let (user, audiences) = cluster.check(&token, now()).await.unwrap().unwrap();
    assert_eq!(
        (user.name.as_str(), audiences.as_slice()),
        ("system:serviceaccount:ns:sa", &[AUDIENCE.to_owned()][..])
    );
    let secrets = apimachinery::gvk::GroupResource::new("", "secrets");
    let noted = cluster.registry.get_value(&secrets, "ns", "s").await.unwrap().unwrap();
    assert_eq!(noted["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"], "2026-09-01");
    assert!(cluster.tokens.authenticate(&token, &["vault".to_owned()], now()).await.is_err());
    let other = jwt::encode(&cluster.tokens.keys, &claims(&json!("other"))).unwrap();
    assert!(cluster.check(&other, now()).await.unwrap_err().contains("server's copy"));
    secret["data"]["token"] = json!(encode("x"));
    apimachinery::meta::remove(&mut secret, "resourceVersion");
    update(&cluster.registry, &secret).await;
    assert!(cluster.check(&token, now()).await.unwrap_err().contains("server's copy"));
    secret["data"]["token"] = json!(encode(&other));
    update(&cluster.registry, &secret).await;
    assert!(cluster.check(&other, now()).await.unwrap_err().contains("does not match claim"));
}
