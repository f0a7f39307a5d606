//! The identity of a node's datastore among those of other nodes: one certificate, for both directions.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::{ClientConfig, ServerConfig};

use crate::error::PkiError;
use crate::leaf::Leaf;
use crate::profile::Component;
use crate::serving::ServingCertResolver;
use crate::store::{LeafRequest, Pki};
use crate::tls::{ClientAuth, provider, roots, server_config};

/// The name that every peer's certificate has (`certs/datastore-peer.yaml`).
pub const PEER_NAME: &str = "datastore.knarr.internal";

/// What peers speak.
const ALPN: [&[u8]; 1] = [b"h2"];

/// Shows the node's certificate of the datastore authority, and takes no others for peers.
pub struct PeerIdentity {
    pki: Arc<Pki>,
    node: String,
    leaf: Mutex<Leaf>,
    resolver: Arc<ServingCertResolver>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl PeerIdentity {
    /// Loads the authority and the node's certificate, or makes what is missing.
    ///
    /// # Errors
    /// As [`Pki::leaf`].
    pub fn new(pki: Arc<Pki>, node: &str, now: Timestamp) -> Result<Self, PkiError> {
        let authorities = pki.datastore_ca(now)?.bundle()?;
        let leaf = pki.leaf(&LeafRequest::client(Component::DatastorePeer, node), now)?;
        let resolver = Arc::new(ServingCertResolver::new(&leaf)?);
        let server = server_config(resolver.clone(), &ClientAuth::Require(authorities.clone()), &ALPN)?;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(PkiError::Tls)?
            .with_root_certificates(roots(&authorities)?)
            .with_client_cert_resolver(resolver.clone());
        client.alpn_protocols = ALPN.iter().map(|protocol| protocol.to_vec()).collect();
        let leaf = Mutex::new(leaf);
        Ok(Self { pki, node: node.to_owned(), leaf, resolver, server, client: Arc::new(client) })
    }

    /// For the side that is called.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// For the side that calls; it asks for [`PEER_NAME`].
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// Renews the certificate when it nears its end; connections that are made later show the new one.
    ///
    /// # Errors
    /// As [`Pki::leaf`]; the old certificate is then still shown.
    pub fn refresh(&self, now: Timestamp) -> Result<(), PkiError> {
        let mut current = self.leaf.lock();
        if current.needs_renewal(now) {
            let leaf = self.pki.leaf(&LeafRequest::client(Component::DatastorePeer, &self.node), now)?;
            self.resolver.swap(&leaf)?;
            *current = leaf;
        }
        Ok(())
    }
}

impl std::fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerIdentity").field("node", &self.node).finish_non_exhaustive()
    }
}
