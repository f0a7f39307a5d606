//! TLS that only the API server's front proxy gets through.

use crate::self_signed::self_signed;
use client::{Scope, SharedInformers};
use k8s_openapi::api::core::v1::ConfigMap;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

const NAMESPACE: &str = "kube-system";
const AUTHENTICATION: &str = "extension-apiserver-authentication";
const AUTHORITY: &str = "requestheader-client-ca-file";

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The cluster does not say who its front proxy is.
    #[error("ConfigMap {NAMESPACE}/{AUTHENTICATION} has no authority in {AUTHORITY}")]
    NoAuthority,
    /// A certificate or key cannot be used.
    #[error("cannot use {what}: {why}")]
    Unusable {
        /// What of.
        what: &'static str,
        /// Why not.
        why: String,
    },
}

/// TLS as it is served.
pub struct FrontProxyTls {
    /// Takes connections.
    pub acceptor: TlsAcceptor,
    /// The certificate that is shown, PEM.
    pub certificate_pem: String,
}

/// Shows a certificate of its own making (the APIService says that it is not verified) and believes only clients that
/// have one of this authority (PEM): the front proxy, and nobody else.
///
/// # Errors
/// When the authority is none.
pub fn front_proxy(authority_pem: &str, name: &str) -> Result<FrontProxyTls, TlsError> {
    let unusable = |what: &'static str| {
        move |error: &dyn std::fmt::Display| TlsError::Unusable { what, why: error.to_string() }
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| unusable("the front proxy's authority")(&error))?;
        roots.add(certificate).map_err(|error| unusable("the front proxy's authority")(&error))?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoAuthority);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| unusable("the front proxy's authority")(&error))?;
    let own = self_signed(&[name]).map_err(|error| unusable("a certificate")(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("TLS")(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.certificate], own.key)
        .map_err(|error| unusable("a certificate")(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(FrontProxyTls { acceptor: TlsAcceptor::from(Arc::new(config)), certificate_pem: own.pem })
}

/// The front proxy's authority (PEM), and a future that ends when it is another one.
///
/// # Errors
/// When the cluster does not say.
pub async fn watch_front_proxy(
    informers: &SharedInformers,
) -> Result<(String, impl Future<Output = ()> + use<>), TlsError> {
    let field_selector = format!("metadata.name={AUTHENTICATION}");
    let scope = Scope { field_selector, ..Scope::namespace(NAMESPACE) };
    let maps = informers.scoped::<ConfigMap>(&scope);
    let mut changes = maps.subscribe();
    maps.synced().await;
    let read = |map: &ConfigMap| map.data.as_ref().and_then(|data| data.get(AUTHORITY)).cloned();
    let found =
        maps.find(NAMESPACE, AUTHENTICATION).and_then(|map| read(&map)).ok_or(TlsError::NoAuthority)?;
    let first = found.clone();
    let changed = async move {
        let _informer = maps;
        while let Some(event) = changes.recv().await {
            if read(event.object()).is_some_and(|now| now != first) {
                return;
            }
        }
    };
    Ok((found, changed))
}
