//! Another server, on a real port with a real certificate: it notes what it is asked.

#![allow(dead_code, reason = "each test program uses its own part")]

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use parking_lot::Mutex;
use pki::{Component, Pki, ServingCertificate};
use serde_json::Value;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A request, read to its end.
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether the client showed a certificate.
    pub certificate: bool,
    /// Becomes a connection when the answer is 101.
    pub upgrade: Option<hyper::upgrade::OnUpgrade>,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }
}

/// The server. Lives as long as the test's runtime.
pub struct Remote {
    pub address: SocketAddr,
    pub ca_pem: String,
    pub seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Remote {
    /// Starts one on a loopback address, with a certificate for it and for `name`.
    pub async fn start(
        pki: &Arc<Pki>,
        name: &str,
        ip: [u8; 4],
        answer: impl Fn(&mut Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let ip = IpAddr::V4(Ipv4Addr::from(ip));
        let certificate = ServingCertificate::new(
            Arc::clone(pki),
            Component::KubeletServing,
            name,
            vec![name.to_owned()],
            vec![ip],
            &[],
            Timestamp::now(),
        );
        let clients = pki::tls::ClientAuth::Request(pki.front_proxy_ca().bundle().unwrap());
        let resolver = certificate.unwrap().resolver();
        let tls = pki::tls::server_config(resolver, &clients, &pki::tls::ALPN_HTTP).unwrap();
        let acceptor = TlsAcceptor::from(tls);
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let (answer, noted) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, noted) = (acceptor.clone(), Arc::clone(&answer), Arc::clone(&noted));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let certificate = stream.get_ref().1.peer_certificates().is_some();
                    let service = hyper::service::service_fn(move |mut request: http::Request<_>| {
                        let (answer, noted) = (Arc::clone(&answer), Arc::clone(&noted));
                        async move {
                            let upgrade = Some(hyper::upgrade::on(&mut request));
                            let (parts, body): (_, hyper::body::Incoming) = request.into_parts();
                            let uri = parts.uri.path_and_query().map_or("", |p| p.as_str()).to_owned();
                            let body = body.collect().await.unwrap().to_bytes();
                            noted.lock().push((parts.method.to_string(), uri.clone()));
                            let (method, headers) = (parts.method.to_string(), parts.headers);
                            let mut seen = Seen { method, uri, headers, body, certificate, upgrade };
                            Ok::<_, Infallible>(answer(&mut seen))
                        }
                    });
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, ca_pem: pki.cluster_ca().pem().to_owned(), seen }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.seen.lock().iter().filter(|(_, uri)| uri == path).count()
    }

    /// A kubeconfig file that leads here.
    pub fn kubeconfig(&self, directory: &Path) -> PathBuf {
        let path = directory.join(format!("kubeconfig-{}", self.address.port()));
        let ca = directory.join("remote-ca.crt");
        std::fs::write(&ca, &self.ca_pem).unwrap();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: '{}', certificate-authority: remote-ca.crt}}}}]\n\
             users: [{{name: me, user: {{token: sesame}}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: me}}}}]\n",
            self.url()
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// An answer of JSON.
pub fn json(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

/// An answer of plain text.
pub fn text(code: u16, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(text.to_owned())).boxed_unsync();
    Response::builder().status(code).header("content-type", "text/plain").body(body).unwrap()
}
