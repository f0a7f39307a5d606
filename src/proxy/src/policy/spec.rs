//! A NetworkPolicy, as far as rules are made of it.

use crate::service::Protocol;
use client::{ObjectKey, Selector};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Which way a connection is opened, seen from the pod that a policy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub(super) const ALL: [Self; 2] = [Self::Ingress, Self::Egress];
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// The pods of its namespace that it is about.
    pub(super) pods: Selector,
    /// What may come in; None: it says nothing about that.
    pub(super) ingress: Option<Vec<Rule>>,
    /// What may go out; None: it says nothing about that.
    pub(super) egress: Option<Vec<Rule>>,
}

/// Connections that are let through: with one of the peers, to one of the ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// None: with everybody.
    pub(super) peers: Option<Vec<Peer>>,
    /// None: to every port.
    pub(super) ports: Option<Vec<Port>>,
}

/// Who may be at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Pods(PodPeer),
    Block { net: IpNet, except: Vec<IpNet> },
}

/// Pods of some namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodPeer {
    pub(super) namespaces: Namespaces,
    pub(super) pods: Selector,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Namespaces {
    One(String),
    Labelled(Selector),
}

/// A port, or many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Port {
    All(Protocol),
    Range(Protocol, u16, u16),
    Named(Protocol, String),
}

impl Policy {
    /// Reads a policy. What this does not understand lets nothing through.
    pub(super) fn of(policy: &NetworkPolicy) -> Self {
        let namespace = policy.metadata.namespace.clone().unwrap_or_default();
        let Some(spec) = &policy.spec else {
            return Self { pods: Selector::nothing(), ingress: None, egress: None };
        };
        let says = |name: &str, otherwise: bool| match spec.policy_types.as_deref() {
            None | Some([]) => otherwise,
            Some(types) => types.iter().any(|known| known == name),
        };
        let ingress = spec.ingress.iter().flatten();
        let ingress = ingress.map(|rule| Rule::of(&namespace, rule.from.as_deref(), rule.ports.as_deref()));
        let egress = spec.egress.iter().flatten();
        let egress = egress.map(|rule| Rule::of(&namespace, rule.to.as_deref(), rule.ports.as_deref()));
        let everything = Selector::everything();
        Self {
            pods: spec.pod_selector.as_ref().map_or(everything, |selector| Selector::new(Some(selector))),
            ingress: says("Ingress", true).then(|| ingress.collect()),
            egress: says("Egress", spec.egress.is_some()).then(|| egress.collect()),
        }
    }

    /// What it says about a direction.
    pub(super) fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    /// Every rule.
    pub(super) fn all_rules(&self) -> impl Iterator<Item = &Rule> {
        self.ingress.iter().chain(&self.egress).flatten()
    }
}

impl Rule {
    fn of(namespace: &str, peers: Option<&[NetworkPolicyPeer]>, ports: Option<&[NetworkPolicyPort]>) -> Self {
        // An empty list is as none.
        let peers = peers.filter(|peers| !peers.is_empty());
        let ports = ports.filter(|ports| !ports.is_empty());
        Self {
            peers: peers.map(|peers| peers.iter().filter_map(|peer| Peer::of(namespace, peer)).collect()),
            ports: ports.map(|ports| ports.iter().filter_map(Port::of).collect()),
        }
    }
}

impl Peer {
    fn of(namespace: &str, peer: &NetworkPolicyPeer) -> Option<Self> {
        if let Some(block) = &peer.ip_block {
            let except = block.except.iter().flatten().filter_map(|net| net.parse::<IpNet>().ok());
            return Some(Self::Block {
                net: block.cidr.parse::<IpNet>().ok()?.trunc(),
                except: except.map(|net| net.trunc()).collect(),
            });
        }
        let namespaces = match &peer.namespace_selector {
            Some(selector) => Namespaces::Labelled(Selector::new(Some(selector))),
            None => Namespaces::One(namespace.to_owned()),
        };
        let pods = match &peer.pod_selector {
            Some(selector) => Selector::new(Some(selector)),
            None if peer.namespace_selector.is_some() => Selector::everything(),
            None => return None,
        };
        Some(Self::Pods(PodPeer { namespaces, pods }))
    }
}

impl Port {
    fn of(port: &NetworkPolicyPort) -> Option<Self> {
        let protocol = Protocol::parse(port.protocol.as_deref())?;
        Some(match &port.port {
            None => Self::All(protocol),
            Some(IntOrString::String(name)) => Self::Named(protocol, name.clone()),
            Some(IntOrString::Int(first)) => {
                let first = u16::try_from(*first).ok()?;
                let last = port.end_port.map_or(Some(first), |last| u16::try_from(last).ok())?;
                Self::Range(protocol, first, last)
            }
        })
    }
}

/// The name that a policy's rules are ordered by.
pub(super) type Key = ObjectKey;
