//! ServiceCIDRs: ready once they are taken up, and not gone before their addresses are (KEP-1880).
//!
//! Upstream counterpart: `service-cidr-controller`.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{Event, Informer, ObjectKey, Rest, rest::Patch};
use http::{Request, header};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::framework::{Action, Context, Controller, ReconcileError, Watches};

const NAME: &str = "service-cidr-controller";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// Addresses that the API server gave out, not those that people reserved.
const OURS: &str = "ipaddress.kubernetes.io/managed-by=ipallocator.k8s.io";
/// After this time no write that saw the network still ready is under way (upstream's).
const GRACE: SignedDuration = SignedDuration::from_secs(10);
/// How often is looked whether the last address has gone.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
const TERMINATING: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

/// The controller; keys are ServiceCIDRs.
pub struct ServiceCidrs {
    context: Context,
    rest: Rest,
    cidrs: Informer<ServiceCIDR>,
}

impl ServiceCidrs {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { rest: context.rest.clone(), cidrs: context.informers.get(), context: context.clone() }
    }

    async fn adopt(&self, key: &ObjectKey, cidr: &ServiceCIDR) -> Result<(), ReconcileError> {
        if !is_held(cidr) {
            let patch = self.finalizers(cidr, true);
            self.rest.patch::<ServiceCIDR>(key, "", &patch).await?;
        }
        self.tell(key, cidr, "True", "", "Kubernetes Service CIDR is ready").await
    }

    fn finalizers(&self, cidr: &ServiceCIDR, held: bool) -> Patch {
        let mut finalizers = cidr.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if held {
            finalizers.push(FINALIZER.to_owned());
        }
        Patch::Merge(json!({"metadata": {
            "finalizers": finalizers, "resourceVersion": cidr.metadata.resource_version,
        }}))
    }

    async fn tell(
        &self,
        key: &ObjectKey,
        cidr: &ServiceCIDR,
        status: &str,
        reason: &str,
        message: &str,
    ) -> Result<(), ReconcileError> {
        if ready(cidr).is_some_and(|known| known == (status, reason, message)) {
            return Ok(());
        }
        let condition = json!({
            "type": "Ready", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": apimachinery::time::rfc3339(self.context.now()),
        });
        // Upstream applies it as well: the field is the controller's alone.
        let config = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": key.name},
            "status": {"conditions": [condition]},
        });
        let patch = Patch::Apply { config, manager: NAME.to_owned(), force: true };
        self.rest.patch::<ServiceCIDR>(key, "status", &patch).await?;
        Ok(())
    }

    /// The addresses that were given out.
    async fn addresses(&self) -> Result<Vec<IpAddr>, ReconcileError> {
        let selector = OURS.replace('=', "%3D");
        let path = format!("{}?labelSelector={selector}", client::rest::collection::<IPAddress>(""));
        let request = Request::get(path)
            .header(header::ACCEPT, client::reflector::ACCEPT_METADATA_LIST)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        let text = self.rest.client().request_text(request).await?;
        let list: List = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        let names = list.items.into_iter().flatten().filter_map(|item| {
            item.pointer("/metadata/name").and_then(Value::as_str).and_then(|name| name.parse().ok())
        });
        Ok(names.collect())
    }
}

#[derive(Deserialize)]
struct List {
    items: Option<Vec<Value>>,
}

fn is_held(cidr: &ServiceCIDR) -> bool {
    cidr.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

fn ready(cidr: &ServiceCIDR) -> Option<(&str, &str, &str)> {
    let conditions = cidr.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some((&ready.status, &ready.reason, &ready.message))
}

fn networks(cidr: &ServiceCIDR) -> Vec<IpNet> {
    let cidrs = cidr.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default();
    cidrs.iter().filter_map(|text| text.parse().ok()).collect()
}

fn is_terminating(cidr: &ServiceCIDR) -> bool {
    cidr.metadata.deletion_timestamp.is_some()
}

/// The networks that stay when this ServiceCIDR goes.
fn others(all: &[Arc<ServiceCIDR>], cidr: &ServiceCIDR) -> Vec<IpNet> {
    let stays =
        |other: &&Arc<ServiceCIDR>| other.metadata.name != cidr.metadata.name && !is_terminating(other);
    all.iter().filter(stays).flat_map(|other| networks(other)).collect()
}

/// Whether an address is in none but these networks.
fn depends(address: IpAddr, networks: &[IpNet], others: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
        && !others.iter().any(|network| network.contains(&address))
}

#[async_trait]
impl Controller for ServiceCidrs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        let cidrs = self.cidrs.clone();
        watches.mapped(&self.cidrs, move |event, keys| {
            if let Event::Applied(cidr, _) = event {
                keys.add(ObjectKey::of(&**cidr));
            }
            // One that comes may free another that goes.
            for other in cidrs.list().iter().filter(|other| is_terminating(other)) {
                keys.add(ObjectKey::of(&**other));
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(cidr) = self.cidrs.get(key) else { return Ok(Action::Done) };
        let Some(deleted) = cidr.metadata.deletion_timestamp.as_ref() else {
            self.adopt(key, &cidr).await?;
            return Ok(Action::Done);
        };
        if !is_held(&cidr) {
            return Ok(Action::Done);
        }
        let (own, others) = (networks(&cidr), others(&self.cidrs.list(), &cidr));
        let covered = |network: &IpNet| others.iter().any(|other| other.contains(network));
        if !own.iter().all(covered) {
            if self.addresses().await?.into_iter().any(|address| depends(address, &own, &others)) {
                self.tell(key, &cidr, "False", "Terminating", TERMINATING).await?;
                return Ok(Action::RequeueAfter(LOOK_AGAIN));
            }
            if let Some(left) = left(deleted.0, self.context.now()) {
                return Ok(Action::RequeueAfter(left));
            }
        }
        self.rest.patch::<ServiceCIDR>(key, "", &self.finalizers(&cidr, false)).await?;
        Ok(Action::Done)
    }
}

/// What is left of the grace period.
fn left(deleted: Timestamp, now: Timestamp) -> Option<Duration> {
    let end = deleted.checked_add(GRACE).ok()?;
    Duration::try_from(end.duration_since(now)).ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(name: &str, networks: &[&str], terminating: bool) -> Arc<ServiceCIDR> {
        let mut metadata = json!({"name": name});
        if terminating {
            metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": {"cidrs": networks}})).unwrap())
    }

    #[test]
    fn an_address_holds_the_only_network_that_it_is_in() {
        let going = cidr("going", &["10.0.0.0/24"], true);
        let depends_on = |all: &[Arc<ServiceCIDR>]| {
            depends("10.0.0.9".parse().unwrap(), &networks(&going), &others(all, &going))
        };
        assert!(depends_on(&[going.clone(), cidr("elsewhere", &["10.1.0.0/24"], false)]));
        assert!(!depends_on(&[going.clone(), cidr("wider", &["10.0.0.0/16"], false)]));
        assert!(depends_on(&[going.clone(), cidr("wider", &["10.0.0.0/16"], true)]));
        assert!(!depends("10.2.0.9".parse().unwrap(), &networks(&going), &[]));
    }

    #[test]
    fn a_network_stays_for_its_grace_period() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(left(at(100), at(104)), Some(Duration::from_secs(6)));
        assert_eq!(left(at(100), at(110)), None);
    }
}
