//! An HTTPS server that a test writes: a webhook, an aggregated API server.

use base64::Engine;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

type Handler = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// An HTTPS server on a free port of this machine, until it is dropped. It speaks HTTP/1.1 and HTTP/2.
pub struct HttpsServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate that vouches for its own (PEM).
    pub authority_pem: String,
    connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl HttpsServer {
    /// A server with a certificate for `localhost`, 127.0.0.1 and these names.
    pub async fn start<F>(names: &[&str], handler: F) -> Self
    where
        F: Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync + 'static,
    {
        Self::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST), names, handler).await
    }

    /// The same at another address of this machine.
    pub async fn start_at<F>(ip: IpAddr, names: &[&str], handler: F) -> Self
    where
        F: Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync + 'static,
    {
        let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        all.extend(names.iter().map(|name| (*name).to_owned()));
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let leaf =
            CertificateParams::new(all).expect("parameters").signed_by(&key, &authority).expect("a leaf");
        Self::serve(ip, leaf.der().clone(), &key, authority.pem(), Arc::new(handler)).await
    }

    /// A server whose certificate is its own authority, as `openssl req -x509` makes them.
    pub async fn start_self_signed<F>(handler: F) -> Self
    where
        F: Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync + 'static,
    {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self::serve(ip, certificate.der().clone(), &key, certificate.pem(), Arc::new(handler)).await
    }

    async fn serve(
        ip: IpAddr,
        certificate: CertificateDer<'static>,
        key: &KeyPair,
        authority_pem: String,
        handler: Handler,
    ) -> Self {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a usable certificate");
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind((ip, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                        let handler = Arc::clone(&handler);
                        async move {
                            let (parts, body) = request.into_parts();
                            let bytes = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
                            let response = handler(Request::from_parts(parts, bytes)).await;
                            Ok::<_, Infallible>(response.map(Full::new))
                        }
                    });
                    // A client that goes away is no failure of the test.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, authority_pem, connections, task: task.abort_handle() }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// The authority's certificate as `caBundle` has it.
    pub fn bundle(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(&self.authority_pem)
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for HttpsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A JSON response.
pub fn json_response(value: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(value.to_string()));
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}
