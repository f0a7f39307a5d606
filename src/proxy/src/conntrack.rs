//! UDP flows whose endpoint has gone.
//!
//! The kernel translates a flow as it did its first packet, for as long as packets keep coming. A TCP client
//! notices that its endpoint is gone; a UDP client (a DNS resolver, say) goes on sending into the void. So
//! such flows are forgotten, by means of the `conntrack` tool. Where that is not installed they end by
//! themselves when the client pauses for `nf_conntrack_udp_timeout_stream` (two minutes).

use crate::endpoints::Reachable;
use crate::service::{Protocol, ServicePort};
use apimachinery::family::Family;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::process::Command;

/// So that a node without the tool says so once.
static MISSING: AtomicBool = AtomicBool::new(false);

/// Where UDP flows of a port may have come from and gone to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flows {
    /// Addresses and ports that clients use; None for any address of the node.
    fronts: BTreeSet<(Option<IpAddr>, u16)>,
    endpoints: BTreeSet<SocketAddr>,
}

/// Flows to forget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stale {
    front: (Option<IpAddr>, u16),
    /// Only those that lead here; None: those that were never translated.
    endpoint: Option<SocketAddr>,
}

impl Flows {
    /// Those of a port in one family; None when it is not UDP.
    pub(crate) fn of(port: &ServicePort, reachable: &Reachable, family: Family) -> Option<Self> {
        if port.name.protocol != Protocol::Udp {
            return None;
        }
        let addresses = port.cluster_ips.iter().chain(port.external_addresses());
        let addresses = addresses.filter(|address| family.has(address));
        let mut fronts: BTreeSet<_> = addresses.map(|address| (Some(*address), port.port)).collect();
        fronts.extend(port.node_port.map(|port| (None, port)));
        let endpoints = reachable.cluster.iter().chain(&reachable.local).copied().collect();
        Some(Self { fronts, endpoints })
    }
}

/// What to forget when flows change: those to endpoints that have gone, and, when the first endpoint comes,
/// those that were sent to the address itself.
pub(crate) fn stale(old: &Flows, new: &Flows) -> Vec<Stale> {
    let mut found = Vec::new();
    for front in &old.fronts {
        let kept = new.fronts.contains(front);
        let gone = old.endpoints.iter().filter(|endpoint| !kept || !new.endpoints.contains(endpoint));
        found.extend(gone.map(|endpoint| Stale { front: *front, endpoint: Some(*endpoint) }));
    }
    if old.endpoints.is_empty() && !new.endpoints.is_empty() {
        // Those of the node's own ports cannot be told from flows of other programs.
        let fronts = new.fronts.iter().filter(|(address, _)| address.is_some());
        found.extend(fronts.map(|front| Stale { front: *front, endpoint: None }));
    }
    found
}

impl Stale {
    /// The arguments of `conntrack`.
    fn arguments(&self) -> Vec<String> {
        let ipv6 = match (&self.front.0, &self.endpoint) {
            (Some(address), _) => address.is_ipv6(),
            (None, Some(endpoint)) => endpoint.is_ipv6(),
            (None, None) => false,
        };
        let family = if ipv6 { "ipv6" } else { "ipv4" };
        let mut arguments: Vec<String> = ["-D", "-f", family, "-p", "udp"].map(str::to_owned).into();
        if let Some(address) = self.front.0 {
            arguments.extend(["--orig-dst".to_owned(), address.to_string()]);
        }
        arguments.extend(["--dport".to_owned(), self.front.1.to_string()]);
        if let Some(endpoint) = self.endpoint {
            arguments.extend(["--dst-nat".to_owned(), endpoint.ip().to_string()]);
        }
        arguments
    }
}

/// Forgets flows, as well as it can.
pub(crate) async fn forget(flows: impl IntoIterator<Item = Stale>) {
    for flow in flows {
        if MISSING.load(Ordering::Relaxed) {
            return;
        }
        let status = Command::new("conntrack")
            .args(flow.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await;
        match status {
            // It fails when there was no such flow, which is as good.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                MISSING.store(true, Ordering::Relaxed);
                tracing::warn!(
                    "conntrack was not found: UDP clients of endpoints that go away may hang for two minutes; \
                     install the package conntrack"
                );
            }
            Err(error) => tracing::warn!(%error, "cannot run conntrack"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows(fronts: &[(Option<&str>, u16)], endpoints: &[&str]) -> Flows {
        Flows {
            fronts: fronts.iter().map(|(ip, port)| (ip.map(|ip| ip.parse().unwrap()), *port)).collect(),
            endpoints: endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect(),
        }
    }

    fn texts(old: &Flows, new: &Flows) -> Vec<String> {
        stale(old, new).iter().map(|stale| stale.arguments().join(" ")).collect()
    }

    #[test]
    fn flows_to_endpoints_that_have_gone_are_forgotten() {
        let fronts = [(Some("10.0.0.1"), 53), (None, 30053)];
        let old = flows(&fronts, &["10.1.0.1:53", "10.1.0.2:53"]);
        let new = flows(&fronts, &["10.1.0.2:53"]);
        assert_eq!(
            texts(&old, &new),
            [
                "-D -f ipv4 -p udp --dport 30053 --dst-nat 10.1.0.1",
                "-D -f ipv4 -p udp --orig-dst 10.0.0.1 --dport 53 --dst-nat 10.1.0.1"
            ]
        );
        assert!(texts(&new, &old).is_empty());
        let without_node_port = flows(&fronts[..1], &["10.1.0.2:53"]);
        assert_eq!(texts(&new, &without_node_port).len(), 1);
        assert_eq!(texts(&new, &Flows::default()).len(), 2);
    }

    #[test]
    fn the_first_endpoint_frees_clients_that_talked_to_nobody() {
        let fronts = [(Some("fd00::1"), 53), (None, 30053)];
        let (none, some) = (flows(&fronts, &[]), flows(&fronts, &["[fd01::1]:53"]));
        assert_eq!(texts(&none, &some), ["-D -f ipv6 -p udp --orig-dst fd00::1 --dport 53"]);
    }
}
