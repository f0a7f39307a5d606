//! Gives every node a range of pod addresses out of the cluster's network.
//!
//! Upstream counterpart: `node-ipam-controller` with the range allocator.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use client::{EventRecorder, EventType, Informer, ObjectKey, Rest, rest::Patch};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    manager::Config,
};

const NAME: &str = "cidrAllocator";
/// Prefix of a node's IPv4 range unless another is asked for: 254 addresses for at most 110 pods (upstream's default).
pub const NODE_PREFIX_V4: u8 = 24;
/// Prefix of a node's IPv6 range unless another is asked for (upstream's default).
pub const NODE_PREFIX_V6: u8 = 64;

/// Prefixes of nodes' ranges.
#[derive(Clone, Copy, Debug)]
pub struct NodePrefixes {
    /// Of IPv4.
    pub v4: u8,
    /// Of IPv6.
    pub v6: u8,
}

impl Default for NodePrefixes {
    fn default() -> Self {
        Self { v4: NODE_PREFIX_V4, v6: NODE_PREFIX_V6 }
    }
}

impl NodePrefixes {
    fn of(&self, network: &IpNet) -> u8 {
        match network {
            IpNet::V4(_) => self.v4,
            IpNet::V6(_) => self.v6,
        }
    }
}

/// The controller; keys are nodes.
pub struct NodeIpam {
    rest: Rest,
    nodes: Informer<Node>,
    recorder: EventRecorder,
    networks: Vec<IpNet>,
    reserved: Vec<IpNet>,
    prefixes: NodePrefixes,
    // Given to nodes (by uid) whose new state the cache does not show yet.
    assumed: Mutex<HashMap<String, Vec<IpNet>>>,
}

impl NodeIpam {
    /// An allocator of the configured networks.
    pub fn new(context: &Context, config: &Config) -> Self {
        Self {
            rest: context.rest.clone(),
            nodes: context.nodes(),
            recorder: context.recorder(NAME),
            networks: config.cluster_cidrs.clone(),
            reserved: config.service_cidrs.clone(),
            prefixes: config.node_prefixes,
            assumed: Mutex::default(),
        }
    }
}

/// Checks that ranges for nodes can be cut out of the networks.
///
/// # Errors
/// What is wrong, for people.
pub fn check_networks(networks: &[IpNet], prefixes: NodePrefixes) -> Result<(), String> {
    for network in networks {
        let prefix = prefixes.of(network);
        if network.prefix_len() > prefix || prefix > network.max_prefix_len() {
            return Err(format!(
                "a range of /{prefix} for each node does not fit into the cluster network {network}"
            ));
        }
    }
    let families: HashSet<bool> = networks.iter().map(|network| matches!(network, IpNet::V6(_))).collect();
    if families.len() < networks.len() {
        return Err("there can be one cluster network per address family only".into());
    }
    Ok(())
}

fn node_ranges(node: &Node) -> impl Iterator<Item = IpNet> {
    let spec = node.spec.as_ref();
    let all = spec.and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default();
    let single = spec.and_then(|spec| spec.pod_cidr.clone());
    all.into_iter().chain(single).filter_map(|text| text.parse().ok())
}

/// The first free range of each network; `None` when one of them is full.
fn plan(
    networks: &[IpNet],
    prefixes: NodePrefixes,
    reserved: &[IpNet],
    used: &HashSet<IpNet>,
) -> Option<Vec<IpNet>> {
    let overlaps = |range: &IpNet, other: &IpNet| range.contains(other) || other.contains(range);
    networks
        .iter()
        .map(|network| {
            let mut ranges = network.subnets(prefixes.of(network)).ok()?;
            ranges.find(|range| {
                // The exact match decides almost always; nodes with ranges of other sizes are rare.
                !used.contains(range)
                    && !reserved.iter().any(|other| overlaps(range, other))
                    && !used
                        .iter()
                        .any(|other| other.prefix_len() != range.prefix_len() && overlaps(range, other))
            })
        })
        .collect()
}

#[async_trait]
impl Controller for NodeIpam {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.nodes);
    }

    // One: two could give the same range away.
    fn workers(&self) -> usize {
        1
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(node) = self.nodes.get(key).filter(|_| !self.networks.is_empty()) else {
            return Ok(Action::Done);
        };
        if node_ranges(&node).next().is_some() {
            return Ok(Action::Done);
        }
        let uid = node.metadata.uid.clone().unwrap_or_default();
        let ranges = {
            let nodes = self.nodes.list();
            let shown: HashSet<IpNet> = nodes.iter().flat_map(|node| node_ranges(node)).collect();
            let mut assumed = self.assumed.lock();
            assumed.retain(|uid, _| {
                let node = nodes.iter().find(|node| node.metadata.uid.as_ref() == Some(uid));
                node.is_some_and(|node| node_ranges(node).next().is_none())
            });
            if assumed.contains_key(&uid) {
                // Its event brings the key back.
                return Ok(Action::Done);
            }
            let used: HashSet<IpNet> = shown.into_iter().chain(assumed.values().flatten().copied()).collect();
            let ranges = plan(&self.networks, self.prefixes, &self.reserved, &used);
            if let Some(ranges) = &ranges {
                assumed.insert(uid.clone(), ranges.clone());
            }
            ranges
        };
        let Some(ranges) = ranges else {
            let message = format!("Node {key} status is now: CIDRNotAvailable");
            self.recorder.about(&*node, EventType::Normal, "CIDRNotAvailable", message);
            return Err(ReconcileError::Retry("no free range in the cluster network".into()));
        };
        let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        let patch = Patch::Merge(json!({
            "metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": texts.first(), "podCIDRs": texts},
        }));
        let result = self.rest.patch::<Node>(key, "", &patch).await;
        if result.is_err() {
            // Whether or not the write happened: what the cache shows decides.
            self.assumed.lock().remove(&uid);
        }
        result?;
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn v4(prefix: u8) -> NodePrefixes {
        NodePrefixes { v4: prefix, ..NodePrefixes::default() }
    }

    #[test]
    fn the_first_range_that_is_neither_used_nor_reserved_is_given() {
        let used: HashSet<IpNet> = nets(&["10.1.0.0/24", "10.1.2.0/23"]).into_iter().collect();
        let reserved = nets(&["10.1.1.0/24"]);
        assert_eq!(plan(&nets(&["10.1.0.0/16"]), v4(24), &reserved, &used), Some(nets(&["10.1.4.0/24"])));
        assert_eq!(
            plan(&nets(&["10.1.0.0/16", "fd00:1::/48"]), v4(24), &[], &HashSet::new()),
            Some(nets(&["10.1.0.0/24", "fd00:1::/64"]))
        );
    }

    #[test]
    fn ranges_of_ipv6_are_as_large_as_asked_for() {
        let prefixes = NodePrefixes { v6: 80, ..NodePrefixes::default() };
        let used = nets(&["fd00:1::/80"]).into_iter().collect();
        assert_eq!(plan(&nets(&["fd00:1::/64"]), prefixes, &[], &used), Some(nets(&["fd00:1::1:0:0:0/80"])));
        assert!(check_networks(&nets(&["fd00:1::/64"]), prefixes).is_ok());
        assert!(check_networks(&nets(&["fd00:1::/96"]), prefixes).is_err());
    }

    #[test]
    fn a_full_network_gives_nothing() {
        let used = nets(&["10.1.0.0/24", "10.1.1.0/24"]).into_iter().collect();
        assert_eq!(plan(&nets(&["10.1.0.0/23"]), v4(24), &[], &used), None);
        assert_eq!(plan(&nets(&["10.1.0.0/23"]), v4(25), &[], &HashSet::new()), Some(nets(&["10.1.0.0/25"])));
    }

    #[test]
    fn networks_that_cannot_work_are_refused() {
        assert!(check_networks(&nets(&["10.1.0.0/16", "fd00::/48"]), v4(24)).is_ok());
        assert!(check_networks(&nets(&["10.1.0.0/25"]), v4(24)).is_err());
        assert!(check_networks(&nets(&["10.1.0.0/16", "10.2.0.0/16"]), v4(24)).is_err());
    }
}
