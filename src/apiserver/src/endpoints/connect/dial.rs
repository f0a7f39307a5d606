//! Connections to the other end.

use super::target::{Scheme, Target};
use crate::ApiServer;
use crate::body::Body;
use apimachinery::status::{Result, Status};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Upstream's dial timeout for proxied connections.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens a connection and speaks HTTP/1.1 on it (upgrades need it).
///
/// # Errors
/// 503 when the other end cannot be reached, or is not who it should be.
pub(crate) async fn dial(server: &ApiServer, target: Target) -> Result<SendRequest<Body>> {
    match tokio::time::timeout(DIAL_TIMEOUT, connect(server, target)).await {
        Ok(result) => result,
        Err(_) => Err(unreachable(target, "i/o timeout")),
    }
}

async fn connect(server: &ApiServer, target: Target) -> Result<SendRequest<Body>> {
    let stream = TcpStream::connect(target.address).await.map_err(|e| unreachable(target, e))?;
    stream.set_nodelay(true).map_err(|e| unreachable(target, e))?;
    let config = match target.scheme {
        Scheme::Http => return handshake(stream, target).await,
        Scheme::Https => unchecked()?,
        Scheme::Kubelet => server.kubelet_client().cloned().ok_or_else(|| {
            Status::service_unavailable("this server has no client certificate for kubelets")
        })?,
    };
    let name = ServerName::IpAddress(target.address.ip().into());
    let stream =
        TlsConnector::from(config).connect(name, stream).await.map_err(|e| unreachable(target, e))?;
    handshake(stream, target).await
}

async fn handshake<S>(stream: S, target: Target) -> Result<SendRequest<Body>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| unreachable(target, e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    Ok(sender)
}

fn unreachable(target: Target, why: impl std::fmt::Display) -> Status {
    Status::service_unavailable(format!(
        "error trying to reach service: dial tcp {}: connect: {why}",
        target.address
    ))
}

/// TLS that believes any certificate: the proxy to pods and Services, whose certificates nobody can know (as
/// upstream's transport does).
fn unchecked() -> Result<Arc<rustls::ClientConfig>> {
    static CONFIG: OnceLock<Option<Arc<rustls::ClientConfig>>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
            rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .ok()
                .map(|builder| {
                    Arc::new(
                        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth(),
                    )
                })
        })
        .clone()
        .ok_or_else(|| Status::internal("TLS is not available"))
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
