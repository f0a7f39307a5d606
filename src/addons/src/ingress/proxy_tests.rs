use super::proxy::{Proxy, Shared};
use super::snapshot::{Pool, Snapshot};
use super::table::{Side, Table};
use crate::http::{self as web, Body, Handler};
use crate::testing::echo;
use crate::wire::{Answer, send};
use ::http::{Request, Response, StatusCode, header};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Tells what it was asked, echoes WebSockets, and never answers `/slow`.
pub struct Echo(pub &'static str);

#[async_trait]
impl Handler for Echo {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _client: SocketAddr) -> Response<Body> {
        if request.uri().path() == "/slow" {
            std::future::pending::<()>().await;
        }
        if request.headers().contains_key(header::UPGRADE) {
            return echo(request);
        }
        let headers: HashMap<String, String> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let (uri, version) = (request.uri().clone(), format!("{:?}", request.version()));
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        web::json(
            StatusCode::OK,
            &json!({"who": self.0, "version": version, "uri": uri.path_and_query().unwrap().as_str(), "headers": headers,
                    "body": String::from_utf8_lossy(&body)}),
        )
    }
}

pub async fn listening(handler: Arc<dyn Handler>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(web::serve(listener, None, handler, CancellationToken::new()));
    address
}

/// A closed port of this machine.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn ingress(name: &str, annotations: &[(&str, &str)], path: &str, service: &str) -> Value {
    let annotations: serde_json::Map<_, _> =
        annotations.iter().map(|(k, v)| (format!("nginx.ingress.kubernetes.io/{k}"), json!(v))).collect();
    json!({"metadata": {"namespace": "n", "name": name, "annotations": annotations}, "spec": {"rules": [
        {"host": "h.example", "http": {"paths": [{"path": path, "pathType": "ImplementationSpecific",
            "backend": {"service": {"name": service, "port": {"number": 80}}}}]}}]}})
}

/// A proxy for Ingresses, with endpoints of their Services.
async fn proxy(ingresses: &[Value], services: &[(&str, Vec<SocketAddr>)], users: &str) -> SocketAddr {
    let ingresses: Vec<_> =
        ingresses.iter().map(|one| Arc::new(serde_json::from_value(one.clone()).unwrap())).collect();
    let table = Table::compile(&ingresses);
    assert_eq!(table.wrong, Vec::<String>::new());
    let pools = table.backends().into_iter().map(|backend| {
        let endpoints = services.iter().find(|(name, _)| *name == backend.service);
        (backend, Pool::new(endpoints.map(|(_, endpoints)| endpoints.clone()).unwrap_or_default()))
    });
    let snapshot = Snapshot {
        pools: pools.collect(),
        table,
        users: HashMap::from([("n/users".to_owned(), users.to_owned())]),
        ..Snapshot::default()
    };
    let current = Arc::new(RwLock::new(Arc::new(snapshot)));
    listening(Proxy::new(Arc::new(Shared::new(current, None)), Side::Plain)).await
}

async fn ask(proxy: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut all = vec![("host", "h.example")];
    all.extend_from_slice(headers);
    send(proxy, method, path, &all, body).await
}

#[tokio::test]
async fn requests_reach_endpoints_as_they_came() {
    let echo = listening(Arc::new(Echo("a"))).await;
    let proxy = proxy(&[ingress("i", &[], "/", "s")], &[("s", vec![echo])], "").await;
    let headers =
        [("x-forwarded-for", "1.2.3.4"), ("connection", "close, x-hop"), ("x-hop", "1"), ("x-own", "2")];
    let answer = ask(proxy, "POST", "/a/b?c=d%20e", &headers, b"body").await;
    assert_eq!(answer.code, 200);
    let seen = answer.json();
    assert_eq!((&seen["uri"], &seen["body"]), (&json!("/a/b?c=d%20e"), &json!("body")));
    assert_eq!(seen["headers"]["host"], "h.example");
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1", "nobody says of himself who he is");
    assert_eq!(seen["headers"]["x-forwarded-proto"], "http");
    assert_eq!(seen["headers"]["x-own"], "2");
    assert!(seen["headers"]["x-hop"].is_null());
    assert!(seen["headers"]["x-request-id"].is_string());
    let other = send(proxy, "GET", "/", &[("host", "other.example")], b"").await;
    assert_eq!((other.code, other.body.as_slice()), (404, b"default backend - 404".as_slice()));
}

#[tokio::test]
async fn endpoints_that_cannot_be_reached_are_passed_over() {
    let (echo, dead) = (listening(Arc::new(Echo("a"))).await, nobody().await);
    let proxy = proxy(
        &[
            ingress("i", &[], "/", "s"),
            ingress("d", &[], "/dead", "d"),
            ingress("e", &[], "/empty", "e"),
            ingress("t", &[("proxy-read-timeout", "0.05")], "/slow", "s"),
        ],
        &[("s", vec![echo, dead]), ("d", vec![dead])],
        "",
    )
    .await;
    for _ in 0..4 {
        assert_eq!(ask(proxy, "GET", "/", &[], b"").await.code, 200);
    }
    assert_eq!(ask(proxy, "GET", "/dead", &[], b"").await.code, 502);
    assert_eq!(ask(proxy, "GET", "/empty", &[], b"").await.code, 503);
    assert_eq!(ask(proxy, "GET", "/slow", &[], b"").await.code, 504);
}

#[tokio::test]
async fn who_may_not_come_is_told_so() {
    let echo = listening(Arc::new(Echo("a"))).await;
    let services = [("s", vec![echo])];
    let auth = [("auth-type", "basic"), ("auth-secret", "users"), ("auth-realm", "here")];
    let ingresses = [
        ingress("auth", &auth, "/auth", "s"),
        ingress("range", &[("whitelist-source-range", "10.0.0.0/8")], "/range", "s"),
        ingress("rate", &[("limit-rps", "1")], "/rate", "s"),
        ingress("size", &[("proxy-body-size", "4")], "/size", "s"),
    ];
    let proxy = proxy(&ingresses, &services, "user:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=").await;
    let refused = ask(proxy, "GET", "/auth", &[], b"").await;
    assert_eq!((refused.code, refused.header("www-authenticate")), (401, "Basic realm=\"here\""));
    let authorization = |text: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
    };
    for (credentials, code) in [("user:password", 200), ("user:wrong", 401), ("other:password", 401)] {
        let value = authorization(credentials);
        assert_eq!(
            ask(proxy, "GET", "/auth", &[("authorization", &value)], b"").await.code,
            code,
            "{credentials}"
        );
    }
    assert_eq!(ask(proxy, "GET", "/range", &[], b"").await.code, 403);
    let mut codes = Vec::new();
    for _ in 0..8 {
        codes.push(ask(proxy, "GET", "/rate", &[], b"").await.code);
    }
    assert_eq!((codes[0], codes.contains(&503)), (200, true), "{codes:?}");
    assert_eq!(ask(proxy, "POST", "/size", &[], b"1234").await.code, 200);
    assert_eq!(ask(proxy, "POST", "/size", &[], b"12345").await.code, 413);
}

#[tokio::test]
async fn paths_are_rewritten_and_clients_sent_elsewhere() {
    let echo = listening(Arc::new(Echo("a"))).await;
    let ingresses = [
        ingress("r", &[("rewrite-target", "/$2")], "/api(/|$)(.*)", "s"),
        ingress("p", &[("permanent-redirect", "https://new.example/")], "/old", "s"),
        ingress("f", &[("force-ssl-redirect", "true")], "/secure", "s"),
        ingress("a", &[("app-root", "/app"), ("upstream-vhost", "inner.example")], "/", "s"),
    ];
    let proxy = proxy(&ingresses, &[("s", vec![echo])], "").await;
    let rewritten = ask(proxy, "GET", "/api/v1/x?q=1", &[], b"").await.json();
    assert_eq!(rewritten["uri"], "/v1/x?q=1");
    let moved = ask(proxy, "GET", "/old", &[], b"").await;
    assert_eq!((moved.code, moved.header("location")), (301, "https://new.example/"));
    let secure = ask(proxy, "GET", "/secure/x?y", &[], b"").await;
    assert_eq!((secure.code, secure.header("location")), (308, "https://h.example/secure/x?y"));
    assert_eq!(ask(proxy, "GET", "/", &[], b"").await.header("location"), "/app");
    assert_eq!(ask(proxy, "GET", "/app", &[], b"").await.json()["headers"]["host"], "inner.example");
}

#[tokio::test]
async fn clients_keep_their_endpoint_and_some_get_the_canary() {
    let (one, two) = (listening(Arc::new(Echo("one"))).await, listening(Arc::new(Echo("two"))).await);
    let canary = [("canary", "true"), ("canary-by-header", "x-canary"), ("canary-weight", "0")];
    let ingresses = [ingress("s", &[("affinity", "cookie")], "/", "s"), ingress("c", &canary, "/", "c")];
    let new = listening(Arc::new(Echo("new"))).await;
    let proxy = proxy(&ingresses, &[("s", vec![one, two]), ("c", vec![new])], "").await;
    let first = ask(proxy, "GET", "/", &[], b"").await;
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("INGRESSCOOKIE="), "{cookie}");
    for _ in 0..4 {
        let again = ask(proxy, "GET", "/", &[("cookie", &cookie)], b"").await;
        assert_eq!(
            (again.json()["who"].clone(), again.header("set-cookie")),
            (first.json()["who"].clone(), "")
        );
    }
    let canary = ask(proxy, "GET", "/", &[("x-canary", "always"), ("cookie", &cookie)], b"").await;
    assert_eq!(canary.json()["who"], "new");
}

#[tokio::test]
async fn web_sockets_pass_through() {
    let echo = listening(Arc::new(Echo("a"))).await;
    let proxy = proxy(&[ingress("i", &[], "/", "s")], &[("s", vec![echo])], "").await;
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nhost: h.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
}

/// Browsers ask for them so where HTTP/2 is spoken (RFC 8441).
#[tokio::test]
async fn web_sockets_pass_through_out_of_http2() {
    let echo = listening(Arc::new(Echo("a"))).await;
    let proxy = proxy(&[ingress("i", &[], "/", "s")], &[("s", vec![echo])], "").await;
    let stream = TokioIo::new(TcpStream::connect(proxy).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    // With its first answer the server has said that it can.
    let first = Request::get("http://h.example/").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(first).await.unwrap().status(), StatusCode::OK);
    let request = Request::connect("http://h.example/ws")
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    let mut answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut both = TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap());
    both.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    both.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");
}

#[tokio::test]
async fn endpoints_that_speak_grpc_are_spoken_to_in_http2() {
    let echo = listening(Arc::new(Echo("a"))).await;
    let ingresses =
        [ingress("g", &[("backend-protocol", "GRPC")], "/grpc", "s"), ingress("p", &[], "/", "s")];
    let proxy = proxy(&ingresses, &[("s", vec![echo])], "").await;
    let grpc = ask(proxy, "POST", "/grpc/Method", &[("content-type", "application/grpc")], b"m").await.json();
    assert_eq!((&grpc["version"], &grpc["body"]), (&json!("HTTP/2.0"), &json!("m")));
    assert_eq!(grpc["headers"]["te"], "trailers");
    assert_eq!(ask(proxy, "GET", "/", &[], b"").await.json()["version"], "HTTP/1.1");
}
