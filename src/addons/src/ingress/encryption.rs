//! TLS to endpoints: what is shown, and whom is believed.

use pki::judge::{self, Judge};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, Error, RootCertStore};
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
        let verifier = Verifier { authority, names: names.collect() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(judge::verifier(verifier));
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
}

impl Judge for Verifier {
    fn judge(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(authority) = &self.authority else { return Ok(()) };
        let fits = |name| authority.verify_server_cert(shown, others, name, &[], now).map(drop);
        if self.names.is_empty() {
            return fits(name);
        }
        let mut verdict = Err(Error::General("no name fits".to_owned()));
        for name in &self.names {
            verdict = verdict.or_else(|_| fits(name));
        }
        verdict
    }
}
