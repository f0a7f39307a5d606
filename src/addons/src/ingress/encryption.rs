//! TLS to endpoints: what is shown, and whom is believed.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// How TLS is spoken to endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Encryption {
    /// The name that is asked for and verified; the endpoint's address when none.
    pub name: Option<String>,
    /// Whether the name is told (SNI).
    pub tells_name: bool,
    /// Names of which the certificate has to have one, instead of the other name.
    pub alternatives: Vec<String>,
    /// Whether the certificate is verified: by nobody's authority when there is none here, so that nothing is believed.
    pub verifies: bool,
    /// Where authorities, and a certificate of the proxy's own, come from.
    pub source: Option<Source>,
    /// What is there.
    pub credentials: Arc<Credentials>,
}

/// An object with certificates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `NAMESPACE/NAME` of a Secret.
    Secret(String),
    /// `NAMESPACE/NAME` of a ConfigMap.
    ConfigMap(String),
}

/// Certificates and keys, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// `ca.crt`.
    pub authorities: Vec<u8>,
    /// `tls.crt`.
    pub certificate: Vec<u8>,
    /// `tls.key`.
    pub key: Vec<u8>,
}

impl Credentials {
    /// Whether at least one authority is among them, and all that is there is one.
    pub fn has_authority(&self) -> bool {
        roots(&self.authorities).is_ok_and(|roots| !roots.is_empty())
    }
}

impl Encryption {
    /// TLS as it says.
    ///
    /// # Errors
    /// When certificates or keys cannot be used.
    pub fn config(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authority = if self.verifies {
            let roots = Arc::new(roots(&self.credentials.authorities)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
            Some(verifier.map_err(|error| Error::General(error.to_string()))?)
        } else {
            None
        };
        let names = self.alternatives.iter().filter_map(|name| ServerName::try_from(name.clone()).ok());
        let verifier = Verifier { authority, names: names.collect(), provider: provider.clone() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = if self.credentials.certificate.is_empty() {
            builder.with_no_client_auth()
        } else {
            let wrong = |error: rustls::pki_types::pem::Error| Error::General(error.to_string());
            let chain: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(&self.credentials.certificate).collect();
            let key = PrivateKeyDer::from_pem_slice(&self.credentials.key).map_err(wrong)?;
            builder.with_client_auth_cert(chain.map_err(wrong)?, key)?
        };
        config.enable_sni = self.tells_name;
        Ok(config)
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|error| Error::General(error.to_string()))?)?;
    }
    Ok(roots)
}

/// Believes an authority, or, without one, everybody: as ingress-nginx does unless it is told to verify.
#[derive(Debug)]
struct Verifier {
    authority: Option<Arc<WebPkiServerVerifier>>,
    names: Vec<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        let mut verdict = match self.names.is_empty() {
            true => return authority.verify_server_cert(shown, others, name, ocsp, now),
            false => Err(Error::General("no name fits".to_owned())),
        };
        for name in &self.names {
            verdict = verdict.or_else(|_| authority.verify_server_cert(shown, others, name, ocsp, now));
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
