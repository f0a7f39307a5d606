//! Calls that the server makes: where they go, whom they believe, and how failures read.

use apiserver::outbound::{Endpoint, Limits, OutboundError, Target, Trust};
use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response, Version};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use testkit::{HttpsServer, TestServer};

const LIMITS: Limits = Limits { timeout: Duration::from_secs(20), max_bytes: 1 << 20 };

async fn hello(names: &[&str]) -> HttpsServer {
    HttpsServer::start(names, |request| {
        async move {
            let version = if request.version() == Version::HTTP_2 { "h2" } else { "h1" };
            let text =
                format!("{version} {} {}", request.uri().path(), String::from_utf8_lossy(request.body()));
            Response::new(Bytes::from(text))
        }
        .boxed()
    })
    .await
}

async fn post(
    server: &TestServer,
    endpoint: &Endpoint,
    limits: Limits,
) -> Result<Response<Bytes>, OutboundError> {
    let url = endpoint.url("", None).unwrap();
    let request = Request::post(url).body(Bytes::from_static(b"ping")).unwrap();
    server.server.outbound().call(endpoint, request, limits).await
}

fn endpoint(config: &Value) -> Endpoint {
    Endpoint::from_config(config).unwrap()
}

#[tokio::test]
async fn a_url_is_called_over_one_connection_that_is_kept() {
    let (server, other) = (TestServer::start().await, hello(&[]).await);
    let config = json!({"url": other.url("/hook"), "caBundle": other.bundle()});
    for _ in 0..3 {
        let answer = post(&server, &endpoint(&config), LIMITS).await.unwrap();
        assert_eq!(answer.body(), "h1 /hook ping");
    }
    assert_eq!(other.connections(), 1);
    let both = Endpoint { http2: true, ..endpoint(&config) };
    assert_eq!(post(&server, &both, LIMITS).await.unwrap().body(), "h2 /hook ping");
}

#[tokio::test]
async fn a_service_is_called_at_its_cluster_ip_under_its_own_name() {
    let ip = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 9));
    let cidr = "127.77.0.0/24".parse().unwrap();
    let server = TestServer::start_with(|config| config.service_cidrs = vec![cidr]).await;
    let other = HttpsServer::start_at(ip, &["web.default.svc"], |request| {
        async move { Response::new(Bytes::from(request.uri().path().to_owned())) }.boxed()
    })
    .await;
    let port = other.address.port();
    let service = json!({"metadata": {"name": "web"}, "spec": {"clusterIP": ip, "ports": [{"port": port}]}});
    let made = server.post("/api/v1/namespaces/default/services", &service).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let reference = json!({"namespace": "default", "name": "web", "port": port, "path": "/v1"});
    let config = json!({"service": reference, "caBundle": other.bundle()});
    assert_eq!(post(&server, &endpoint(&config), LIMITS).await.unwrap().body(), "/v1");
    // The same address under another name.
    let url = json!({"url": other.url("/v1"), "caBundle": other.bundle()});
    let error = post(&server, &endpoint(&url), LIMITS).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Post \"https://127.77.0.9:{port}/v1\": tls: failed to verify certificate: x509: certificate is valid \
             for 127.0.0.1, not 127.77.0.9"
        )
    );
}

#[tokio::test]
async fn failures_read_as_those_of_kubernetes() {
    let (server, other) = (TestServer::start().await, hello(&[]).await);
    let service = |name: &str| Endpoint {
        target: Target::Service {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            port: 443,
            path: "p".to_owned(),
        },
        trust: Trust::System,
        identity: None,
        server_name: String::new(),
        http2: false,
    };
    let error = post(&server, &service("none"), LIMITS).await.unwrap_err();
    assert_eq!(error.to_string(), "Post \"https://none.default.svc:443/p\": service \"none\" not found");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = endpoint(&json!({"url": format!("https://{free}/")}));
    let error = post(&server, &refused, LIMITS).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Post \"https://{free}/\": dial tcp {free}: connect: connection refused")
    );
    assert!(error.is_connect());
    let stranger = endpoint(&json!({"url": other.url("/"), "caBundle": hello(&[]).await.bundle()}));
    assert_eq!(
        post(&server, &stranger, LIMITS).await.unwrap_err().cause(),
        "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    );
    let known = endpoint(&json!({"url": other.url("/"), "caBundle": other.bundle()}));
    let error = post(&server, &known, Limits { max_bytes: 3, ..LIMITS }).await.unwrap_err();
    assert_eq!(error.cause(), "http: response body too large: limit is 3");
    let silent = HttpsServer::start(&[], |_| std::future::pending().boxed()).await;
    let silent = endpoint(&json!({"url": silent.url("/"), "caBundle": silent.bundle()}));
    let short = Limits { timeout: Duration::from_millis(300), ..LIMITS };
    let error = post(&server, &silent, short).await.unwrap_err();
    assert!(error.is_timeout());
    assert!(error.to_string().ends_with(": context deadline exceeded"), "{error}");
    assert!(Endpoint::from_config(&json!({"url": "http://a"})).is_err());
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority_is_believed_by_itself() {
    let server = TestServer::start().await;
    let other = HttpsServer::start_self_signed(|_| async { Response::new(Bytes::from("hi")) }.boxed()).await;
    let config = json!({"url": other.url("/"), "caBundle": other.bundle()});
    assert_eq!(post(&server, &endpoint(&config), LIMITS).await.unwrap().body(), "hi");
    let any = Endpoint { trust: Trust::Any, ..endpoint(&config) };
    assert_eq!(post(&server, &any, LIMITS).await.unwrap().body(), "hi");
}

#[tokio::test]
async fn a_certificate_may_have_to_be_for_another_name_than_the_hosts() {
    let (server, other) = (TestServer::start().await, hello(&["hook.example"]).await);
    let config = json!({"url": other.url("/"), "caBundle": other.bundle()});
    let named = |name: &str| Endpoint { server_name: name.to_owned(), ..endpoint(&config) };
    assert_eq!(post(&server, &named("hook.example"), LIMITS).await.unwrap().body(), "h1 / ping");
    let error = post(&server, &named("else.example"), LIMITS).await.unwrap_err();
    assert!(error.cause().contains("not else.example"), "{}", error.cause());
}
