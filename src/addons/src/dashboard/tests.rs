//! The server between browsers and an API server that tells what it is asked.

use super::{ApiServer, Dashboard, showing};
use crate::http::{self as web, Body, Handler};
use crate::self_signed::self_signed;
use crate::testing::echo;
use crate::wire;
use ::http::{HeaderValue, Request, Response, StatusCode, header};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "secret-token-of-a-user";

/// Tells what it was asked, and echoes what comes after an upgrade.
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, _client: SocketAddr) -> Response<Body> {
        if request.uri().path() == "/api/v1/endless" {
            let (mut sender, body) = http_body_util::channel::Channel::<Bytes, web::BoxError>::new(1);
            sender.send_data(Bytes::from_static(b"first\n")).await.unwrap();
            // Whoever keeps the sender keeps the body from ending.
            std::mem::forget(sender);
            return Response::new(body.boxed_unsync());
        }
        if request.headers().contains_key(header::UPGRADE) {
            assert!(request.headers().contains_key(header::SEC_WEBSOCKET_KEY));
            let mut response = echo(request);
            let headers = response.headers_mut();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("v5.channel.k8s.io"));
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static("x"));
            return response;
        }
        let names: Vec<&str> = request.headers().keys().map(header::HeaderName::as_str).collect();
        let told = json!({"method": request.method().as_str(), "uri": request.uri().path_and_query().unwrap().as_str(),
            "headers": names, "authorization": request.headers().get(header::AUTHORIZATION).unwrap().to_str().unwrap()});
        let mut response = web::json(StatusCode::OK, &told);
        response.headers_mut().insert(header::SET_COOKIE, HeaderValue::from_static("evil=1"));
        response
    }
}

/// A dashboard in front of an [`Echo`]; it ends with the token.
async fn dashboard() -> (SocketAddr, CancellationToken, tempfile::TempDir) {
    let own = self_signed(&["127.0.0.1"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.crt");
    std::fs::write(&authority, &own.pem).unwrap();
    let tls = showing(own).unwrap();
    let stop = CancellationToken::new();
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", echo.local_addr().unwrap());
    tokio::spawn(web::serve(echo, Some(tls), Arc::new(Echo), stop.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = ApiServer::new(url, authority).unwrap();
    tokio::spawn(web::serve(listener, None, Dashboard::new(api, stop.clone()), stop.clone()));
    (address, stop, folder)
}

fn bearer() -> (&'static str, String) {
    ("authorization", format!("Bearer {TOKEN}"))
}

#[tokio::test]
async fn requests_go_on_as_their_own_user_and_as_nobody_else() {
    let (address, ..) = dashboard().await;
    let (name, value) = bearer();
    let headers = [
        (name, value.as_str()),
        ("cookie", "a=b"),
        ("impersonate-user", "admin"),
        ("x-remote-user", "admin"),
        ("accept", "application/yaml"),
        ("content-type", "application/apply-patch+yaml"),
    ];
    let answer = wire::send(address, "PATCH", "/api/v1/x?force=true", &headers, b"a: b").await;
    let told = answer.json();
    assert_eq!(
        (answer.code, &told["method"], &told["uri"]),
        (200, &json!("PATCH"), &json!("/api/v1/x?force=true"))
    );
    assert_eq!(told["authorization"], value);
    let names: Vec<&str> = told["headers"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for banned in ["cookie", "impersonate-user", "x-remote-user"] {
        assert!(!names.contains(&banned), "{names:?}");
    }
    assert!(names.contains(&"accept") && names.contains(&"content-type"), "{names:?}");
    assert_eq!(answer.header("set-cookie"), "");
    assert!(answer.header("content-security-policy").contains("sandbox"));
}

#[tokio::test]
async fn what_has_no_token_or_comes_from_elsewhere_goes_no_further() {
    let (address, ..) = dashboard().await;
    let (name, value) = bearer();
    let own = (name, value.as_str());
    assert_eq!(wire::get(address, "/api/v1/pods").await.code, 401);
    let status = wire::get(address, "/version").await.json();
    assert_eq!((&status["kind"], &status["reason"]), (&json!("Status"), &json!("Unauthorized")));
    let elsewhere = [own, ("origin", "https://evil.example")];
    assert_eq!(wire::send(address, "GET", "/api/v1/pods", &elsewhere, b"").await.code, 403);
    assert_eq!(wire::send(address, "GET", "/api/../metrics", &[own], b"").await.code, 400);
    assert_eq!(wire::send(address, "OPTIONS", "/api/v1/pods", &[own], b"").await.code, 400);
    for path in ["/metrics", "/logs/", "/debug/pprof/", "/healthz"] {
        assert_eq!(wire::send(address, "GET", path, &[own], b"").await.code, 404, "{path}");
    }
    let large = vec![b'x'; (4 << 20) + 1];
    assert_eq!(wire::send(address, "POST", "/api/v1/pods", &[own], &large).await.code, 413);
}

#[tokio::test]
async fn the_page_is_served_with_strict_headers() {
    let (address, ..) = dashboard().await;
    let page = wire::get(address, "/").await;
    assert_eq!(page.code, 200);
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("set-cookie"), "");
    for line in String::from_utf8(page.body)
        .unwrap()
        .lines()
        .filter(|line| line.contains("href=") || line.contains("src="))
    {
        let file = line
            .split("href=\"")
            .nth(1)
            .or_else(|| line.split("src=\"").nth(1))
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert_eq!(wire::get(address, &format!("/{file}")).await.code, 200, "{file}");
    }
}

#[tokio::test]
async fn web_sockets_pass_over_http_1() {
    let (address, ..) = dashboard().await;
    let protocols = "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj";
    let ask = |origin: &str| {
        format!(
            "GET /api/v1/exec HTTP/1.1\r\nhost: {address}\r\norigin: {origin}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: eA==\r\nsec-websocket-protocol: {protocols}\r\n\r\n"
        )
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(ask(&format!("http://{address}")).as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    assert!(head.contains("sec-websocket-protocol: v5.channel.k8s.io"), "{head}");
    stream.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");

    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(ask("https://evil.example").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
}

/// Browsers end all of a connection of HTTP/2 when a network interface comes or goes, as with every pod of a node: terminals
/// have connections of their own.
#[tokio::test]
async fn web_sockets_are_not_offered_over_http_2() {
    let (address, ..) = dashboard().await;
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let first = Request::get(format!("http://{address}/")).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(first).await.unwrap().status(), StatusCode::OK);
    let request = Request::connect(format!("http://{address}/api/v1/exec"))
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    assert!(!sender.send_request(request).await.is_ok_and(|answer| answer.status().is_success()));
}

#[tokio::test]
async fn what_goes_on_and_on_ends_when_the_pod_is_to() {
    let (address, stop, _folder) = dashboard().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (name, value) = bearer();
    let ask =
        format!("GET /api/v1/endless HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{name}: {value}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"first\n\r\n") {
        text.push(stream.read_u8().await.unwrap());
    }
    stop.cancel();
    stream.read_to_end(&mut text).await.unwrap();
    assert!(text.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&text));
}

/// Whatever is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn tokens_are_in_no_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (address, stop, _folder) = dashboard().await;
    let (name, value) = bearer();
    let headers = [
        (name, value.as_str()),
        ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0"),
    ];
    assert_eq!(wire::send(address, "GET", "/api/v1/pods", &headers, b"").await.code, 200);
    // And when the API server cannot be reached any more.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    let api = ApiServer::new(url, _folder.path().join("ca.crt")).unwrap();
    tokio::spawn(web::serve(listener, None, Dashboard::new(api, stop.clone()), stop));
    assert_eq!(wire::send(gone, "GET", "/api/v1/pods", &headers, b"").await.code, 503);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("does not answer"), "something is logged");
    assert!(!text.contains(TOKEN) && !text.contains("c2VjcmV0"), "{text}");
}
