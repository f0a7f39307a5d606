//! Logs, exec and proxies, against a stand-in for the kubelet on a real port.

use crate::support::connect;
use apiserver::authentication::UserInfo;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use pki::{Component, LeafRequest, Pki, ServingCertificate};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use testkit::TestServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A server whose kubelet tells what it was asked, or echoes after an upgrade.
async fn start() -> TestServer {
    let server = TestServer::start_with(|config| {
        // The authority and the client's certificate come from the same files as the server's.
        config.kubelet_client =
            Some(Arc::new(pki::tls::client_config(&config.client_authorities, None, &[]).unwrap()));
    })
    .await;
    let kubelet = kubelet(&server.pki).await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    server.post("/api/v1/nodes", &node).await.expect(201);
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": kubelet.ip().to_string()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}}}});
    server.patch("merge", "/api/v1/nodes/n1/status", &status).await.expect(200);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "busybox"}]}});
    server.post(PODS, &pod).await.expect(201);
    server
}

async fn kubelet(pki: &Arc<Pki>) -> SocketAddr {
    let certificate = ServingCertificate::new(
        Arc::clone(pki),
        Component::KubeletServing,
        "n1",
        Vec::new(),
        vec![LOCAL],
        &[],
        Timestamp::now(),
    );
    let tls = pki::tls::server_config(certificate.unwrap().resolver(), &pki::tls::ClientAuth::None, &[]);
    let acceptor = TlsAcceptor::from(tls.unwrap());
    let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let service = hyper::service::service_fn(answer);
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                let _ = connection.await;
            });
        }
    });
    address
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let told = format!("{} {}", request.method(), request.uri());
    if request.uri().path() == "/count" {
        let bytes = request.into_body().collect().await.unwrap().to_bytes().len();
        return Ok(Response::new(Full::from(format!("{told}: {bytes}"))));
    }
    if !request.headers().contains_key(header::UPGRADE) {
        return Ok(Response::new(Full::from(told)));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        stream.write_all(told.as_bytes()).await.unwrap();
        let mut buffer = [0; 64];
        while let Ok(read) = stream.read(&mut buffer).await {
            if read == 0 || stream.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let echo = header::HeaderValue::from_static("echo");
    response.headers_mut().insert(header::UPGRADE, echo);
    response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    Ok(response)
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_come_from_the_kubelet() {
    let server = start().await;
    let log = server.get(&format!("{PODS}/p/log?tailLines=3&follow=false")).await;
    assert_eq!(log.code, 200, "{}", log.text());
    assert_eq!(log.text(), "GET /containerLogs/default/p/c?follow=false&tailLines=3");
    assert_eq!(log.headers["content-type"], "text/plain");
    assert_eq!(server.get(&format!("{PODS}/p/log?container=x")).await.code, 400);
    assert_eq!(server.get(&format!("{PODS}/p/log?tailLines=-1")).await.code, 422);
    assert_eq!(server.get(&format!("{PODS}/nope/log")).await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_proxied() {
    let server = start().await;
    let stats = server.get("/api/v1/nodes/n1/proxy/stats/summary?only=cpu").await;
    assert_eq!(stats.text(), "GET /stats/summary?only=cpu");
    let moved = server.get("/api/v1/nodes/n1/proxy").await;
    assert_eq!(moved.code, 301);
    assert_eq!(moved.headers["location"], "/api/v1/nodes/n1/proxy/");
    let user = UserInfo::new("jane", &[]);
    let refused = server.request_as(Some(user), "GET", "/api/v1/nodes/n1/proxy/pods", &[], "").await;
    assert_eq!(refused.code, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_gets_more_than_an_object_may_have() {
    let server = start().await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gone"}});
    server.post("/api/v1/nodes", &node).await.expect(201);
    // Nobody listens there.
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}});
    server.patch("merge", "/api/v1/nodes/gone/status", &status).await.expect(200);

    let url = format!("https://{}", server.serve().await);
    let leaf = server.pki.leaf(&LeafRequest::client(Component::Admin, "test"), Timestamp::now()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, pki::kubeconfig("test", &url, server.pki.cluster_ca().pem(), "admin", &leaf))
        .unwrap();
    let uploader = client::Uploader::from_kubeconfig(&path, "test").await.unwrap();
    let body = || Full::from(vec![0; 20 << 20]);
    let counted = uploader.post("/api/v1/nodes/n1/proxy/count?name=a%2Fb", 20 << 20, body()).await.unwrap();
    assert_eq!(counted, "POST /count?name=a%2Fb: 20971520");
    // A refusal is heard, although nobody reads what was sent.
    for (node, why) in [("gone", "dial tcp 127.0.0.1:1: connect: "), ("none", "nodes \"none\" not found")] {
        let error = uploader.post(&format!("/api/v1/nodes/{node}/proxy/count"), 20 << 20, body()).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains(why), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_is_not_reached_through_pods_and_services() {
    let server = start().await;
    let status = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    server.patch("strategic-merge", &format!("{PODS}/p/status"), &status).await.expect(200);
    let refused = server.get(&format!("{PODS}/p:8080/proxy/")).await;
    assert_eq!((refused.code, refused.message().as_str()), (400, "address not allowed"));
    let missing = server.get("/api/v1/namespaces/default/services/nope/proxy/").await;
    assert_eq!(missing.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_becomes_a_tunnel_to_the_kubelet() {
    let server = start().await;
    let mut sender = connect(&server).await;
    let request = Request::builder()
        .method("POST")
        .uri(format!("{PODS}/p/exec?command=sh&command=-c&command=echo%20hi&stdin=true&stdout=true"))
        .header(header::HOST, "localhost")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "echo")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let mut response = sender.send_request(request).await.unwrap();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        panic!("{:?}", response.into_body().collect().await.unwrap().to_bytes());
    }
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    let expected = "POST /exec/default/p/c?input=1&output=1&command=sh&command=-c&command=echo%20hi";
    let mut told = vec![0; expected.len()];
    stream.read_exact(&mut told).await.unwrap();
    assert_eq!(String::from_utf8(told).unwrap(), expected);
    stream.write_all(b"both ways").await.unwrap();
    let mut echoed = [0; 9];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"both ways");
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_without_an_upgrade_is_refused() {
    let server = start().await;
    let refused = server.post(&format!("{PODS}/p/exec?command=sh&stdout=1"), &Value::Null).await;
    assert_eq!((refused.code, refused.message().as_str()), (400, "Upgrade request required"));
}
