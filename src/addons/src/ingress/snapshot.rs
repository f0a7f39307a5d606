//! What requests are answered by: the table, and what it refers to. Pure.

use super::encryption::{Credentials, Source};
use super::table::{Backend, Port, Table};
use crate::self_signed;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The Secret has no certificate or no key.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// One of them is damaged, or they do not belong together.
    #[error("{0}")]
    Unusable(String),
}

/// The state of the cluster that requests see.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Hosts and paths.
    pub table: Table,
    /// Endpoints by backend.
    pub pools: HashMap<Backend, Pool>,
    /// Certificates by `NAMESPACE/NAME` of their Secrets.
    pub certificates: HashMap<String, Arc<CertifiedKey>>,
    /// For hosts that have none.
    pub default_certificate: Option<Arc<CertifiedKey>>,
    /// Lines of htpasswd by `NAMESPACE/NAME` of their Secrets.
    pub users: HashMap<String, String>,
    /// What endpoints that speak TLS are verified by, and shown.
    pub credentials: HashMap<Source, Arc<Credentials>>,
}

/// Endpoints that take turns.
#[derive(Debug, Default)]
pub struct Pool {
    endpoints: Vec<SocketAddr>,
    turn: AtomicUsize,
}

impl Pool {
    /// These endpoints.
    pub fn new(mut endpoints: Vec<SocketAddr>) -> Self {
        endpoints.sort_unstable();
        endpoints.dedup();
        Self { endpoints, turn: AtomicUsize::new(0) }
    }

    /// The endpoint whose turn it is.
    pub fn next(&self) -> Option<SocketAddr> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.endpoints.get(turn.checked_rem(self.endpoints.len())?).copied()
    }

    /// The endpoint that a cookie names, while it is there.
    pub fn sticky(&self, cookie: &str) -> Option<SocketAddr> {
        self.endpoints.iter().find(|endpoint| cookie_of(endpoint) == cookie).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }
}

/// What a cookie says of an endpoint: the same everywhere, and not its address.
pub fn cookie_of(endpoint: &SocketAddr) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, endpoint.to_string().as_bytes());
    digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Snapshot {
    /// The certificate for a host: of several the first that names it, of those whose key `takes` accepts.
    pub fn certificate(
        &self,
        host: &str,
        takes: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        let shown = self.table.shown(host);
        let found: Vec<_> = shown.into_iter().filter_map(|secret| self.certificates.get(secret)).collect();
        let own = match found.as_slice() {
            // One that does not fit says more than one of nobody's.
            [] | [_] => found.first(),
            several => several.iter().rev().max_by_key(|one| (takes(one), names(one, host))),
        };
        own.copied().or(self.default_certificate.as_ref()).cloned()
    }
}

/// Whether a certificate is for a host.
fn names(certificate: &CertifiedKey, host: &str) -> bool {
    let Ok(name) = ServerName::try_from(host) else { return false };
    let parsed = certificate.end_entity_cert().ok().and_then(|cert| ParsedCertificate::try_from(cert).ok());
    parsed.is_some_and(|parsed| verify_server_name(&parsed, &name).is_ok())
}

/// The ready endpoints of a backend.
pub fn endpoints(backend: &Backend, service: &Service, slices: &[Arc<EndpointSlice>]) -> Vec<SocketAddr> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let port = ports.into_iter().find(|port| match &backend.port {
        Port::Number(number) => port.port == i32::from(*number),
        Port::Name(name) => port.name.as_deref() == Some(name),
    });
    let Some(port) = port else { return Vec::new() };
    let name = port.name.as_deref().unwrap_or("");
    let mut all = Vec::new();
    for slice in slices {
        let of = slice.ports.iter().flatten().find(|p| p.name.as_deref().unwrap_or("") == name);
        let Some(number) = of.and_then(|p| u16::try_from(p.port?).ok()) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            if endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true) {
                let addresses = endpoint.addresses.iter().filter_map(|a| a.parse::<IpAddr>().ok());
                all.extend(addresses.map(|address| SocketAddr::new(address, number)));
            }
        }
    }
    all
}

/// The certificate of a Secret of type `kubernetes.io/tls`.
///
/// # Errors
/// When it cannot be used.
pub fn certificate(secret: &Secret) -> Result<Arc<CertifiedKey>, CertificateError> {
    let data = |key: &'static str| {
        let found = secret.data.as_ref().and_then(|data| data.get(key));
        found.map(|bytes| bytes.0.as_slice()).ok_or(CertificateError::Missing(key))
    };
    let unusable = |error: &dyn std::fmt::Display| CertificateError::Unusable(error.to_string());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(data("tls.crt")?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(&error))?;
    let key = PrivateKeyDer::from_pem_slice(data("tls.key")?).map_err(|error| unusable(&error))?;
    certified(chain, key)
}

/// A certificate that nobody knows, for hosts that have none.
///
/// # Errors
/// When none can be made.
pub fn self_signed() -> Result<Arc<CertifiedKey>, CertificateError> {
    let own = self_signed::self_signed(&["ingress.local"])
        .map_err(|error| CertificateError::Unusable(error.to_string()))?;
    certified(vec![own.certificate], own.key)
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, CertificateError> {
    let provider = rustls::crypto::ring::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider);
    certified.map(Arc::new).map_err(|error| CertificateError::Unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::gateway::tests::World;
    use rustls::SignatureScheme;
    use serde_json::json;

    #[test]
    fn backends_are_the_ready_endpoints_of_their_port() {
        let service: Service = serde_json::from_value(json!({"spec": {"ports": [
            {"name": "web", "port": 80, "targetPort": 8080}, {"name": "other", "port": 81}]}}))
        .unwrap();
        let slice: EndpointSlice = serde_json::from_value(json!({"addressType": "IPv4", "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"], "conditions": {}}],
            "ports": [{"name": "web", "port": 8080}, {"name": "other", "port": 9090}]}))
        .unwrap();
        let slices = [Arc::new(slice)];
        let of = |port: Port| {
            let backend = Backend { namespace: "n".to_owned(), service: "s".to_owned(), port };
            endpoints(&backend, &service, &slices).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(Port::Number(80)), ["10.0.0.1:8080", "10.0.0.3:8080"]);
        assert_eq!(of(Port::Name("other".to_owned())), ["10.0.0.1:9090", "10.0.0.3:9090"]);
        assert!(of(Port::Number(8080)).is_empty());
    }

    #[test]
    fn endpoints_take_turns_unless_a_cookie_names_one() {
        let pool = Pool::new(vec!["10.0.0.2:1".parse().unwrap(), "10.0.0.1:1".parse().unwrap()]);
        let turns: Vec<_> = (0..3).map(|_| pool.next().unwrap().to_string()).collect();
        assert_eq!(turns, ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.1:1"]);
        let cookie = cookie_of(&"10.0.0.2:1".parse().unwrap());
        assert_eq!(pool.sticky(&cookie).unwrap().to_string(), "10.0.0.2:1");
        assert_eq!(pool.sticky("nonsense"), None);
        assert_eq!(Pool::default().next(), None);
    }

    #[test]
    fn of_several_certificates_the_one_that_names_the_host_is_shown() {
        let made = |name: &str, algorithm| {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let made = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            certified(vec![made.der().clone()], key).unwrap()
        };
        let (ecdsa, eddsa) = (&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519);
        let certificates: HashMap<_, _> = [
            ("n/a", made("a.example", ecdsa)),
            ("n/wild", made("*.b.example", ecdsa)),
            ("n/other", made("a.example", eddsa)),
        ]
        .map(|(secret, certificate)| (secret.to_owned(), certificate))
        .into();
        let references = json!([{"name": "wild"}, {"name": "a"}, {"name": "other"}, {"name": "none"}]);
        let listener = json!({"name": "l", "port": 443, "protocol": "HTTPS",
            "tls": {"mode": "Terminate", "certificateRefs": references}});
        let world = World::new().gateway("g", json!([listener]));
        let table = ["n/a", "n/wild", "n/other"].into_iter().fold(world, World::secret).table();
        let snapshot = Snapshot { table, certificates, ..Snapshot::default() };
        let shown = |host: &str, scheme| {
            let takes = |one: &CertifiedKey| one.key.choose_scheme(&[scheme]).is_some();
            let shown = snapshot.certificate(host, takes).unwrap();
            let is_it = |(_, one): &(&String, &Arc<CertifiedKey>)| Arc::ptr_eq(one, &shown);
            snapshot.certificates.iter().find(is_it).unwrap().0.clone()
        };
        let (p256, ed25519) = (SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519);
        assert_eq!(shown("a.example", p256), "n/a");
        assert_eq!(shown("a.example", ed25519), "n/other", "what the client can verify");
        assert_eq!(shown("x.b.example", p256), "n/wild");
        assert_eq!(shown("c.example", p256), "n/wild", "none names it: the first");
        assert_eq!(shown("", ed25519), "n/other");
    }

    #[test]
    fn a_certificate_needs_both_parts() {
        assert!(self_signed().is_ok());
        let secret: Secret = serde_json::from_value(json!({"data": {"tls.crt": "eA=="}})).unwrap();
        assert!(certificate(&secret).is_err());
    }
}
