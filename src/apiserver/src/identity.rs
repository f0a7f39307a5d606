//! Leases by which the API servers of a cluster know of each other (KEP-1965): one per server, named after a digest
//! of its machine's name, in `kube-system`.

use crate::ApiServer;
use crate::registry::{Registry, decode, own};
use apimachinery::gvk::{GroupResource, Gvr};
use apimachinery::status::Result;
use apimachinery::{meta, time};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How often a server says that it is there (upstream's interval).
pub(crate) const RENEW: Duration = Duration::from_secs(10);
/// How often the leases of servers that have gone are looked for.
pub(crate) const COLLECT: Duration = Duration::from_secs(3600);
/// After this time without renewal a server has gone.
const LIFE_SECONDS: i64 = 3600;
const GROUP: &str = "coordination.k8s.io";
const NAMESPACE: &str = "kube-system";
const LABEL: &str = "apiserver.kubernetes.io/identity";
const LABEL_VALUE: &str = "kube-apiserver";
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Where clients reach the server, `ADDRESS:PORT`; none when they cannot.
const ADDRESS: &str = "knarr.io/advertise-address";
/// A server that has not renewed its lease for this time is taken off the list that clients get (upstream's).
const LISTED: Duration = Duration::from_secs(15);
/// A lease that is seen for the first time, and is older than this by our clock, is that of a server that has gone.
const STALE_SECONDS: i64 = 120;

/// Who this server is.
pub(crate) struct Identity {
    lease: String,
    holder: String,
    hostname: String,
    address: Option<SocketAddr>,
    /// Leases as they were last seen to change, and when.
    seen: Mutex<BTreeMap<String, (String, Instant)>>,
}

impl Identity {
    /// The identity of a server that starts now on a machine. `address` is where clients reach it.
    pub(crate) fn new(hostname: &str, address: Option<SocketAddr>) -> Self {
        let lease = lease_name(hostname);
        // Another start is another holder.
        let holder = format!("{lease}_{}", uuid::Uuid::new_v4());
        Self { lease, holder, hostname: hostname.to_owned(), address, seen: Mutex::default() }
    }

    /// Says that the server is there.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn renew(&self, server: &ApiServer, now: Timestamp) -> Result<()> {
        let annotations =
            self.address.map_or_else(|| json!({}), |address| json!({(ADDRESS): address.to_string()}));
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "annotations": annotations,
                "name": self.lease, "namespace": NAMESPACE,
                "labels": {LABEL: LABEL_VALUE, (HOSTNAME): self.hostname},
            },
            "spec": {
                "holderIdentity": self.holder, "leaseDurationSeconds": LIFE_SECONDS,
                "renewTime": time::rfc3339_micro(now),
            },
        });
        own::put(server, &Gvr::new(GROUP, "v1", "leases"), lease, &["metadata.annotations", "spec"]).await
    }

    /// The servers that clients can reach, and the names of their machines: those that have renewed their leases of
    /// late, by this server's clock, and itself.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn servers(
        &self,
        registry: &Registry,
        now: Timestamp,
    ) -> Result<BTreeMap<SocketAddr, String>> {
        let listed = registry.list(&GroupResource::new(GROUP, "leases"), NAMESPACE).await?;
        let leases = listed.items.iter().map(|object| decode(object)).collect::<Result<Vec<_>>>()?;
        let mut servers = self.living(&leases, now, Instant::now());
        servers.extend(self.address.map(|address| (address, self.hostname.clone())));
        Ok(servers)
    }

    fn living(&self, leases: &[Value], now: Timestamp, at: Instant) -> BTreeMap<SocketAddr, String> {
        let mut seen = self.seen.lock();
        let mut servers = BTreeMap::new();
        for lease in leases.iter().filter(|lease| meta::label(lease, LABEL) == Some(LABEL_VALUE)) {
            let text = |path: &str| lease.pointer(path).and_then(Value::as_str).unwrap_or_default();
            let annotations = lease.pointer("/metadata/annotations");
            let address = annotations.and_then(|all| all.get(ADDRESS)?.as_str()?.parse().ok());
            let (Some(address), renewed) = (address, text("/spec/renewTime")) else { continue };
            let changed = match seen.get(meta::name(lease)) {
                Some((known, changed)) if known == renewed => Some(*changed),
                Some(_) => Some(at),
                None => {
                    let age = time::parse(renewed).map(|renewed| now.as_second() - renewed.as_second());
                    age.is_some_and(|age| age < STALE_SECONDS).then_some(at)
                }
            };
            let Some(changed) = changed else { continue };
            seen.insert(meta::name(lease).to_owned(), (renewed.to_owned(), changed));
            if at.duration_since(changed) < LISTED {
                servers.insert(address, meta::label(lease, HOSTNAME).unwrap_or_default().to_owned());
            }
        }
        servers
    }

    /// Says that the server goes.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn withdraw(&self, registry: &Registry) -> Result<()> {
        let resource = GroupResource::new(GROUP, "leases");
        if let Some(object) = registry.get(&resource, NAMESPACE, &self.lease).await? {
            // Renewed in the meantime, by a server that follows this one: fine.
            let _ = registry.storage().delete(&object.key, object.revision).await;
        }
        Ok(())
    }

    /// The server's own address.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

/// Removes the leases of servers that have gone.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn collect(registry: &Registry, now: Timestamp) -> Result<()> {
    for object in registry.list(&GroupResource::new(GROUP, "leases"), NAMESPACE).await?.items {
        let lease = decode(&object)?;
        if has_expired(&lease, now) {
            // Renewed in the meantime, or gone already: both are fine.
            let _ = registry.storage().delete(&object.key, object.revision).await;
        }
    }
    Ok(())
}

fn has_expired(lease: &Value, now: Timestamp) -> bool {
    if meta::label(lease, LABEL) != Some(LABEL_VALUE) {
        return false;
    }
    let spec = |field: &str| lease.pointer(&format!("/spec/{field}"));
    let (Some(renewed), Some(seconds)) = (
        spec("renewTime").and_then(Value::as_str).and_then(time::parse),
        spec("leaseDurationSeconds").and_then(Value::as_i64),
    ) else {
        return true;
    };
    renewed.checked_add(SignedDuration::from_secs(seconds)).is_ok_and(|end| end < now)
}

/// `apiserver-` and half of the name's SHA-256 digest in base 32 (RFC 4648), in small letters, without padding.
fn lease_name(hostname: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    const BYTES: usize = 16;
    const BITS: u32 = 5;
    let digest = digest(&SHA256, hostname.as_bytes());
    let mut name = String::from("apiserver-");
    let (mut bits, mut count) = (0_u32, 0);
    for byte in digest.as_ref().iter().take(BYTES) {
        bits = (bits << 8) | u32::from(*byte);
        count += 8;
        while count >= BITS {
            count -= BITS;
            push(&mut name, ALPHABET, bits >> count);
        }
    }
    if count > 0 {
        push(&mut name, ALPHABET, bits << (BITS - count));
    }
    name
}

fn push(name: &mut String, alphabet: &[u8; 32], bits: u32) {
    let at = usize::try_from(bits & 31).unwrap_or(0);
    name.push(alphabet.get(at).copied().map_or('a', char::from));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_named_after_the_digest_of_the_hostname() {
        // printf n1 | sha256sum | cut -c1-32 | xxd -r -p | base32 | tr -d = | tr A-Z a-z
        assert_eq!(lease_name("n1"), "apiserver-m5vyxocm44th3vja33feqeoi6e");
    }

    #[tokio::test(start_paused = true)]
    async fn servers_are_listed_while_their_leases_change() {
        let now = time::parse("2026-01-01T02:00:00Z").unwrap();
        let identity = Identity::new("n1", None);
        let lease = |name: &str, renewed: &str| {
            json!({"metadata": {"name": name, "labels": {LABEL: LABEL_VALUE}, "annotations": {ADDRESS: format!("10.0.0.{name}:6443")}},
                "spec": {"renewTime": renewed}})
        };
        // One whose clock is late, one that went long ago, and one that cannot be reached.
        let mut silent = lease("3", "2026-01-01T02:00:00Z");
        silent["metadata"]["annotations"] = json!({});
        let first = [lease("1", "2026-01-01T01:59:00Z"), lease("2", "2026-01-01T01:00:00Z"), silent];
        let listed = |leases: &[Value]| -> Vec<String> {
            identity.living(leases, now, Instant::now()).keys().map(ToString::to_string).collect()
        };
        assert_eq!(listed(&first), ["10.0.0.1:6443"]);
        tokio::time::advance(Duration::from_secs(10)).await;
        let second = [lease("1", "2026-01-01T01:59:10Z"), lease("2", "2026-01-01T02:00:10Z")];
        assert_eq!(listed(&second), ["10.0.0.1:6443", "10.0.0.2:6443"]);
        tokio::time::advance(Duration::from_secs(10)).await;
        let third = [lease("1", "2026-01-01T01:59:20Z"), lease("2", "2026-01-01T02:00:10Z")];
        assert_eq!(listed(&third), ["10.0.0.1:6443", "10.0.0.2:6443"]);
        tokio::time::advance(Duration::from_secs(10)).await;
        let fourth = [lease("1", "2026-01-01T01:59:30Z"), lease("2", "2026-01-01T02:00:10Z")];
        assert_eq!(listed(&fourth), ["10.0.0.1:6443"]);
    }

    #[test]
    fn only_servers_that_have_gone_expire() {
        let now = time::parse("2026-01-01T02:00:00Z").unwrap();
        let lease = |label: &str, renewed: &str| {
            json!({"metadata": {"labels": {LABEL: label}},
                "spec": {"leaseDurationSeconds": 3600, "renewTime": renewed}})
        };
        assert!(has_expired(&lease(LABEL_VALUE, "2026-01-01T00:59:59.000000Z"), now));
        assert!(!has_expired(&lease(LABEL_VALUE, "2026-01-01T01:00:01.000000Z"), now));
        assert!(!has_expired(&lease("other", "2020-01-01T00:00:00.000000Z"), now));
        assert!(has_expired(&json!({"metadata": {"labels": {LABEL: LABEL_VALUE}}}), now));
    }
}
