//! The node's part of the pod network: its configuration for the runtime, the ways to other nodes' pods, rules that
//! others may have flushed, and what lost sandboxes left behind.

use anyhow::{Context, Result};
use client::{Informer, nodes};
use cni::nodes::Member;
use cri::Runtime as _;
use futures::{FutureExt as _, StreamExt as _};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause between looks after the rules and leaked addresses. A firewall's reload that flushed the rules is mended
/// within it, as upstream's proxies do.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
/// Pause after the kernel refused a route.
const RETRY: Duration = Duration::from_secs(5);
/// Time in which further changes of links are taken together.
const SETTLE: Duration = Duration::from_millis(200);

/// The pod network of one node.
pub struct PodNetwork {
    /// The node.
    pub node_name: String,
    /// Addresses of all pods of the cluster.
    pub cluster_cidrs: Vec<IpNet>,
    /// Addresses of Services; none on a worker that joined with an older version.
    pub service_cidrs: Vec<IpNet>,
    /// Where the plugin keeps given addresses.
    pub data_dir: PathBuf,
    /// Where the runtime looks for network configurations.
    pub directory: PathBuf,
}

impl PodNetwork {
    /// Gives the runtime its configuration as soon as the node has a pod CIDR, and when that changes; keeps the ways
    /// to the pods of other nodes; looks after it all until stopped.
    ///
    /// # Errors
    /// When the network cannot be set up; failures of what is repeated are only logged.
    pub async fn run(
        self,
        nodes: Informer<Node>,
        runtime: cri::Client,
        stop: CancellationToken,
    ) -> Result<()> {
        let mut events = nodes.subscribe();
        let mut changes = cni::nodes::changes().context("cannot listen for changes of links")?;
        // Before all nodes are known, those that are not would be cut off.
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = nodes.synced() => {}
        }
        let (mut known, mut ranges): (Vec<Member>, Vec<IpNet>) = Default::default();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut due = false;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = housekeeping.tick() => {
                    due = true;
                    if !ranges.is_empty() && let Err(error) = self.keep(&runtime).await {
                        tracing::warn!("cannot look after the pod network, trying again: {error:#}");
                    }
                }
                event = events.recv() => {
                    event.context("the watch of nodes ended")?;
                    while events.recv().now_or_never().flatten().is_some() {}
                }
                Some(()) = changes.next() => {
                    due = true;
                    // A link that goes up tells so several times.
                    tokio::time::sleep(SETTLE).await;
                    while changes.next().now_or_never().flatten().is_some() {}
                }
            }
            let all = nodes.list();
            let own = all.iter().find(|node| node.metadata.name.as_deref() == Some(&self.node_name));
            let cidrs = own.map(|node| nodes::pod_cidrs(node)).unwrap_or_default();
            if cidrs.is_empty() {
                continue;
            }
            let mut members: Vec<Member> = all.iter().filter_map(|node| member(node)).collect();
            members.sort_unstable();
            // One that has not told its address yet must not lose what it had before.
            let is_own = |member: &Member| member.name == self.node_name;
            if (due || members != known) && members.iter().any(is_own) {
                known = members;
                if let Err(error) = self.follow(&known).await {
                    tracing::warn!("cannot reach all pods of other nodes, trying again: {error:#}");
                    housekeeping.reset_after(RETRY);
                }
            }
            if cidrs != ranges {
                self.set_up(&cidrs).await.context("cannot set up the pod network")?;
                tracing::info!(?cidrs, "the pod network is ready");
                ranges = cidrs;
            }
        }
    }

    async fn follow(&self, members: &[Member]) -> Result<()> {
        let (members, own) = (members.to_owned(), self.node_name.clone());
        let foreign = foreign(&members, &own).join(", ");
        let services = self.service_cidrs.clone();
        let changes =
            tokio::task::spawn_blocking(move || cni::nodes::follow(&members, &own, &services)).await??;
        if changes > 0 {
            tracing::info!(changes, "the ways to pods of other nodes are up to date");
        }
        if changes > 0 && !foreign.is_empty() {
            tracing::warn!(
                "pods of {foreign} are not reached: their addresses are not of this node's family (IPv4, IPv6); give \
                 all nodes addresses of one by --node-ip"
            );
        }
        Ok(())
    }

    // nft and files: not for the threads that answer requests.
    async fn set_up(&self, cidrs: &[IpNet]) -> Result<()> {
        let (cluster, directory, data_dir, given) =
            (self.cluster_cidrs.clone(), self.directory.clone(), self.data_dir.clone(), cidrs.to_vec());
        tokio::task::spawn_blocking(move || {
            cni::host::ensure(&cluster)?;
            cni::configuration::write(&directory, &data_dir, &given, None)
        })
        .await??;
        Ok(())
    }

    async fn keep(&self, runtime: &cri::Client) -> Result<()> {
        let sandboxes = runtime.list_pod_sandbox(None).await?;
        let alive: BTreeSet<String> = sandboxes.into_iter().map(|sandbox| sandbox.id).collect();
        let (cluster, data_dir) = (self.cluster_cidrs.clone(), self.data_dir.clone());
        let leaked = tokio::task::spawn_blocking(move || {
            cni::host::ensure(&cluster)?;
            anyhow::Ok(cni::garbage::collect(&data_dir, &alive)?)
        })
        .await??;
        if leaked > 0 {
            tracing::info!(leaked, "took back addresses of sandboxes that are gone");
        }
        Ok(())
    }
}

/// A node as the pod network sees it; None without an address of its own. IPv4 comes before IPv6.
fn member(node: &Node) -> Option<Member> {
    let addresses = nodes::own_addresses(node);
    let address_v6 = addresses.iter().find_map(|address| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(*address),
    });
    let address = addresses.into_iter().min_by_key(IpAddr::is_ipv6)?;
    Some(Member { name: node.metadata.name.clone()?, address, address_v6, pod_cidrs: nodes::pod_cidrs(node) })
}

/// The nodes whose addresses are not of the own one's family.
fn foreign<'a>(members: &'a [Member], own: &str) -> Vec<&'a str> {
    let own = members.iter().find(|member| member.name == own);
    let foreign = |member: &&Member| own.is_some_and(|own| own.is_foreign(member));
    members.iter().filter(foreign).map(|member| member.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_a_member_by_its_first_internal_address_and_rather_by_ipv4() {
        let node = |addresses: serde_json::Value| -> Node {
            serde_json::from_value(json!({"metadata": {"name": "a"},
                "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:10::/64"]},
                "status": {"addresses": addresses}}))
            .unwrap()
        };
        let found = member(&node(json!([{"type": "Hostname", "address": "10.0.0.9"},
            {"type": "ExternalIP", "address": "192.0.2.1"}, {"type": "InternalIP", "address": "fd00::1"},
            {"type": "InternalIP", "address": "192.168.7.2"}, {"type": "InternalIP", "address": "192.168.8.2"}])));
        let pod_cidrs = vec!["10.1.0.0/24".parse().unwrap(), "fd00:10::/64".parse().unwrap()];
        let (address, address_v6) = ("192.168.7.2".parse().unwrap(), "fd00::1".parse().ok());
        assert_eq!(found, Some(Member { name: "a".to_owned(), address, address_v6, pod_cidrs }));
        assert_eq!(member(&node(json!([{"type": "Hostname", "address": "a"}]))), None);
        // What it has among its pods is reached by way of its own address only.
        let found = member(&node(json!([{"type": "InternalIP", "address": "fd00::1"},
            {"type": "InternalIP", "address": "10.1.0.0"}, {"type": "InternalIP", "address": "fd00::2"}])));
        assert_eq!(found.unwrap().address, "fd00::1".parse::<IpAddr>().unwrap());
        let found = member(&node(json!([{"type": "InternalIP", "address": "192.168.7.2"},
            {"type": "InternalIP", "address": "fd00:10::"}])));
        assert_eq!(found.unwrap().address_v6, None);
    }

    #[test]
    fn nodes_of_the_other_family_are_told_of() {
        let node = |name: &str, address: &str| Member {
            name: name.to_owned(),
            address: address.parse().unwrap(),
            address_v6: None,
            pod_cidrs: Vec::new(),
        };
        let members = [node("a", "fd00::1"), node("b", "192.168.7.2"), node("c", "fd00::3")];
        assert_eq!(foreign(&members, "a"), ["b"]);
        assert_eq!(foreign(&members, "b"), ["a", "c"]);
        assert!(foreign(&members, "d").is_empty());
    }
}
