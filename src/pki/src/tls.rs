//! rustls configurations, and verifying client certificates request by request.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::authority::Authority;
use crate::error::PkiError;
use crate::judge::{self, Anybody};
use crate::leaf::Leaf;

/// HTTP/2 and HTTP/1.1, as the API server and kubelets speak.
pub const ALPN_HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a server wants of its clients.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// No certificate is asked for.
    None,
    /// One is asked for, of these authorities; whatever comes is let in once the client has proved to own
    /// its key. Whether the certificate is any good is decided for each request ([`ChainVerifier`]), so
    /// that a bad one gets `401 Unauthorized` instead of a broken connection, as with a stock API server.
    Request(Vec<CertificateDer<'static>>),
    /// One of these authorities must have signed the client's certificate.
    Require(Vec<CertificateDer<'static>>),
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, PkiError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(PkiError::Tls)?;
    }
    Ok(roots)
}

/// A server's configuration: TLS 1.2 and 1.3. AES with 128 bits goes before 256, whatever the client's order is, as in
/// Go's servers: it has ten rounds in place of fourteen.
///
/// # Errors
/// [`PkiError::Tls`] when an authority's certificate is unusable.
pub fn server_config(
    certificate: Arc<dyn ResolvesServerCert>,
    clients: &ClientAuth,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, PkiError> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| !is_aes_128(suite.suite()));
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(PkiError::Tls)?;
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Request(authorities) => {
            builder.with_client_cert_verifier(Arc::new(AcceptForNow::new(&roots(authorities)?, provider)))
        }
        ClientAuth::Require(authorities) => {
            builder.with_client_cert_verifier(web_pki_verifier(authorities, provider)?)
        }
    };
    let mut config = builder.with_cert_resolver(certificate);
    config.ignore_client_order = true;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

/// A client's configuration: trusts servers of these authorities, shows the identity when asked.
///
/// # Errors
/// [`PkiError::Tls`] when a certificate or key is unusable.
pub fn client_config(
    authorities: &[CertificateDer<'static>],
    identity: Option<&Leaf>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, PkiError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(PkiError::Tls)?
        .with_root_certificates(roots(authorities)?);
    let mut config = match identity {
        Some(leaf) => {
            builder.with_client_auth_cert(leaf.chain.clone(), leaf.private_key()).map_err(PkiError::Tls)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// A client's configuration that believes any server: for what is public and checked by other means, or where the user
/// asks for it. No secret may be sent to such a server.
///
/// # Errors
/// [`PkiError::Tls`].
pub fn unverified_client_config(alpn: &[&[u8]]) -> Result<ClientConfig, PkiError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(PkiError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(judge::verifier(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

fn web_pki_verifier(
    authorities: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authorities)?), provider)
        .build()
        .map_err(PkiError::parse)
}

/// Verifies client certificates against authorities, outside of a handshake.
#[derive(Clone, Debug)]
pub struct ChainVerifier(Arc<dyn ClientCertVerifier>);

impl ChainVerifier {
    /// Accepts what these authorities signed.
    ///
    /// # Errors
    /// [`PkiError::Tls`], [`PkiError::Parse`] when there is no authority or one is unusable.
    pub fn new(authorities: &[CertificateDer<'static>]) -> Result<Self, PkiError> {
        web_pki_verifier(authorities, provider()).map(Self)
    }

    /// Is this chain (the client's own certificate first) good for a client, at this time?
    ///
    /// # Errors
    /// [`PkiError::Untrusted`] with the reason.
    ///
    /// # Cost
    /// One ECDSA verification per link, about 0.1 ms: remember the answer for a connection.
    pub fn verify(&self, chain: &[CertificateDer<'static>], now: Timestamp) -> Result<(), PkiError> {
        let Some((own, intermediates)) = chain.split_first() else {
            return Err(PkiError::Untrusted(rustls::Error::NoCertificatesPresented));
        };
        self.0.verify_client_cert(own, intermediates, unix_time(now)).map(drop).map_err(PkiError::Untrusted)
    }
}

fn unix_time(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0)))
}

/// Did this authority sign the leaf (whenever that was)?
pub(crate) fn is_signed_by(leaf: &Leaf, authority: &Authority) -> bool {
    let parse = x509_parser::parse_x509_certificate;
    let (Some(own), Ok((_, issuer))) = (leaf.chain.first(), parse(authority.certificate())) else {
        return false;
    };
    let Ok((_, own)) = parse(own) else { return false };
    own.issuer() == issuer.subject() && own.verify_signature(Some(issuer.public_key())).is_ok()
}

/// Lets every client certificate through the handshake whose key the client owns.
#[derive(Debug)]
struct AcceptForNow {
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl AcceptForNow {
    fn new(roots: &RootCertStore, provider: Arc<CryptoProvider>) -> Self {
        Self { hints: roots.subjects(), provider }
    }
}

impl ClientCertVerifier for AcceptForNow {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Go's clients choose their certificate by these.
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
