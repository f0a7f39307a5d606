//! Leases by which the API servers of a cluster know of each other (KEP-1965): one per server, named after a digest
//! of its machine's name, in `kube-system`.

use crate::ApiServer;
use crate::registry::{Registry, decode, own};
use apimachinery::gvk::{GroupResource, Gvr};
use apimachinery::status::Result;
use apimachinery::{meta, time};
use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::time::Duration;

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

/// Who this server is.
pub(crate) struct Identity {
    lease: String,
    holder: String,
    hostname: String,
}

impl Identity {
    /// The identity of a server that starts now on a machine.
    pub(crate) fn new(hostname: &str) -> Self {
        let lease = lease_name(hostname);
        // Another start is another holder.
        let holder = format!("{lease}_{}", uuid::Uuid::new_v4());
        Self { lease, holder, hostname: hostname.to_owned() }
    }

    /// Says that the server is there.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn renew(&self, server: &ApiServer, now: Timestamp) -> Result<()> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": self.lease, "namespace": NAMESPACE,
                "labels": {LABEL: LABEL_VALUE, "kubernetes.io/hostname": self.hostname},
            },
            "spec": {
                "holderIdentity": self.holder, "leaseDurationSeconds": LIFE_SECONDS,
                "renewTime": time::rfc3339_micro(now),
            },
        });
        own::put(server, &Gvr::new(GROUP, "v1", "leases"), lease, &["spec"]).await
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
