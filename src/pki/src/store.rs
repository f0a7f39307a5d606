//! The directory of certificates and keys.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::authority::{Authority, Order, new_key};
use crate::error::PkiError;
use crate::files::{self, write_private};
use crate::leaf::Leaf;
use crate::profile::{Component, Profile, Signer};
use crate::service_account::{ServiceAccountKeys, public_pem};

const SERVICE_ACCOUNT_KEY: &str = "service-account.key";
const SERVICE_ACCOUNT_PUBLIC: &str = "service-account.pub";
/// The cluster authority as the former one vouches for it; a part of every chain, after a rotation.
pub(crate) const CROSS_SIGNED: &str = "ca-cross.crt";

/// The authorities and keys of a cluster, kept in one directory (`{data-dir}/pki`).
///
/// ```text
/// ca.crt ca.key                        the cluster authority
/// ca-cross.crt                         the same, signed by the former one, after a rotation
/// front-proxy-ca.crt front-proxy-ca.key
/// datastore-ca.crt datastore-ca.key    of the nodes' datastores; made when first asked for
/// service-account.key                  signs tokens
/// service-account.pub                  verifies them; may hold further keys, one PEM block each
/// NAME.crt NAME.key                    leaves, made when first asked for
/// ```
///
/// # Guarantees
/// A key is written before the certificate that needs it, each of them whole or not at all: after a SIGKILL
/// at any instant the next start finishes what was begun. Loading twice gives the same keys. An authority's
/// or the tokens' key that is damaged is an error, never silently made anew; a damaged leaf is.
pub struct Pki {
    directory: PathBuf,
    cluster: Authority,
    front_proxy: Authority,
    datastore: OnceLock<Authority>,
    making: Mutex<()>,
    service_account: ServiceAccountKeys,
}

/// Which leaf is wanted.
#[derive(Clone, Copy, Debug)]
pub struct LeafRequest<'a> {
    /// Whose certificate.
    pub component: Component,
    /// The node's name, where the profile speaks of it.
    pub node: &'a str,
    /// DNS names besides those of the profile.
    pub dns_names: &'a [String],
    /// Addresses besides those of the profile.
    pub addresses: &'a [IpAddr],
}

impl<'a> LeafRequest<'a> {
    /// A leaf with nothing but what its profile says.
    pub fn client(component: Component, node: &'a str) -> Self {
        Self { component, node, dns_names: &[], addresses: &[] }
    }
}

impl Pki {
    /// Loads the authorities and the service account keys; makes those that are missing.
    ///
    /// Leaves are loaded or made by [`Pki::leaf`].
    ///
    /// # Errors
    /// [`PkiError::Read`], [`PkiError::Write`]; [`PkiError::Damaged`] when a file holds something else.
    ///
    /// # Cost
    /// Six durable writes the first time, in three threads.
    pub fn load_or_create(directory: &Path, now: Timestamp) -> Result<Self, PkiError> {
        files::prepare(directory)?;
        // Each thread mostly waits for the disk: together they wait once.
        let (cluster, front_proxy, service_account) = std::thread::scope(|scope| {
            let cluster = scope.spawn(|| load_authority(directory, Component::ClusterCa, now));
            let front_proxy = scope.spawn(|| load_authority(directory, Component::FrontProxyCa, now));
            let service_account = load_service_account(directory);
            (cluster.join(), front_proxy.join(), service_account)
        });
        let panicked = |_| PkiError::Issue { name: "authority".into(), reason: "a thread panicked".into() };
        Ok(Self {
            directory: directory.to_owned(),
            cluster: cluster.map_err(panicked)??,
            front_proxy: front_proxy.map_err(panicked)??,
            datastore: OnceLock::new(),
            making: Mutex::default(),
            service_account: service_account?,
        })
    }

    /// The authority of servers and clients.
    pub fn cluster_ca(&self) -> &Authority {
        &self.cluster
    }

    /// The authority of front-proxy clients.
    pub fn front_proxy_ca(&self) -> &Authority {
        &self.front_proxy
    }

    /// The authority of the datastore's nodes. It is loaded, or made, at the first call: a node that is alone needs
    /// none.
    ///
    /// # Errors
    /// As for loading.
    pub fn datastore_ca(&self, now: Timestamp) -> Result<&Authority, PkiError> {
        let _one = self.making.lock();
        if let Some(authority) = self.datastore.get() {
            return Ok(authority);
        }
        let authority = load_authority(&self.directory, Component::DatastoreCa, now)?;
        Ok(self.datastore.get_or_init(|| authority))
    }

    /// The keys of service account tokens.
    pub fn service_account_keys(&self) -> &ServiceAccountKeys {
        &self.service_account
    }

    /// Another copy of the keys of service account tokens, for whoever must own one.
    ///
    /// # Errors
    /// As for loading.
    pub fn load_service_account_keys(&self) -> Result<ServiceAccountKeys, PkiError> {
        load_service_account(&self.directory)
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The certificate file of a component.
    pub fn certificate_path(&self, component: Component) -> PathBuf {
        path(&self.directory, component, "crt")
    }

    /// The key file of a component.
    pub fn key_path(&self, component: Component) -> PathBuf {
        path(&self.directory, component, "key")
    }

    /// Loads a leaf, or issues it: when there is none, it is damaged, a third of its life or less is left,
    /// it belongs to another authority or node, or it lacks a name or address that is asked for.
    ///
    /// Names and addresses that it has beyond those asked for are no reason to issue it anew.
    ///
    /// # Errors
    /// [`PkiError::Issue`] when a name cannot be in a certificate; [`PkiError::Read`], [`PkiError::Write`].
    pub fn leaf(&self, request: &LeafRequest<'_>, now: Timestamp) -> Result<Leaf, PkiError> {
        let name = request.component.file_stem();
        let profile = request.component.profile()?;
        let authority = match profile.authority {
            Signer::Cluster => &self.cluster,
            Signer::FrontProxy => &self.front_proxy,
            Signer::Datastore => self.datastore_ca(now)?,
            Signer::Itself => {
                let reason = "an authority is no leaf".to_owned();
                return Err(PkiError::Profile { name: name.into(), reason });
            }
        };
        let key_path = self.key_path(request.component);
        let certificate_path = self.certificate_path(request.component);
        let key = files::read(&key_path)?;
        let certificate = files::read(&certificate_path)?;
        if let (Some(certificate), Some(key)) = (&certificate, &key)
            && let Ok(leaf) = Leaf::from_pem(certificate, key)
            && will_do(&leaf, &profile, request, now)
            && crate::tls::is_signed_by(&leaf, authority)
        {
            return Ok(leaf);
        }
        // The key is kept while it is readable, so that key and certificate cannot fall out of step.
        let key = match key.filter(|key| rcgen::KeyPair::from_pem(key).is_ok()) {
            Some(key) => key,
            None => {
                let key = new_key(name)?;
                write_private(&key_path, key.as_bytes())?;
                key
            }
        };
        let order = Order {
            name,
            profile: &profile,
            node: request.node,
            key_pem: &key,
            dns_names: request.dns_names,
            addresses: request.addresses,
        };
        let mut leaf = authority.sign(&order, now)?;
        if profile.authority == Signer::Cluster
            && let Some(cross) = files::read(&self.directory.join(CROSS_SIGNED))?
        {
            leaf = Leaf::from_pem(&format!("{}{cross}", leaf.certificate_pem), &leaf.key_pem)?;
        }
        write_private(&certificate_path, leaf.certificate_pem.as_bytes())?;
        tracing::info!(certificate = name, not_after = %leaf.not_after(), addresses = ?leaf.addresses(), "issued");
        Ok(leaf)
    }
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pki").field("directory", &self.directory).finish_non_exhaustive()
    }
}

fn will_do(leaf: &Leaf, profile: &Profile, request: &LeafRequest<'_>, now: Timestamp) -> bool {
    let facts = leaf.facts();
    let has_name = |name: &str| facts.dns_names.iter().any(|other| other.eq_ignore_ascii_case(name));
    !facts.needs_renewal(now)
        && facts.common_name == profile.subject.common_name.replace("{node}", request.node)
        && profile.dns_names.iter().all(|name| has_name(&name.replace("{node}", request.node)))
        && request.dns_names.iter().all(|name| has_name(name))
        && profile
            .ip_addresses
            .iter()
            .chain(request.addresses)
            .all(|address| facts.addresses.contains(address))
}

fn path(directory: &Path, component: Component, extension: &str) -> PathBuf {
    directory.join(format!("{}.{extension}", component.file_stem()))
}

fn load_authority(directory: &Path, component: Component, now: Timestamp) -> Result<Authority, PkiError> {
    let name = component.file_stem();
    let (key_path, certificate_path) = (path(directory, component, "key"), path(directory, component, "crt"));
    let profile = component.profile()?;
    let certificate = files::read(&certificate_path)?;
    let key = match files::read(&key_path)? {
        Some(key) => key,
        // Clients trust this certificate: a new key beside it would lock everybody out without a word.
        None if certificate.is_some() => {
            let reason = format!("there is {name}.crt but its key is missing");
            return Err(PkiError::Damaged { path: key_path, reason });
        }
        None => {
            let key = new_key(name)?;
            write_private(&key_path, key.as_bytes())?;
            key
        }
    };
    let damaged = |path: &Path, reason: PkiError| PkiError::Damaged {
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let (authority, former) = match certificate {
        Some(certificate) => {
            let authority =
                Authority::from_pem(&certificate, &key).map_err(|error| damaged(&certificate_path, error))?;
            if !authority.needs_renewal(now) {
                return Ok(authority);
            }
            // The same key and name: what it signed stays valid, and whoever trusts the old one trusts the new.
            let renewed = Authority::create(name, &profile, &key, now)?;
            (renewed, authority.pem().to_owned())
        }
        None => {
            let made =
                Authority::create(name, &profile, &key, now).map_err(|error| damaged(&key_path, error))?;
            (made, String::new())
        }
    };
    let bundle = format!("{}{former}", authority.signing_certificate_pem());
    write_private(&certificate_path, bundle.as_bytes())?;
    Authority::from_pem(&bundle, authority.key_pem())
}

fn load_service_account(directory: &Path) -> Result<ServiceAccountKeys, PkiError> {
    let key_path = directory.join(SERVICE_ACCOUNT_KEY);
    let public_path = directory.join(SERVICE_ACCOUNT_PUBLIC);
    let key = match files::read(&key_path)? {
        Some(key) => key,
        None => {
            let key = new_key("service-account")?;
            write_private(&key_path, key.as_bytes())?;
            key
        }
    };
    let damaged =
        |path: PathBuf| move |error: PkiError| PkiError::Damaged { path, reason: error.to_string() };
    let public = match files::read(&public_path)? {
        Some(public) => public,
        None => {
            let public = public_pem(&key).map_err(damaged(key_path.clone()))?;
            write_private(&public_path, public.as_bytes())?;
            public
        }
    };
    ServiceAccountKeys::from_pem(&key, &public).map_err(damaged(key_path))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
