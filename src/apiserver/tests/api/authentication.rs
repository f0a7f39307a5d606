//! Credentials that others vouch for: webhooks, issuers of tokens, files.

use crate::remote::{Remote, json, text};
use apiserver::authentication::{
    AnonymousCondition, AnonymousConfiguration, AuthenticationConfiguration, IssuerOptions, OidcDocuments,
    TokenFile, TokenWebhookOptions, UserInfo,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use pki::Pki;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use testkit::{TestServer, eventually};

const SELF: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn pki(directory: &TempDir) -> Arc<Pki> {
    Arc::new(Pki::load_or_create(directory.path(), Timestamp::now()).unwrap())
}

/// Who a token makes somebody; the code when nobody.
async fn whoami(server: &TestServer, token: &str) -> Result<Value, u16> {
    let bearer = format!("Bearer {token}");
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let headers = [("authorization", bearer.as_str())];
    let answer = server.request_as(None, "POST", SELF, &headers, review.to_string()).await;
    if answer.code == 201 { Ok(answer.json()["status"]["userInfo"].clone()) } else { Err(answer.code) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_asked_about_tokens_once() {
    let directory = TempDir::new().unwrap();
    let hook = Remote::start(&pki(&directory), "hook", [127, 0, 0, 1], |seen| {
        let review = seen.json();
        assert_eq!(seen.header("authorization"), ["Bearer sesame"]);
        assert_eq!(review["apiVersion"], "authentication.k8s.io/v1");
        let status = match review["spec"]["token"].as_str() {
            Some("good") => json!({"authenticated": true,
                "user": {"username": "jane", "groups": ["dev"], "extra": {"Scope": ["a"]}}}),
            _ => json!({"authenticated": false}),
        };
        json(200, &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}))
    })
    .await;
    let kubeconfig = hook.kubeconfig(directory.path());
    let server = TestServer::start_with(|config| {
        config.token_webhook = Some(TokenWebhookOptions {
            kubeconfig,
            version: "v1".into(),
            cache_ttl: Duration::from_secs(60),
        });
        config.token_file = Some(TokenFile::parse("static,joe,7,\"ops\"").unwrap());
    })
    .await;
    for _ in 0..2 {
        let jane = whoami(&server, "good").await.unwrap();
        assert_eq!(
            jane,
            json!({"username": "jane", "groups": ["dev", "system:authenticated"], "extra": {"scope": ["a"]}})
        );
        assert_eq!(whoami(&server, "bad").await, Err(401));
    }
    assert_eq!(hook.count("/"), 2);
    // Whom the server knows itself nobody else is asked about.
    assert_eq!(whoami(&server, "static").await.unwrap()["username"], "joe");
    assert_eq!(hook.count("/"), 2);
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "good"}});
    let told = server.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.expect(201);
    assert_eq!(
        (&told["status"]["authenticated"], &told["status"]["user"]["username"]),
        (&json!(true), &json!("jane"))
    );
}

struct Issuer {
    server: Remote,
    pki: Arc<Pki>,
    directory: TempDir,
}

impl Issuer {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let pki = pki(&directory);
        let keys = pki.load_service_account_keys().unwrap();
        let server = Remote::start(&pki, "issuer", [127, 0, 0, 1], move |seen| {
            let host = seen.headers["host"].to_str().unwrap();
            let documents = OidcDocuments::new(&format!("https://{host}"), &format!("https://{host}"), &keys);
            let document = match seen.uri.as_str() {
                // Somebody's groups, as a token; asked for with a token.
                path if path.starts_with("/groups/") => {
                    assert_eq!(seen.header("authorization"), ["Bearer for-groups"]);
                    return text(200, &path["/groups/".len()..]);
                }
                OidcDocuments::CONFIGURATION_PATH => &documents.configuration,
                OidcDocuments::KEYS_PATH => &documents.keys,
                _ => return json(404, &json!({})),
            };
            json(200, &serde_json::from_slice(document).unwrap())
        })
        .await;
        Self { server, pki, directory }
    }

    /// A token of these claims and the usual ones.
    fn token(&self, claims: Value) -> String {
        let mut all = json!({"iss": self.server.url(), "aud": "us", "sub": "jane",
            "exp": Timestamp::now().as_second() + 600});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let keys = self.pki.service_account_keys();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed =
            format!("{}.{}", part(&json!({"alg": "ES256", "kid": keys.signing_key_id()})), part(&all));
        let signature = URL_SAFE_NO_PAD.encode(keys.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{signature}")
    }

    fn configuration(&self, prefix: &str, rest: &str) -> String {
        let ca = self.server.ca_pem.replace('\n', "\n        ");
        format!(
            "apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: {}
    audiences: [us]
    certificateAuthority: |
        {ca}
  claimValidationRules:
  - {{claim: tier, requiredValue: gold}}
  claimMappings:
    username: {{claim: sub, prefix: '{prefix}'}}
    groups: {{claim: roles, prefix: 'r:'}}
    uid: {{claim: id}}
    extra:
    - {{key: example.org/tier, valueExpression: '\"tier-\" + claims.tier'}}
  userValidationRules:
  - {{expression: \"!user.username.endsWith('root')\", message: root stays out}}
{rest}",
            self.server.url()
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_an_issuer_are_believed_as_its_configuration_says() {
    let issuer = Issuer::start().await;
    let file = issuer.directory.path().join("authentication.yaml");
    std::fs::write(&file, issuer.configuration("o:", "")).unwrap();
    let server = TestServer::start_with(|config| config.issuers = IssuerOptions::File(file.clone())).await;
    let good = issuer.token(json!({"tier": "gold", "roles": ["a", "b"], "id": "9", "jti": "t1"}));
    assert_eq!(
        whoami(&server, &good).await.unwrap(),
        json!({"username": "o:jane", "uid": "9", "groups": ["r:a", "r:b", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["JTI=t1"], "example.org/tier": ["tier-gold"]}})
    );
    let now = Timestamp::now().as_second();
    for wrong in [
        json!({"tier": "gold", "id": "9", "aud": "them"}),
        json!({"tier": "gold", "id": "9", "exp": now - 1}),
        json!({"tier": "gold", "id": "9", "nbf": now + 3600}),
        json!({"tier": "gold", "id": "9", "roles": [1]}),
        json!({"tier": "gold"}),
        json!({"tier": "tin", "id": "9"}),
        json!({"id": "9"}),
        json!({"tier": "gold", "id": "9", "sub": "root"}),
    ] {
        assert_eq!(whoami(&server, &issuer.token(wrong.clone())).await, Err(401), "{wrong}");
    }
    let mut forged = good.clone();
    forged.replace_range(good.len() - 6.., "AAAAAA");
    assert_eq!(whoami(&server, &forged).await, Err(401));
    // The file is followed.
    std::fs::write(&file, issuer.configuration("new:", "anonymous: {enabled: false}")).unwrap();
    let fresh = || issuer.token(json!({"tier": "gold", "id": "9"}));
    eventually("the new prefix is used", || async {
        whoami(&server, &fresh()).await.ok().filter(|user| user["username"] == "new:jane")
    })
    .await;
    server.request_as(None, "GET", "/version", &[], "").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_are_elsewhere_are_fetched() {
    let (issuer, other) = (Issuer::start().await, Issuer::start().await);
    let file = issuer.directory.path().join("authentication.yaml");
    // Both are vouched for.
    let both = format!("{}{}", issuer.server.ca_pem, other.server.ca_pem).replace('\n', "\n        ");
    let alone = issuer.server.ca_pem.replace('\n', "\n        ");
    std::fs::write(&file, issuer.configuration("", "").replace(&alone, &both)).unwrap();
    let server = TestServer::start_with(|config| config.issuers = IssuerOptions::File(file.clone())).await;
    let token = |groups: &str| {
        let endpoint = format!("{}/groups/{groups}", other.server.url());
        let sources = json!({"s": {"endpoint": endpoint, "access_token": "for-groups"}});
        let names = json!({"roles": "s"});
        issuer.token(json!({"tier": "gold", "id": "9", "_claim_names": names, "_claim_sources": sources}))
    };
    let jane = whoami(&server, &token(&other.token(json!({"roles": ["a"]})))).await.unwrap();
    assert_eq!(jane["groups"], json!(["r:a", "system:authenticated"]));
    let now = Timestamp::now().as_second();
    for wrong in [
        other.token(json!({"roles": ["b"], "aud": "them"})),
        other.token(json!({"roles": ["b"], "exp": now - 1})),
        other.token(json!({"others": ["b"]})),
        // Signed by somebody else than it says.
        issuer.token(json!({"roles": ["b"], "iss": other.server.url()})),
        "x".to_owned(),
    ] {
        assert_eq!(whoami(&server, &token(&wrong)).await, Err(401), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_cannot_be_reached_lets_nobody_in() {
    let issuer = Issuer::start().await;
    let file = issuer.directory.path().join("authentication.yaml");
    // The machine's roots do not vouch for it.
    let configuration = issuer.configuration("", "");
    let start = configuration.find("    certificateAuthority").unwrap();
    let end = configuration.find("  claimValidationRules").unwrap();
    std::fs::write(&file, format!("{}{}", &configuration[..start], &configuration[end..])).unwrap();
    let server = TestServer::start_with(|config| config.issuers = IssuerOptions::File(file)).await;
    let token = issuer.token(json!({"tier": "gold", "id": "9"}));
    assert_eq!(whoami(&server, &token).await, Err(401));
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let told = server.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.expect(201);
    let error = told["status"]["error"].as_str().unwrap();
    assert!(error.contains("oidc: verify token") && error.contains("certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_requests_can_be_kept_to_some_paths() {
    let server = TestServer::start_with(|config| {
        let conditions = vec![AnonymousCondition { path: "/livez".into() }];
        config.issuers = IssuerOptions::Given(AuthenticationConfiguration {
            anonymous: Some(AnonymousConfiguration { enabled: true, conditions }),
            ..AuthenticationConfiguration::default()
        });
    })
    .await;
    server.request_as(None, "GET", "/livez", &[], "").await.expect(200);
    server.request_as(None, "GET", "/readyz", &[], "").await.expect(401);
    server.request_as(Some(UserInfo::new("jane", &[])), "GET", "/readyz", &[], "").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_learns_where_the_cluster_is() {
    const INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    fn tell(port: u16) -> impl FnOnce(&mut apiserver::Config) {
        move |config| {
            config.serving_authorities = config.client_authorities.clone();
            config.https_port = port;
        }
    }
    let server = TestServer::start_with(tell(6443)).await;
    let info = server.request_as(None, "GET", INFO, &[], Vec::new()).await.expect(200);
    let kubeconfig = info["data"]["kubeconfig"].as_str().unwrap();
    assert!(kubeconfig.contains("\n    server: https://192.0.2.1:6443\n"), "{kubeconfig}");
    assert!(kubeconfig.contains("certificate-authority-data: LS0tLS1CRUdJ"), "{kubeconfig}");
    server
        .request_as(None, "GET", "/api/v1/namespaces/kube-public/configmaps", &[], Vec::new())
        .await
        .expect(403);

    let signed = json!({"data": {"jws-kubeconfig-abcdef": "x"}});
    server.patch("merge", INFO, &signed).await.expect(200);
    let server = TestServer::start_in(server.stop().await, tell(6443)).await;
    let data = server.get(INFO).await.expect(200)["data"].clone();
    assert_eq!(data["jws-kubeconfig-abcdef"], "x", "the same words keep their signatures");
    let server = TestServer::start_in(server.stop().await, tell(7443)).await;
    let data = server.get(INFO).await.expect(200)["data"].clone();
    assert!(data["kubeconfig"].as_str().unwrap().contains(":7443"), "{data}");
    assert_eq!(data.as_object().unwrap().len(), 1, "other words lose theirs");
    TestServer::start().await.get(INFO).await.expect(404);
}
