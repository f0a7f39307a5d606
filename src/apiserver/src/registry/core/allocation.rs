//! Records of taken addresses and node ports, one object each.

use super::service;
use crate::cached::Memo;
use crate::registry::store::{decode, encode};
use crate::registry::{Registry, key, meta_rules, prefix, status_of};
use api::value;
use apimachinery::family::Family;
use apimachinery::gvk::GroupResource;
use apimachinery::status::{Result, Status};
use apimachinery::{meta, time};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use storage::{ListOptions, Storage, StorageError};

/// A record younger than this may belong to a write that is still under way.
const REPAIR_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// Addresses tried before a full range is believed in; more than that are never needed unless many writers
/// race for the last ones.
const CANDIDATES: usize = 64;
/// What is looked at of a range too large to be listed (IPv6).
const WINDOW: u128 = 65_536;

/// Something that only one Service can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Taken {
    /// A cluster IP.
    Address(IpAddr),
    /// A node port.
    NodePort(u16),
}

impl Taken {
    fn resource(self) -> GroupResource {
        match self {
            Self::Address(_) => GroupResource::new("networking.k8s.io", "ipaddresses"),
            // Not served: upstream keeps a bitmap in its place, which one write after another has to change.
            Self::NodePort(_) => GroupResource::new("", "servicenodeports"),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Address(ip) => ip.to_string(),
            Self::NodePort(port) => port.to_string(),
        }
    }

    fn key(self) -> String {
        key(&self.resource(), "", &self.name())
    }

    fn record(self, service: &Value, now: Timestamp) -> Value {
        let mut record = json!({
            "metadata": {"name": self.name()},
            "spec": {"parentRef": {
                "group": "",
                "resource": "services",
                "namespace": meta::namespace(service),
                "name": meta::name(service),
            }},
        });
        match self {
            Self::Address(ip) => {
                meta::set_label(&mut record, "ipaddress.kubernetes.io/ip-family", Family::of(ip).name());
                meta::set_label(&mut record, "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
                api::value::set(&mut record, "apiVersion", "networking.k8s.io/v1");
                api::value::set(&mut record, "kind", "IPAddress");
            }
            Self::NodePort(_) => {
                api::value::set(&mut record, "apiVersion", "v1");
                api::value::set(&mut record, "kind", "RangeAllocation");
            }
        }
        meta_rules::fill_created(&mut record, now);
        record
    }
}

/// Takes and frees.
#[derive(Clone)]
pub(super) struct Allocator {
    storage: Arc<dyn Storage>,
    /// What the server was started with.
    networks: Arc<[IpNet]>,
    /// ServiceCIDRs add to that (KEP-1880).
    cidrs: Arc<Memo<Value>>,
    node_ports: RangeInclusive<u16>,
}

impl Allocator {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        networks: Vec<IpNet>,
        node_ports: RangeInclusive<u16>,
    ) -> Self {
        let cidrs = Memo::new(Registry::new(Arc::clone(&storage)), "networking.k8s.io", "servicecidrs");
        Self { storage, networks: networks.into(), cidrs: Arc::new(cidrs), node_ports }
    }

    /// The networks that the server was started with; they decide about the families of Services.
    pub(super) fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// Every network that addresses come from now.
    async fn all_networks(&self) -> Result<Vec<IpNet>> {
        let mut all = self.networks.to_vec();
        for cidr in self.cidrs.list("").await?.iter().filter(|cidr| is_ready(cidr)) {
            let networks =
                value::texts(value::field(cidr, "spec"), "cidrs").filter_map(|text| text.parse().ok());
            for network in networks {
                if !all.contains(&network) {
                    all.push(network);
                }
            }
        }
        Ok(all)
    }

    /// Takes something for a Service.
    ///
    /// # Errors
    /// 400 when it is out of range or taken; above 500 when the store fails.
    pub(super) async fn take(&self, what: &Taken, service: &Value) -> Result<()> {
        self.check_range(what).await?;
        let record = encode(&what.record(service, Timestamp::now()))?;
        match self.storage.create(&what.key(), record).await {
            Ok(_) => Ok(()),
            Err(StorageError::KeyExists { .. }) => Err(taken(what)),
            Err(e) => Err(status_of(e, &what.resource(), &what.name())),
        }
    }

    /// Whether something could be taken.
    ///
    /// # Errors
    /// As [`Allocator::take`].
    pub(super) async fn check(&self, what: &Taken) -> Result<()> {
        self.check_range(what).await?;
        match self.storage.get(&what.key()).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(taken(what)),
            Err(e) => Err(status_of(e, &what.resource(), &what.name())),
        }
    }

    /// Gives things back. A record that stays because the store fails is found by [`Allocator::repair`].
    pub(super) async fn free(&self, what: &[Taken]) {
        for what in what {
            if let Err(e) = self.storage.delete(&what.key(), 0).await
                && !matches!(e, StorageError::NotFound { .. })
            {
                tracing::warn!(error = %e, what = what.name(), "cannot free what a Service held");
            }
        }
    }

    async fn check_range(&self, what: &Taken) -> Result<()> {
        match what {
            Taken::Address(ip) => match self.all_networks().await?.iter().find(|n| n.contains(ip)) {
                None => Err(Status::bad_request("the provided network does not match the current range")),
                Some(network) if usable(network).contains(&number(*ip)) => Ok(()),
                Some(network) => Err(Status::bad_request(format!(
                    "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {network}"
                ))),
            },
            Taken::NodePort(port) if self.node_ports.contains(port) => Ok(()),
            Taken::NodePort(_) => Err(Status::bad_request(format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                self.node_ports.start(),
                self.node_ports.end()
            ))),
        }
    }

    /// Addresses that nobody had a moment ago, in random order; those that people choose by hand last
    /// (KEP-3070).
    pub(super) async fn free_addresses(&self, family: Family) -> Result<Vec<IpAddr>> {
        let used = self.used(&Taken::Address(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).resource()).await?;
        let mut all = Vec::new();
        for network in self.all_networks().await?.iter().filter(|n| Family::of(n.addr()) == family) {
            // The next one is for when this one is full.
            if all.len() < CANDIDATES {
                all.extend(free_in(network, family, &used));
            }
        }
        Ok(all)
    }

    /// Node ports that nobody had a moment ago, in random order; those that people choose by hand last.
    pub(super) async fn free_ports(&self) -> Result<Vec<u16>> {
        let used = self.used(&Taken::NodePort(0).resource()).await?;
        let (first, last) = (*self.node_ports.start(), *self.node_ports.end());
        let by_hand = ((last - first) / 32).clamp(16, 128).min(last - first);
        let free = |range: RangeInclusive<u16>| {
            range.filter(|port| !used.contains(&port.to_string())).collect::<Vec<_>>()
        };
        let mut candidates = free(first.saturating_add(by_hand)..=last);
        shuffle(&mut candidates);
        let mut last_resort = free(first..=first.saturating_add(by_hand).saturating_sub(1));
        shuffle(&mut last_resort);
        candidates.extend(last_resort);
        Ok(candidates)
    }

    async fn used(&self, resource: &GroupResource) -> Result<HashSet<String>> {
        let list = self.storage.list(&prefix(resource, ""), ListOptions::default()).await;
        let list = list.map_err(|e| status_of(e, resource, ""))?;
        Ok(list.items.iter().filter_map(|o| o.key.rsplit('/').next().map(str::to_owned)).collect())
    }

    /// Makes the records agree with the Services that there are.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn repair(&self, now: Timestamp) -> Result<()> {
        let services = GroupResource::new("", "services");
        let list = self.storage.list(&prefix(&services, ""), ListOptions::default()).await;
        let list = list.map_err(|e| status_of(e, &services, ""))?;
        let mut held = HashSet::new();
        for object in &list.items {
            let service = decode(object)?;
            for what in service::held(&service) {
                held.insert(what);
                // A Service that has what nobody wrote down (restored from elsewhere).
                if let Err(e) = self.take(&what, &service).await
                    && e.code >= 500
                {
                    return Err(e);
                }
            }
        }
        let records = [Taken::Address(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), Taken::NodePort(0)];
        for resource in records.map(Taken::resource) {
            let list = self.storage.list(&prefix(&resource, ""), ListOptions::default()).await;
            for record in list.map_err(|e| status_of(e, &resource, ""))?.items {
                let name = record.key.rsplit('/').next().unwrap_or("");
                let what = match resource.group.as_str() {
                    "" => name.parse().ok().map(Taken::NodePort),
                    _ => name.parse().ok().map(Taken::Address),
                };
                let tree = decode(&record)?;
                let young = time::parse(meta::string(&tree, "creationTimestamp"))
                    .is_some_and(|created| now.duration_since(created) < REPAIR_GRACE);
                let ours =
                    tree.pointer("/spec/parentRef/resource").and_then(Value::as_str) == Some("services");
                if what.is_some_and(|what| !held.contains(&what)) && ours && !young {
                    let _ = self.storage.delete(&record.key, record.revision).await;
                }
            }
        }
        Ok(())
    }
}

/// Addresses of a network that are not used, in random order; those that people choose by hand last.
fn free_in(network: &IpNet, family: Family, used: &HashSet<String>) -> Vec<IpAddr> {
    let usable = usable(network);
    let (first, last) = (*usable.start(), *usable.end());
    let size = last.saturating_sub(first).saturating_add(1);
    // Of a /24 the first 16, of larger ranges at most 256 addresses.
    let by_hand = (size / 16).clamp(16, 256).min(size);
    let all = first..=last.min(first.saturating_add(WINDOW));
    let free = |range: RangeInclusive<u128>| {
        range.map(|n| address(n, family)).filter(|ip| !used.contains(&ip.to_string())).collect::<Vec<_>>()
    };
    let mut candidates = free((first + by_hand)..=*all.end());
    shuffle(&mut candidates);
    let mut last_resort = free(first..=(first + by_hand).saturating_sub(1));
    shuffle(&mut last_resort);
    candidates.extend(last_resort);
    candidates
}

/// Whether addresses of a ServiceCIDR may be given out: its controller has taken it up, and it is not going.
fn is_ready(cidr: &Value) -> bool {
    let conditions = value::list_at(cidr, &["status", "conditions"]);
    let ready = |c: &Value| value::text(c, "type") == "Ready" && value::text(c, "status") == "True";
    !meta::is_terminating(cidr) && conditions.iter().any(ready)
}

fn taken(what: &Taken) -> Status {
    Status::bad_request(match what {
        Taken::Address(_) => "provided IP is already allocated",
        Taken::NodePort(_) => "provided port is already allocated",
    })
}

fn shuffle<T>(items: &mut Vec<T>) {
    items.shuffle(&mut rand::rng());
    items.truncate(CANDIDATES);
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn address(number: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

/// A network's addresses without its own and, for IPv4, the broadcast address.
fn usable(network: &IpNet) -> RangeInclusive<u128> {
    let (first, last) = (number(network.network()), number(network.broadcast()));
    let last = if network.addr().is_ipv4() { last.saturating_sub(1) } else { last };
    first + 1..=last
}

/// The first address of a network: what the `kubernetes` Service has.
pub(crate) fn first_address(network: &IpNet) -> IpAddr {
    address(*usable(network).start(), Family::of(network.addr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_keeps_its_own_and_the_broadcast_address() {
        let network: IpNet = "10.152.183.0/24".parse().unwrap();
        assert_eq!(first_address(&network).to_string(), "10.152.183.1");
        assert_eq!(address(*usable(&network).end(), Family::V4).to_string(), "10.152.183.254");
    }

    #[test]
    fn records_name_their_service() {
        let service = json!({"metadata": {"name": "web", "namespace": "shop"}});
        let record = Taken::Address("10.0.0.5".parse().unwrap()).record(&service, Timestamp::UNIX_EPOCH);
        assert_eq!(record["metadata"]["name"], "10.0.0.5");
        assert_eq!(record["spec"]["parentRef"]["namespace"], "shop");
        assert_eq!(record["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"], "IPv4");
    }
}
