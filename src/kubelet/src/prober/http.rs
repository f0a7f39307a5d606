//! A small HTTP/1.1 client for probes and hooks: connects to IP addresses only, follows no proxy, trusts any
//! certificate (as the API defines `scheme: HTTPS` of probes), reads a bounded part of the body.

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How much of a body is read: what upstream keeps for events.
const MAX_BODY_BYTES: usize = 10 * 1024;

/// A request got no usable answer.
#[derive(Debug, Error)]
pub enum HttpFailure {
    /// No connection.
    #[error("dial tcp {address}: connect: {}", super::tcp::lower(source))]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// TLS failed.
    #[error("tls: {0}")]
    Tls(#[source] std::io::Error),
    /// The peer does not speak HTTP, or closed.
    #[error("{0}")]
    Protocol(#[source] hyper::Error),
    /// The request cannot be expressed.
    #[error("{0}")]
    Request(#[source] http::Error),
    /// It took too long.
    #[error("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
    Timeout,
}

/// Where and what to ask.
#[derive(Debug, Clone)]
pub struct HttpGet {
    /// `https` instead of `http`.
    pub tls: bool,
    /// The address to connect to.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    /// The authority as the `Host` header and the URL in messages show it.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Headers in the order given; `Host` replaces the authority.
    pub headers: Vec<(String, String)>,
    /// `kube-probe/1.36` or `kube-lifecycle/1.36`.
    pub user_agent: String,
}

impl HttpGet {
    /// The URL, for messages.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}{}", self.port, self.path)
    }
}

/// Sends a GET; the status code and the beginning of the body. Redirects are not followed.
///
/// # Errors
/// When there is no answer within `timeout`.
pub async fn http_get(request: &HttpGet, timeout: Duration) -> Result<(u16, String), HttpFailure> {
    match tokio::time::timeout(timeout, exchange(request)).await {
        Ok(result) => result,
        Err(_) => Err(HttpFailure::Timeout),
    }
}

async fn exchange(request: &HttpGet) -> Result<(u16, String), HttpFailure> {
    let address = SocketAddr::new(request.ip, request.port);
    let stream =
        TcpStream::connect(address).await.map_err(|source| HttpFailure::Connect { address, source })?;
    // Probes are rare and short: nothing is gained by lingering in TIME_WAIT on the node's ports.
    let _ = stream.set_nodelay(true);
    let response = if request.tls {
        let no_tls = || HttpFailure::Tls(std::io::Error::other("no usable protocol version"));
        let connector = TlsConnector::from(trusting_config().ok_or_else(no_tls)?);
        let name = ServerName::from(request.ip);
        send(connector.connect(name, stream).await.map_err(HttpFailure::Tls)?, request).await?
    } else {
        send(stream, request).await?
    };
    let code = response.status().as_u16();
    Ok((code, read_some(response.into_body()).await))
}

async fn send<S>(stream: S, request: &HttpGet) -> Result<Response<Incoming>, HttpFailure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(HttpFailure::Protocol)?;
    tokio::spawn(connection);
    sender.send_request(build(request).map_err(HttpFailure::Request)?).await.map_err(HttpFailure::Protocol)
}

fn build(request: &HttpGet) -> Result<Request<Empty<Bytes>>, http::Error> {
    let path =
        if request.path.starts_with('/') { request.path.clone() } else { format!("/{}", request.path) };
    let mut builder = Request::get(path);
    let given = |name: &str| request.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let host = request.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case("host"));
    builder = match host {
        Some((_, host)) => builder.header("Host", host),
        None if request.host.contains(':') => {
            builder.header("Host", format!("[{}]:{}", request.host, request.port))
        }
        None => builder.header("Host", format!("{}:{}", request.host, request.port)),
    };
    if !given("user-agent") {
        builder = builder.header("User-Agent", &request.user_agent);
    }
    if !given("accept") {
        builder = builder.header("Accept", "*/*");
    }
    builder = builder.header("Connection", "close");
    for (name, value) in &request.headers {
        // An empty value takes the default header away.
        if !value.is_empty() && !name.eq_ignore_ascii_case("host") {
            builder = builder.header(name, value);
        }
    }
    builder.body(Empty::new())
}

async fn read_some(mut body: Incoming) -> String {
    let mut read = Vec::new();
    while read.len() < MAX_BODY_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    read.extend_from_slice(&data);
                }
            }
            Some(Err(_)) | None => break,
        }
    }
    read.truncate(MAX_BODY_BYTES);
    String::from_utf8_lossy(&read).into_owned()
}

fn trusting_config() -> Option<Arc<ClientConfig>> {
    static CONFIG: std::sync::LazyLock<Option<Arc<ClientConfig>>> = std::sync::LazyLock::new(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
        let verifier = Arc::new(AnyCertificate);
        Some(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
    });
    CONFIG.clone()
}

/// Accepts whatever certificate a container shows, even one that webpki cannot read (X.509 version 1): probes ask whether
/// it answers, not who it is.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_get_brings_code_and_body() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 1024];
            let read = stream.read(&mut asked).await.unwrap();
            stream.write_all(b"HTTP/1.1 503 x\r\nContent-Length: 4\r\n\r\noops").await.unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        let request = HttpGet {
            tls: false,
            ip: "127.0.0.1".parse().unwrap(),
            port,
            host: "127.0.0.1".into(),
            path: "/healthz?x=1".into(),
            headers: vec![("Host".into(), "example.com".into())],
            user_agent: "kube-probe/1.36".into(),
        };
        assert_eq!(http_get(&request, Duration::from_secs(5)).await.unwrap(), (503, "oops".into()));
        let asked = server.await.unwrap();
        assert!(asked.starts_with("GET /healthz?x=1 HTTP/1.1\r\nhost: example.com\r\n"), "{asked}");
    }
}
