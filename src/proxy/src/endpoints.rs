//! Which endpoints the traffic of a port goes to.

use crate::service::ServicePort;
use std::net::SocketAddr;

/// An endpoint of a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) ready: bool,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
    /// On this node.
    pub(crate) local: bool,
}

/// Where traffic goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reachable {
    /// Under the traffic policy Cluster. Empty means that nobody serves the port anywhere.
    pub(crate) cluster: Vec<SocketAddr>,
    /// Under the traffic policy Local; empty when no traffic of this port has it.
    pub(crate) local: Vec<SocketAddr>,
}

/// Chooses endpoints by readiness and traffic policy.
///
/// Ready ones are preferred; where there is none, those that still serve while they terminate take over, so
/// that a rolling update on the last node loses nothing (KEP-1669). Under the policy Local this is decided
/// among the node's own endpoints.
pub(crate) fn reachable(port: &ServicePort, endpoints: &[Endpoint]) -> Reachable {
    let uses_local = port.internal_local || (port.external_local && port.is_external());
    let local: Vec<&Endpoint> = endpoints.iter().filter(|e| e.local && uses_local).collect();
    Reachable { cluster: usable(&endpoints.iter().collect::<Vec<_>>()), local: usable(&local) }
}

fn usable(endpoints: &[&Endpoint]) -> Vec<SocketAddr> {
    let pick = |wanted: fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
        endpoints.iter().filter(|endpoint| wanted(endpoint)).map(|endpoint| endpoint.address).collect()
    };
    let ready = pick(|endpoint| endpoint.ready);
    if ready.is_empty() { pick(|endpoint| endpoint.serving && endpoint.terminating) } else { ready }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Protocol, ServicePortName};

    fn port(internal_local: bool, external_local: bool) -> ServicePort {
        let (namespace, service, port) = ("n".to_owned(), "s".to_owned(), String::new());
        ServicePort {
            name: ServicePortName { namespace, service, protocol: Protocol::Tcp, port },
            cluster_ips: vec![],
            external_ips: vec![],
            load_balancer_ips: vec![],
            source_ranges: vec![],
            port: 80,
            node_port: Some(30000),
            affinity_seconds: None,
            internal_local,
            external_local,
        }
    }

    /// r: ready, t: terminating but serving, x: terminating and not serving, n: not ready; capitals are local.
    fn chosen(port: &ServicePort, endpoints: &str) -> (String, String) {
        let address = |at: usize| SocketAddr::from(([10, 0, 0, at as u8], 80));
        let made: Vec<_> = endpoints
            .chars()
            .enumerate()
            .map(|(at, c)| {
                let (kind, local) = (c.to_ascii_lowercase(), c.is_ascii_uppercase());
                let (ready, serving) = (kind == 'r', matches!(kind, 'r' | 't'));
                Endpoint {
                    address: address(at),
                    ready,
                    serving,
                    terminating: matches!(kind, 't' | 'x'),
                    local,
                }
            })
            .collect();
        let found = reachable(port, &made);
        let text = |chosen: &[SocketAddr]| {
            let pairs = endpoints.chars().enumerate();
            pairs.filter(|(at, _)| chosen.contains(&address(*at))).map(|(_, c)| c).collect()
        };
        (text(&found.cluster), text(&found.local))
    }

    #[test]
    fn ready_endpoints_are_preferred_and_terminating_ones_take_over() {
        for (all, cluster, local) in [
            ("rRtTxn", "rR", "R"),
            ("tTxXnN", "tT", "T"),
            ("rT", "r", "T"),
            ("rX", "r", ""),
            ("xXnN", "", ""),
            ("", "", ""),
        ] {
            let expected = (cluster.to_owned(), local.to_owned());
            assert_eq!(chosen(&port(false, true), all), expected, "{all}");
            assert_eq!(chosen(&port(true, false), all), expected, "{all}");
        }
        assert_eq!(chosen(&port(false, false), "rR"), ("rR".to_owned(), String::new()));
    }
}
