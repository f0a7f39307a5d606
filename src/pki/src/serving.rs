//! Serving certificates that follow the addresses of the node, without a restart.

use std::net::IpAddr;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::error::PkiError;
use crate::leaf::Leaf;
use crate::profile::Component;
use crate::store::{LeafRequest, Pki};

/// Shows one certificate, to clients or to servers, that can be swapped while connections are open: those keep the
/// old one, new handshakes see the new one.
pub struct ServingCertResolver {
    current: RwLock<Option<Arc<CertifiedKey>>>,
}

impl ServingCertResolver {
    /// Serves this certificate to begin with.
    ///
    /// # Errors
    /// [`PkiError::Tls`] when rustls cannot use its key.
    pub fn new(leaf: &Leaf) -> Result<Self, PkiError> {
        Ok(Self { current: RwLock::new(Some(leaf.certified_key()?)) })
    }

    /// Has none yet: servers refuse handshakes, clients show nothing.
    pub fn empty() -> Self {
        Self { current: RwLock::new(None) }
    }

    /// Serves this certificate from now on.
    ///
    /// # Errors
    /// [`PkiError::Tls`] when rustls cannot use its key; the old one stays.
    pub fn swap(&self, leaf: &Leaf) -> Result<(), PkiError> {
        let new = leaf.certified_key()?;
        *self.current.write() = Some(new);
        Ok(())
    }
}

impl ResolvesServerCert for ServingCertResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().clone()
    }
}

impl ResolvesClientCert for ServingCertResolver {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.current.read().clone()
    }

    fn has_certs(&self) -> bool {
        self.current.read().is_some()
    }
}

impl std::fmt::Debug for ServingCertResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServingCertResolver")
    }
}

/// A component's serving certificate, kept valid and in step with the node's addresses.
pub struct ServingCertificate {
    pki: Arc<Pki>,
    component: Component,
    node: String,
    dns_names: Vec<String>,
    fixed_addresses: Vec<IpAddr>,
    leaf: Mutex<Leaf>,
    resolver: Arc<ServingCertResolver>,
}

impl ServingCertificate {
    /// Loads or issues the certificate for these names and addresses.
    ///
    /// `dns_names` and `fixed_addresses` (`--tls-san`, the first Service address) stay in it whatever the
    /// node's `addresses` become.
    ///
    /// # Errors
    /// As [`Pki::leaf`].
    pub fn new(
        pki: Arc<Pki>,
        component: Component,
        node: &str,
        dns_names: Vec<String>,
        fixed_addresses: Vec<IpAddr>,
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let all = union(&fixed_addresses, addresses);
        let request = LeafRequest { component, node, dns_names: &dns_names, addresses: &all };
        let leaf = pki.leaf(&request, now)?;
        let resolver = Arc::new(ServingCertResolver::new(&leaf)?);
        let node = node.to_owned();
        Ok(Self { pki, component, node, dns_names, fixed_addresses, leaf: Mutex::new(leaf), resolver })
    }

    /// What a `rustls::ServerConfig` takes.
    pub fn resolver(&self) -> Arc<ServingCertResolver> {
        Arc::clone(&self.resolver)
    }

    /// The certificate that is served now.
    pub fn leaf(&self) -> Leaf {
        self.leaf.lock().clone()
    }

    /// Issues and serves a new certificate if the current one lacks an address or nears its end.
    /// Returns whether it did.
    ///
    /// # Errors
    /// As [`Pki::leaf`]; the old certificate is then still served.
    pub fn refresh(&self, addresses: &[IpAddr], now: Timestamp) -> Result<bool, PkiError> {
        let mut current = self.leaf.lock();
        let all = union(&self.fixed_addresses, addresses);
        if !current.needs_renewal(now) && all.iter().all(|address| current.addresses().contains(address)) {
            return Ok(false);
        }
        let request = LeafRequest {
            component: self.component,
            node: &self.node,
            dns_names: &self.dns_names,
            addresses: &all,
        };
        let leaf = self.pki.leaf(&request, now)?;
        self.resolver.swap(&leaf)?;
        *current = leaf;
        Ok(true)
    }

    /// Refreshes for every item of the stream: the node's addresses at that moment. Ends with the stream.
    ///
    /// The stream should yield when an address comes or goes, and at least daily (the same addresses again)
    /// so that the certificate is renewed in time. A failure is logged and tried again with the next item.
    pub async fn watch_addresses(
        &self,
        addresses: impl Stream<Item = Vec<IpAddr>>,
        now: impl Fn() -> Timestamp,
    ) {
        let mut addresses = std::pin::pin!(addresses);
        while let Some(addresses) = addresses.next().await {
            match self.refresh(&addresses, now()) {
                Ok(true) => tracing::info!(?addresses, "serving certificate swapped"),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "serving certificate not renewed"),
            }
        }
    }
}

impl std::fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServingCertificate").field("component", &self.component).finish_non_exhaustive()
    }
}

fn union(fixed: &[IpAddr], addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = fixed.iter().chain(addresses).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
#[path = "serving_tests.rs"]
mod tests;
