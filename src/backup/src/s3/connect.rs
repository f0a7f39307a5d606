//! Connections, without the C library's resolver: a static glibc binary must not call getaddrinfo.

use hickory_resolver::TokioResolver;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Whose certificates are believed.
pub(super) enum Trust<'a> {
    /// The system's authorities.
    System,
    /// Those of a file (PEM).
    File(&'a Path),
    /// Everybody's.
    Anybody,
}

/// How TLS is spoken.
pub(super) fn tls(trust: &Trust<'_>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Anybody => {
            let config = pki::tls::unverified_client_config(&[]).map_err(|error| error.to_string())?;
            return Ok(Arc::new(config));
        }
        Trust::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(
                    "this machine has no certificates of authorities; give those of the server".into()
                );
            }
        }
        Trust::File(path) => {
            let shown = path.display();
            let pem = std::fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            let (added, _) = roots.add_parsable_certificates(found.unwrap_or_default());
            if added == 0 {
                return Err(format!("{shown} holds no certificates"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Connects to the first address of a host that answers.
pub(super) async fn connect(
    host: &str,
    port: u16,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Box<dyn Stream>, String> {
    let mut last = format!("{host} has no address");
    let mut connected = None;
    for ip in resolve(host).await? {
        match TcpStream::connect(SocketAddr::new(ip, port)).await {
            Ok(stream) => {
                connected = Some(stream);
                break;
            }
            Err(error) => last = format!("cannot connect to {ip}:{port}: {error}"),
        }
    }
    let tcp = connected.ok_or(last)?;
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no host's name"))?;
    let encrypted = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await;
    Ok(Box::new(encrypted.map_err(|error: io::Error| format!("TLS with {host}: {error}"))?))
}

async fn resolve(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![ip]);
    }
    let failed = |error: hickory_resolver::net::NetError| format!("cannot find {host}: {error}");
    let resolver = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
    let found = resolver.map_err(failed)?.lookup_ip(host).await.map_err(failed)?;
    Ok(found.iter().collect())
}
