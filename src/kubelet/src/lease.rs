//! The node's heartbeat: a Lease in `kube-node-lease`, renewed whether or not anything else works.

use client::ObjectKey;
use client::rest::{self, Patch, Rest};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The namespace of nodes' leases.
const NAMESPACE: &str = "kube-node-lease";
/// How long the lease is good for: after that the node counts as lost (upstream's default).
const DURATION_SECONDS: i32 = 40;
/// A quarter of that, so that a lost renewal or two do no harm.
const PERIOD: Duration = Duration::from_secs(10);
/// Pause after a failed renewal.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the node's lease until cancelled. `node_uid` is the Node's, which owns the lease. `recovered` is called when a
/// renewal succeeds after some that did not: meanwhile the node may have been taken for dead.
pub async fn keep(
    rest: Rest,
    node_name: String,
    node_uid: String,
    recovered: impl Fn(),
    cancel: CancellationToken,
) {
    let key = ObjectKey::new(NAMESPACE, node_name.clone());
    let (mut exists, mut failing) = (false, false);
    loop {
        let renewed =
            if exists { renew(&rest, &key).await } else { create(&rest, &key, &node_name, &node_uid).await };
        let pause = match renewed {
            Ok(()) => {
                exists = true;
                if std::mem::take(&mut failing) {
                    recovered();
                }
                PERIOD
            }
            Err(error) => {
                // It may have been deleted, or it may be there from the last run.
                exists = if rest::is_not_found(&error) {
                    false
                } else {
                    exists || rest::is_already_exists(&error)
                };
                if !rest::is_already_exists(&error) {
                    tracing::warn!(%error, "renewing the node's lease failed");
                    failing = true;
                    RETRY
                } else {
                    Duration::ZERO
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn renew(rest: &Rest, key: &ObjectKey) -> Result<(), kube::Error> {
    let now = MicroTime(Timestamp::now());
    let patch = json!({"spec": {"renewTime": now, "holderIdentity": key.name, "leaseDurationSeconds": DURATION_SECONDS}});
    rest.patch::<Lease>(key, "", &Patch::Merge(patch)).await.map(drop)
}

async fn create(rest: &Rest, key: &ObjectKey, node_name: &str, node_uid: &str) -> Result<(), kube::Error> {
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: node_name.to_owned(),
                uid: node_uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(node_name.to_owned()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    };
    rest.create(&lease).await.map(drop)
}
