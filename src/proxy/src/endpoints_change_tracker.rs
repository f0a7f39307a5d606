//! EndpointSlices by service, and which services' endpoints changed.

use crate::endpoints::Endpoint;
use crate::service::{Protocol, ServicePortName};
use apimachinery::family::Family;
use client::{Event, ObjectKey};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

const LABEL_SERVICE: &str = "kubernetes.io/service-name";

/// One slice, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slice {
    /// Name, protocol, number.
    ports: Vec<(String, Protocol, u16)>,
    addresses: Vec<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    ip: IpAddr,
    ready: bool,
    serving: bool,
    terminating: bool,
    local: bool,
}

/// The endpoints of all services.
#[derive(Debug)]
pub(crate) struct EndpointsChangeTracker {
    node_name: String,
    services: BTreeMap<ObjectKey, BTreeMap<String, Slice>>,
}

impl EndpointsChangeTracker {
    /// Knows no endpoints yet; those on the named node are local.
    pub(crate) fn new(node_name: &str) -> Self {
        Self { node_name: node_name.to_owned(), services: BTreeMap::new() }
    }

    /// Takes an event in. Returns the names of the services whose endpoints are different now (two when a
    /// slice changes hands).
    pub(crate) fn apply(&mut self, event: &Event<EndpointSlice>) -> Vec<ObjectKey> {
        let mut changed = Vec::new();
        let object = event.object();
        let name = object.metadata.name.clone().unwrap_or_default();
        let owner = service_of(object);
        if let Event::Applied(_, Some(old)) = event
            && let Some(before) = service_of(old)
            && owner.as_ref() != Some(&before)
            && self.remove(&before, &name)
        {
            changed.push(before);
        }
        let Some(owner) = owner else { return changed };
        let different = match event {
            Event::Deleted(_) => self.remove(&owner, &name),
            Event::Applied(slice, _) => match self.parse(slice) {
                Some(slice) => self.insert(&owner, name, slice),
                None => self.remove(&owner, &name),
            },
        };
        if different {
            changed.push(owner);
        }
        changed
    }

    /// The endpoints of a port in one address family, each once, in order.
    pub(crate) fn endpoints(
        &self,
        service: &ObjectKey,
        port: &ServicePortName,
        family: Family,
    ) -> Vec<Endpoint> {
        let mut found: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
        for slice in self.services.get(service).into_iter().flat_map(BTreeMap::values) {
            let ports = slice
                .ports
                .iter()
                .filter(|(name, protocol, _)| *name == port.port && *protocol == port.protocol);
            for (_, _, number) in ports {
                for address in slice.addresses.iter().filter(|address| family.has(&address.ip)) {
                    let endpoint = Endpoint {
                        address: SocketAddr::new(address.ip, *number),
                        ready: address.ready,
                        serving: address.serving,
                        terminating: address.terminating,
                        local: address.local,
                    };
                    // While an endpoint moves between slices it is in both: the ready one counts.
                    let known = found.entry(endpoint.address).or_insert_with(|| endpoint.clone());
                    if endpoint.ready && !known.ready {
                        *known = endpoint;
                    }
                }
            }
        }
        found.into_values().collect()
    }

    fn insert(&mut self, owner: &ObjectKey, name: String, slice: Slice) -> bool {
        let slices = self.services.entry(owner.clone()).or_default();
        if slices.get(&name) == Some(&slice) {
            return false;
        }
        slices.insert(name, slice);
        true
    }

    fn remove(&mut self, owner: &ObjectKey, name: &str) -> bool {
        let Some(slices) = self.services.get_mut(owner) else { return false };
        let removed = slices.remove(name).is_some();
        if slices.is_empty() {
            self.services.remove(owner);
        }
        removed
    }

    fn parse(&self, slice: &EndpointSlice) -> Option<Slice> {
        // Not FQDN: rules know addresses only.
        Family::parse(&slice.address_type)?;
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let number = u16::try_from(port.port?).ok()?;
            Some((port.name.clone().unwrap_or_default(), Protocol::parse(port.protocol.as_deref())?, number))
        });
        let addresses = slice.endpoints.iter().flatten().filter_map(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            // "nil should be interpreted as true" for ready, as ready for serving, as false for terminating.
            let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
            Some(Address {
                // More than one address has no meaning (EndpointSlice's documentation).
                ip: endpoint.addresses.first()?.parse().ok()?,
                ready,
                serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
                terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
                local: endpoint.node_name.as_deref() == Some(&self.node_name),
            })
        });
        Some(Slice { ports: ports.collect(), addresses: addresses.collect() })
    }
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(LABEL_SERVICE)?;
    Some(ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn slice(name: &str, service: &str, endpoints: Value) -> Arc<EndpointSlice> {
        let value = json!({"metadata": {"name": name, "namespace": "n", "labels": {LABEL_SERVICE: service}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}]});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn port() -> ServicePortName {
        let (namespace, service, port) = ("n".to_owned(), "a".to_owned(), "http".to_owned());
        ServicePortName { namespace, service, protocol: Protocol::Tcp, port }
    }

    #[test]
    fn endpoints_of_all_slices_come_together_once() {
        let mut tracker = EndpointsChangeTracker::new("node1");
        let key = ObjectKey::new("n", "a");
        let one = slice(
            "a-1",
            "a",
            json!([
            {"addresses": ["10.1.0.1"], "nodeName": "node1"},
            {"addresses": ["10.1.0.2"], "conditions": {"ready": false, "terminating": true, "serving": true}}]),
        );
        assert_eq!(tracker.apply(&Event::Applied(one.clone(), None)), std::slice::from_ref(&key));
        assert!(tracker.apply(&Event::Applied(one.clone(), None)).is_empty());
        let two = slice("a-2", "a", json!([{"addresses": ["10.1.0.2"]}, {"addresses": ["not an address"]}]));
        assert_eq!(tracker.apply(&Event::Applied(two, None)), std::slice::from_ref(&key));
        let found = tracker.endpoints(&key, &port(), Family::V4);
        assert_eq!(found.len(), 2);
        assert!(found[0].local && found[0].ready && !found[1].local);
        assert!(found[1].ready, "ready in one of two slices");
        assert!(tracker.endpoints(&key, &port(), Family::V6).is_empty());
        assert!(
            tracker.endpoints(&key, &ServicePortName { port: "x".into(), ..port() }, Family::V4).is_empty()
        );
        assert_eq!(tracker.apply(&Event::Deleted(one)), std::slice::from_ref(&key));
        assert_eq!(tracker.endpoints(&key, &port(), Family::V4).len(), 1);
    }

    #[test]
    fn a_slice_that_changes_hands_changes_both_services() {
        let mut tracker = EndpointsChangeTracker::new("node1");
        let endpoints = json!([{"addresses": ["10.1.0.1"]}]);
        let (old, new) = (slice("s", "a", endpoints.clone()), slice("s", "b", endpoints));
        tracker.apply(&Event::Applied(old.clone(), None));
        let changed = tracker.apply(&Event::Applied(new, Some(old)));
        assert_eq!(changed, [ObjectKey::new("n", "a"), ObjectKey::new("n", "b")]);
    }
}
