//! TLS: whose certificates are believed.

use super::endpoint::Trust;
use pki::judge::{self, Anybody, Judge};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::{Arc, OnceLock};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Sessions that are kept to be resumed: one endpoint hardly has more names.
const SESSIONS: usize = 8;

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// A client's configuration.
///
/// # Errors
/// A sentence, when the bundle or the identity cannot be used.
pub(super) fn client_config(
    trust: &Trust,
    identity: Option<&Arc<CertifiedKey>>,
    http2: bool,
) -> Result<ClientConfig, String> {
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Any => judge::verifier(Anybody),
        Trust::System => judge::verifier(Roots::new(system_roots())?),
        Trust::Bundle(pem) => judge::verifier(Roots::new(&bundle(pem)?)?),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key)))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// TLS that believes any certificate: the proxy to pods and Services, whose certificates nobody can know (as
/// upstream's transport does).
///
/// # Errors
/// When TLS is not available.
pub(crate) fn unchecked() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let make = || client_config(&Trust::Any, None, false).map(Arc::new);
    CONFIG.get_or_init(make).clone()
}

fn bundle(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned()),
    }
}

/// The machine's roots, read once.
fn system_roots() -> &'static [CertificateDer<'static>] {
    static ROOTS: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            tracing::warn!(errors = ?found.errors, "this machine has no root certificates");
        }
        found.certs
    })
}

/// Believes what roots vouch for, and the roots themselves: a certificate that signed itself as an authority and
/// serves is refused by webpki, yet many webhooks have one, and Go takes it.
#[derive(Debug)]
struct Roots {
    usual: Option<Arc<WebPkiServerVerifier>>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    fn new(certificates: &[CertificateDer<'static>]) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let usual = if roots.is_empty() {
            None
        } else {
            let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
            Some(builder.build().map_err(|e| e.to_string())?)
        };
        Ok(Self { usual, certificates: certificates.to_vec() })
    }

    fn is_root_itself(&self, end_entity: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        let known = self.certificates.iter().any(|root| root.as_ref() == end_entity.as_ref());
        let named = ParsedCertificate::try_from(end_entity)
            .is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok());
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let current = X509Certificate::from_der(end_entity).is_ok_and(|(_, certificate)| {
            let validity = certificate.validity();
            validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp()
        });
        known && named && current
    }
}

impl Judge for Roots {
    fn judge(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let usual = match &self.usual {
            Some(usual) => usual.verify_server_cert(shown, others, name, &[], now).map(drop),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        usual.or_else(|error| if self.is_root_itself(shown, name, now) { Ok(()) } else { Err(error) })
    }
}
