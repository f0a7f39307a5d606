//! Requests and connections by routes of the Gateway API, and endpoints that speak TLS.

use super::encryption::{Credentials, Encryption, Source};
use super::gateway::Kind;
use super::gateway::tests::{World, http, to};
use super::proxy::{Proxy, Shared};
use super::proxy_tests::{Echo, listening, nobody};
use super::snapshot::{Pool, Snapshot};
use super::table::{Side, Table};
use crate::http::{self as web, Body, Handler};
use crate::self_signed::self_signed;
use crate::wire::{Answer, send};
use ::http::{Request, Response, StatusCode};
use async_trait::async_trait;
use hyper::body::{Body as _, Incoming};
use parking_lot::RwLock;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

type Current = Arc<RwLock<Arc<Snapshot>>>;

fn current(table: Table, services: &[(&str, SocketAddr)], credentials: &[(Source, &str)]) -> Current {
    let pools = table.backends().into_iter().map(|backend| {
        let endpoints = services.iter().filter(|(name, _)| *name == backend.service);
        let pool = Pool::new(endpoints.map(|(_, endpoint)| *endpoint).collect());
        (backend, pool)
    });
    let credential =
        |pem: &str| Arc::new(Credentials { authorities: pem.as_bytes().to_vec(), ..Credentials::default() });
    let credentials = credentials.iter().map(|(source, pem)| (source.clone(), credential(pem)));
    let snapshot =
        Snapshot { pools: pools.collect(), credentials: credentials.collect(), table, ..Snapshot::default() };
    Arc::new(RwLock::new(Arc::new(snapshot)))
}

async fn proxy(table: Table, services: &[(&str, SocketAddr)]) -> SocketAddr {
    listening(Proxy::new(Arc::new(Shared::new(current(table, services, &[]), None)), Side::Plain)).await
}

/// A proxy with one HTTPRoute.
async fn routed(rules: Value, services: &[(&str, SocketAddr)]) -> SocketAddr {
    let world =
        World::new().gateway("g", http()).route(Kind::Http, "r", 1, json!("g"), &["h.example"], rules);
    proxy(world.table(), services).await
}

async fn get(proxy: SocketAddr, path: &str) -> Answer {
    send(
        proxy,
        "GET",
        path,
        &[("host", "h.example:8080"), ("x-gone", "1"), ("x-set", "old"), ("x-add", "1")],
        b"",
    )
    .await
}

fn path(value: &str) -> Value {
    json!([{"path": {"type": "PathPrefix", "value": value}}])
}

#[tokio::test]
async fn filters_change_requests_and_answers() {
    let echo = listening(Arc::new(Echo("a"))).await;
    let modifier = json!({"set": [{"name": "X-Set", "value": "new"}], "add": [{"name": "x-add", "value": "2"}], "remove": ["X-Gone"]});
    let rewrite = |path: Value| json!({"type": "URLRewrite", "urlRewrite": {"hostname": "inner.example", "path": path}});
    let proxy = routed(
        json!([
            {"matches": path("/change"), "backendRefs": to("a"), "filters": [
                {"type": "RequestHeaderModifier", "requestHeaderModifier": modifier},
                rewrite(json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}))]},
            {"matches": path("/answer"), "backendRefs": [{"name": "a", "port": 80, "filters": [
                {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-by", "value": "gateway"}],
                    "remove": ["content-type"]}},
                rewrite(json!({"type": "ReplaceFullPath", "replaceFullPath": "/full"}))]}]},
        ]),
        &[("a", echo)],
    )
    .await;
    let seen = get(proxy, "/change/x?q=1").await.json();
    assert_eq!(seen["uri"], "/new/x?q=1");
    let headers = &seen["headers"];
    assert_eq!(
        (&headers["host"], &headers["x-set"], &headers["x-gone"]),
        (&json!("inner.example"), &json!("new"), &Value::Null)
    );
    assert_eq!(headers["x-add"], "2", "the test's endpoint tells the last one");
    let answer = get(proxy, "/answer/x").await;
    assert_eq!((answer.header("x-by"), answer.header("content-type")), ("gateway", ""));
    assert_eq!(answer.json()["uri"], "/full");
}

#[tokio::test]
async fn clients_are_sent_elsewhere() {
    let redirect = |redirect: Value| json!([{"type": "RequestRedirect", "requestRedirect": redirect}]);
    let proxy = routed(
        json!([
            {"matches": path("/"), "filters": redirect(json!({"scheme": "https"}))},
            {"matches": path("/old"), "filters": redirect(json!({"hostname": "new.example", "port": 8080, "statusCode": 301,
                "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}))},
        ]),
        &[],
    )
    .await;
    let answer = get(proxy, "/a?b").await;
    assert_eq!((answer.code, answer.header("location")), (302, "https://h.example/a?b"));
    let answer = get(proxy, "/old/x").await;
    assert_eq!((answer.code, answer.header("location")), (301, "http://new.example:8080/new/x"));
}

#[tokio::test]
async fn pages_of_other_origins_are_told_what_they_may_do() {
    let echo = listening(Arc::new(Echo("a"))).await;
    let cors = |cors: Value| json!([{"type": "CORS", "cors": cors}]);
    let proxy = routed(
        json!([
            {"matches": path("/some"), "backendRefs": to("a"),
                "filters": cors(json!({"allowOrigins": ["https://p.example"], "allowMethods": ["PUT"]}))},
            {"matches": path("/lost"), "backendRefs": to("none"), "filters": cors(json!({"allowOrigins": ["*"]}))},
        ]),
        &[("a", echo)],
    )
    .await;
    let asked = async |method: &str, path: &str, more: &[(&str, &str)]| {
        let mut headers = vec![("host", "h.example"), ("origin", "https://p.example")];
        headers.extend_from_slice(more);
        send(proxy, method, path, &headers, b"").await
    };
    let beforehand = [("access-control-request-method", "PUT")];
    let answer = asked("OPTIONS", "/some/x", &beforehand).await;
    let told = (answer.header("access-control-allow-origin"), answer.header("access-control-allow-methods"));
    assert_eq!((answer.code, told), (204, ("https://p.example", "PUT")));
    assert!(answer.body.is_empty());
    let answer = asked("GET", "/some/x", &[]).await;
    assert_eq!((answer.code, answer.header("access-control-allow-origin")), (200, "https://p.example"));
    assert_eq!((answer.json()["who"].as_str(), answer.header("vary")), (Some("a"), "origin"));
    // Another use of the method is the endpoint's affair, and so is an error the page's.
    assert_eq!(asked("OPTIONS", "/some/x", &[]).await.json()["who"], "a");
    let answer = asked("GET", "/lost", &[]).await;
    assert_eq!((answer.code, answer.header("access-control-allow-origin")), (500, "*"));
}

/// Answers 503, then 200, and so on; nothing instead of 503 for `/slow`, and 503 for whatever has a body.
struct Fickle(AtomicUsize);

#[async_trait]
impl Handler for Fickle {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _client: SocketAddr) -> Response<Body> {
        let is_odd = self.0.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        if !is_odd && request.uri().path() == "/slow" {
            std::future::pending::<()>().await;
        }
        let well = is_odd && request.into_body().is_end_stream();
        let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        web::text(status, "")
    }
}

#[tokio::test]
async fn what_fails_is_tried_again_where_a_route_says_so() {
    let fickle = Arc::new(Fickle(AtomicUsize::new(0)));
    let endpoint = listening(fickle.clone()).await;
    let retry = |retry: Value| json!({"attempts": 1, "backoff": "1ms", "codes": retry});
    let proxy = routed(
        json!([
            {"matches": path("/again"), "backendRefs": to("a"), "retry": retry(json!([502, 503]))},
            {"matches": path("/other"), "backendRefs": to("a"), "retry": retry(json!([500]))},
            {"matches": path("/once"), "backendRefs": to("a")},
            {"matches": path("/slow"), "backendRefs": to("a"), "retry": {"backoff": "0s"},
                "timeouts": {"backendRequest": "500ms"}},
            {"matches": path("/dead"), "backendRefs": to("b"), "retry": {}},
        ]),
        &[("a", endpoint), ("b", nobody().await)],
    )
    .await;
    let asked = async |path: &str, body: &[u8]| {
        fickle.0.store(0, Ordering::SeqCst);
        let code = send(proxy, "PUT", path, &[("host", "h.example")], body).await.code;
        (code, fickle.0.load(Ordering::SeqCst))
    };
    assert_eq!(asked("/again", b"").await, (200, 2));
    assert_eq!(asked("/other", b"").await, (503, 1));
    assert_eq!(asked("/once", b"").await, (503, 1));
    assert_eq!(asked("/again", b"body").await, (503, 1), "what has a body is sent once");
    assert_eq!(asked("/slow", b"").await, (200, 2));
    assert_eq!(asked("/dead", b"").await, (502, 0), "in the end it is given up");
}

#[tokio::test]
async fn requests_fail_as_the_api_documents_it() {
    let (echo, dead) = (listening(Arc::new(Echo("a"))).await, nobody().await);
    let weighted = |weight: u32, name: &str| json!({"name": name, "port": 80, "weight": weight});
    let proxy = routed(
        json!([
            {"matches": path("/missing"), "backendRefs": to("none")},
            {"matches": path("/nobody")},
            {"matches": path("/zero"), "backendRefs": [weighted(0, "a")]},
            {"matches": path("/empty"), "backendRefs": to("c")},
            {"matches": path("/dead"), "backendRefs": to("b")},
            {"matches": path("/shared"), "backendRefs": [weighted(0, "b"), weighted(1, "a")]},
            {"matches": path("/slow"), "backendRefs": to("a"), "timeouts": {"request": "50ms"}},
        ]),
        &[("a", echo), ("b", dead)],
    )
    .await;
    let paths = ["/missing", "/nobody", "/zero", "/empty", "/dead", "/shared", "/slow", "/other"];
    let mut codes = Vec::new();
    for path in paths {
        codes.push(get(proxy, path).await.code);
    }
    assert_eq!(codes, [500, 500, 500, 503, 502, 200, 504, 404]);
}

/// Tells what it got.
struct Witness(mpsc::UnboundedSender<(String, Vec<u8>)>);

#[async_trait]
impl Handler for Witness {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _client: SocketAddr) -> Response<Body> {
        use http_body_util::BodyExt;
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes().to_vec();
        self.0.send((path, body)).unwrap();
        web::text(::http::StatusCode::IM_A_TEAPOT, "nobody reads this")
    }
}

#[tokio::test]
async fn mirrors_get_copies_and_their_answers_count_for_nothing() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let (echo, witness) = (listening(Arc::new(Echo("a"))).await, listening(Arc::new(Witness(sender))).await);
    let mirror = |more: Value| {
        let mut mirror = json!({"backendRef": {"name": "b", "port": 80}});
        mirror.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"type": "RequestMirror", "requestMirror": mirror})
    };
    let proxy = routed(
        json!([
            {"matches": path("/all"), "backendRefs": to("a"), "filters": [mirror(json!({})), mirror(json!({"percent": 100}))]},
            {"matches": path("/none"), "backendRefs": to("a"), "filters": [mirror(json!({"percent": 0}))]},
        ]),
        &[("a", echo), ("b", witness)],
    )
    .await;
    let host = [("host", "h.example")];
    assert_eq!(send(proxy, "POST", "/none", &host, b"x").await.code, 200);
    let answer = send(proxy, "POST", "/all", &host, &[7; 100_000]).await;
    assert_eq!((answer.code, &answer.json()["who"]), (200, &json!("a")));
    for _ in 0..2 {
        assert_eq!(seen.recv().await.unwrap(), ("/all".to_owned(), vec![7; 100_000]));
    }
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn calls_of_grpc_and_what_says_so_go_in_http2() {
    let echo = listening(Arc::new(Echo("a"))).await;
    let world = World::new()
        .gateway("g", http())
        .route(Kind::Grpc, "c", 1, json!("g"), &[], json!([{"matches": [{"method": {"service": "x.S"}}], "backendRefs": to("a")}]))
        .route(Kind::Http, "r", 1, json!("g"), &[], json!([
            {"matches": path("/h2c"), "backendRefs": [{"name": "b", "port": 81}]}, {"matches": path("/"), "backendRefs": to("a")}]));
    let proxy = proxy(world.table(), &[("a", echo), ("b", echo)]).await;
    for (path, version) in [("/x.S/M", "HTTP/2.0"), ("/h2c", "HTTP/2.0"), ("/x", "HTTP/1.1")] {
        assert_eq!(get(proxy, path).await.json()["version"], version, "{path}");
    }
}

/// A server of HTTPS with a certificate for a name, and the certificate.
async fn secure(handler: Arc<dyn Handler>, name: &str) -> (SocketAddr, String) {
    let own = self_signed(&[name]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.certificate], own.key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(web::serve(
        listener,
        Some(TlsAcceptor::from(Arc::new(config))),
        handler,
        CancellationToken::new(),
    ));
    (address, own.pem)
}

fn ingress(
    name: &str,
    annotations: &[(&str, &str)],
    path: &str,
) -> Arc<k8s_openapi::api::networking::v1::Ingress> {
    let annotations: HashMap<_, _> =
        annotations.iter().map(|(k, v)| (format!("nginx.ingress.kubernetes.io/{k}"), json!(v))).collect();
    let ingress = json!({"metadata": {"namespace": "n", "name": name, "annotations": annotations}, "spec": {"rules": [
        {"host": "h.example", "http": {"paths": [{"path": path, "pathType": "Prefix",
            "backend": {"service": {"name": "a", "port": {"number": 80}}}}]}}]}});
    Arc::new(serde_json::from_value(ingress).unwrap())
}

#[tokio::test]
async fn endpoints_that_speak_tls_are_spoken_to_in_tls() {
    let (echo, authority) = secure(Arc::new(Echo("a")), "s.example").await;
    let verified = |name: &'static str, secret: &'static str| {
        [
            ("backend-protocol", "HTTPS"),
            ("proxy-ssl-verify", "on"),
            ("proxy-ssl-name", name),
            ("proxy-ssl-secret", secret),
        ]
    };
    let table = Table::compile(&[
        ingress("plain", &[("backend-protocol", "HTTP")], "/plain"),
        ingress("any", &[("backend-protocol", "HTTPS")], "/any"),
        ingress("grpc", &[("backend-protocol", "GRPCS")], "/grpc"),
        ingress("right", &verified("s.example", "ca"), "/right"),
        ingress("wrong", &verified("t.example", "ca"), "/wrong"),
        ingress("none", &verified("s.example", "none"), "/none"),
    ]);
    let current = current(table, &[("a", echo)], &[(Source::Secret("n/ca".to_owned()), &authority)]);
    let proxy = listening(Proxy::new(Arc::new(Shared::new(current, None)), Side::Plain)).await;
    for (path, version) in [("/any", "HTTP/1.1"), ("/right", "HTTP/1.1"), ("/grpc", "HTTP/2.0")] {
        let answer = get(proxy, path).await;
        assert_eq!((answer.code, &answer.json()["version"]), (200, &json!(version)), "{path}");
    }
    for path in ["/plain", "/wrong", "/none"] {
        assert_eq!(get(proxy, path).await.code, 502, "{path}");
    }
}

#[tokio::test]
async fn endpoints_are_verified_as_policies_say() {
    let (echo, authority) = secure(Arc::new(Echo("a")), "s.example").await;
    let (other, _) = secure(Arc::new(Echo("b")), "s.example").await;
    let rules = json!([{"matches": path("/a"), "backendRefs": to("a")}, {"matches": path("/b"), "backendRefs": to("b")}]);
    let world = World::new().gateway("g", http()).route(Kind::Http, "r", 1, json!("g"), &[], rules);
    let table = world.policy("p", 1, "a", "ca").policy("q", 1, "b", "ca").table();
    let current =
        current(table, &[("a", echo), ("b", other)], &[(Source::ConfigMap("n/ca".to_owned()), &authority)]);
    let proxy = listening(Proxy::new(Arc::new(Shared::new(current, None)), Side::Plain)).await;
    assert_eq!(get(proxy, "/a").await.json()["who"], "a");
    assert_eq!(get(proxy, "/b").await.code, 502, "its certificate is another authority's");
}

/// The answer that a name gives over TLS; none when the connection ends.
async fn ask_for(address: SocketAddr, name: &'static str) -> Option<String> {
    let mut config = Encryption { tells_name: true, ..Encryption::default() }.config().unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream).await.ok()?;
    let request = format!("GET / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", name.to_str());
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    Some(answer)
}

#[tokio::test]
async fn connections_are_passed_on_by_the_name_that_they_ask_for() {
    let (through, _) = secure(Arc::new(Echo("through")), "s.example").await;
    let ended = listening(Arc::new(Echo("ended"))).await;
    let tls = |name: &str, host: &str, mode: &str| {
        json!({"name": name, "port": 443, "protocol": "TLS", "hostname": host,
            "tls": {"mode": mode, "certificateRefs": [{"name": "tls"}]}})
    };
    let world = World::new()
        .secret("n/tls")
        .gateway(
            "g",
            json!([tls("pass", "*.pass.example", "Passthrough"), tls("end", "end.example", "Terminate")]),
        )
        .route(Kind::Tls, "r", 1, json!("g"), &["a.pass.example"], json!([{"backendRefs": to("a")}]))
        .route(Kind::Tls, "e", 1, json!("g"), &["empty.pass.example"], json!([{"backendRefs": to("c")}]))
        .route(Kind::Tls, "s", 1, json!("g"), &["end.example"], json!([{"backendRefs": to("b")}]));
    let current = current(world.table(), &[("a", through), ("b", ended)], &[]);
    let entrance = Arc::new(super::entrance(current.clone()).unwrap());
    let handler = Proxy::new(Arc::new(Shared::new(current, None)), Side::Secure);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(web::serve_over(listener, Some(entrance), handler, CancellationToken::new()));
    let answer = ask_for(address, "a.pass.example").await.unwrap();
    assert!(answer.contains("\"who\":\"through\""), "{answer}");
    let answer = ask_for(address, "end.example").await.unwrap();
    assert!(answer.contains("\"who\":\"ended\""), "{answer}");
    assert_eq!(ask_for(address, "empty.pass.example").await, None);
    // What no route asks for is HTTPS.
    let answer = ask_for(address, "other.example").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("default backend"), "{answer}");
}
