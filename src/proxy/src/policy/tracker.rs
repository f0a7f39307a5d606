//! Policies, pods and namespaces, and what follows from them for the tables.

use super::spec::{Direction, Key, Namespaces, Peer, PodPeer, Policy, Port, Rule};
use super::table::{PODS_IN, PODS_OUT, SELF, Table};
use crate::nftables::NftFamily as _;
use crate::service::Protocol;
use apimachinery::family::Family;
use client::ObjectKey;
use client::selector::Labels;
use k8s_openapi::api::core::v1::{Container, Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Everything that rules depend on.
#[derive(Debug)]
pub(super) struct Tracker {
    node_name: String,
    pub(super) tables: Vec<Table>,
    policies: BTreeMap<Key, Policy>,
    namespaces: BTreeMap<String, Labels>,
    pods: BTreeMap<ObjectKey, PodFacts>,
    /// By the text of what it is of: selectors have no order of their own.
    sets: BTreeMap<String, Interned>,
    groups: BTreeMap<GroupKey, Group>,
    /// The groups of each pod of this node.
    grouped: BTreeMap<ObjectKey, Vec<GroupKey>>,
    numbers: usize,
}

/// The policies, in order, that say something about a direction.
type GroupKey = (Direction, Vec<Key>);

/// A pod with an address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PodFacts {
    addresses: Vec<IpAddr>,
    labels: Labels,
    is_here: bool,
    ports: Vec<(String, Protocol, u16)>,
}

/// Addresses that several rules may speak of.
#[derive(Clone, Debug)]
struct Interned {
    name: String,
    of: Of,
    users: usize,
}

#[derive(Clone, Debug)]
enum Of {
    Pods(PodPeer),
    Ports(Protocol, String),
}

impl Of {
    fn key(&self) -> String {
        format!("{self:?}")
    }
}

/// Pods that the same policies are about, in one direction.
#[derive(Debug)]
struct Group {
    chain: String,
    pods: usize,
}

impl Tracker {
    /// Knows nothing yet; enforces for pods of the node.
    pub(super) fn new(node_name: &str, families: impl Iterator<Item = Family>) -> Self {
        Self {
            node_name: node_name.to_owned(),
            tables: families.map(Table::new).collect(),
            policies: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            pods: BTreeMap::new(),
            sets: BTreeMap::new(),
            groups: BTreeMap::new(),
            grouped: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// Whether there is any policy.
    pub(super) fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// A policy is this now; None: it is gone.
    ///
    /// Cost: the pods of its namespace, and all pods where it speaks of peers that no other policy does.
    pub(super) fn policy(&mut self, key: &Key, policy: Option<&NetworkPolicy>) {
        let new = policy.map(Policy::of);
        if self.policies.get(key) == new.as_ref() {
            return;
        }
        // New ones first: what both speak of stays.
        for of in new.iter().flat_map(used) {
            self.intern(of);
        }
        let old = match new {
            Some(new) => self.policies.insert(key.clone(), new),
            None => self.policies.remove(key),
        };
        let pods: Vec<ObjectKey> =
            self.pods.range(first_of(&key.namespace)..).map(|(key, _)| key.clone()).collect();
        for pod in pods.iter().take_while(|pod| pod.namespace == key.namespace) {
            self.regroup(pod);
        }
        let about: Vec<GroupKey> =
            self.groups.keys().filter(|(_, policies)| policies.contains(key)).cloned().collect();
        for group in about {
            self.render(&group);
        }
        for of in old.iter().flat_map(used) {
            self.release(&of);
        }
    }

    /// A namespace has these labels now.
    pub(super) fn namespace(&mut self, namespace: &Namespace, is_gone: bool) {
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        let new = (!is_gone).then_some(labels);
        if self.namespaces.get(&name) == new.as_ref() {
            return;
        }
        let pods = self.pods.range(first_of(&name)..).take_while(|(key, _)| key.namespace == name);
        let pods: Vec<(ObjectKey, PodFacts)> =
            pods.map(|(key, facts)| (key.clone(), facts.clone())).collect();
        for (key, facts) in &pods {
            self.members(key, facts, false);
        }
        match new {
            Some(labels) => self.namespaces.insert(name, labels),
            None => self.namespaces.remove(&name),
        };
        for (key, facts) in &pods {
            self.members(key, facts, true);
        }
    }

    /// A pod is this now.
    ///
    /// Cost: the distinct peers of all policies, and the policies of its namespace if it runs here.
    pub(super) fn pod(&mut self, pod: &Pod, is_gone: bool) {
        let key = ObjectKey::of(pod);
        let new = if is_gone { None } else { PodFacts::of(pod, &self.node_name) };
        if self.pods.get(&key) == new.as_ref() {
            return;
        }
        // Anew, and not what differs: pods change these facts rarely.
        if let Some(old) = self.pods.remove(&key) {
            self.members(&key, &old, false);
            self.place(&key, &old, Vec::new());
        }
        if let Some(new) = new {
            self.members(&key, &new, true);
            self.pods.insert(key.clone(), new);
            self.regroup(&key);
        }
    }

    /// Puts a pod's addresses into the sets that speak of it, or takes them out.
    fn members(&mut self, key: &ObjectKey, facts: &PodFacts, add: bool) {
        for set in self.sets.values() {
            put(&mut self.tables, set, &self.namespaces, key, facts, add);
        }
    }

    fn intern(&mut self, of: Of) {
        let text = of.key();
        if let Some(known) = self.sets.get_mut(&text) {
            known.users += 1;
            return;
        }
        self.numbers += 1;
        let name = match &of {
            Of::Pods(_) => format!("pods-{}", self.numbers),
            Of::Ports(_, port) => format!("port-{}-{port}", self.numbers),
        };
        for table in &mut self.tables {
            let address = table.family().address_type();
            let kind = match &of {
                Of::Pods(_) => address.to_owned(),
                Of::Ports(..) => format!("{address} . inet_proto . inet_service"),
            };
            table.add_set(&name, &format!("set {name} {{ type {kind} ; }}"));
        }
        let set = Interned { name, of, users: 1 };
        for (key, facts) in &self.pods {
            put(&mut self.tables, &set, &self.namespaces, key, facts, true);
        }
        self.sets.insert(text, set);
    }

    fn release(&mut self, of: &Of) {
        let text = of.key();
        let Some(known) = self.sets.get_mut(&text) else { return };
        known.users -= 1;
        if known.users == 0 {
            let name = known.name.clone();
            self.sets.remove(&text);
            for table in &mut self.tables {
                table.drop_set(&name);
            }
        }
    }

    /// Finds the policies that are about a pod of this node.
    fn regroup(&mut self, key: &ObjectKey) {
        let Some(facts) = self.pods.get(key).filter(|facts| facts.is_here).cloned() else { return };
        let of_namespace = self.policies.range(first_of(&key.namespace)..);
        let about: Vec<(&Key, &Policy)> = of_namespace
            .take_while(|(policy, _)| policy.namespace == key.namespace)
            .filter(|(_, policy)| policy.pods.matches(Some(&facts.labels)))
            .collect();
        let of = |direction: Direction| -> GroupKey {
            let says = about.iter().filter(|(_, policy)| policy.rules(direction).is_some());
            (direction, says.map(|(name, _)| (*name).clone()).collect())
        };
        let groups = Direction::ALL.map(of).into_iter().filter(|(_, policies)| !policies.is_empty());
        let groups = groups.collect();
        self.place(key, &facts, groups);
    }

    /// Moves a pod from the groups that it is in to others.
    fn place(&mut self, key: &ObjectKey, facts: &PodFacts, groups: Vec<GroupKey>) {
        let before = self.grouped.remove(key).unwrap_or_default();
        for group in groups.iter().filter(|group| !before.contains(group)) {
            self.join(group, facts);
        }
        for group in before.iter().filter(|group| !groups.contains(group)) {
            self.leave(group, facts);
        }
        if !groups.is_empty() {
            self.grouped.insert(key.clone(), groups);
        }
    }

    fn join(&mut self, name: &GroupKey, facts: &PodFacts) {
        if !self.groups.contains_key(name) {
            self.numbers += 1;
            let chain = format!("group-{}", self.numbers);
            self.groups.insert(name.clone(), Group { chain, pods: 0 });
            self.render(name);
        }
        let Some(group) = self.groups.get_mut(name) else { return };
        group.pods += 1;
        let verdict = format!("jump {}", group.chain);
        self.each_address(facts, |table, address| {
            table.add(map_of(name.0), address, &verdict);
            table.add(SELF, &format!("{address} . {address}"), "");
        });
    }

    fn leave(&mut self, name: &GroupKey, facts: &PodFacts) {
        self.each_address(facts, |table, address| {
            table.remove(map_of(name.0), address);
            table.remove(SELF, &format!("{address} . {address}"));
        });
        let Some(group) = self.groups.get_mut(name) else { return };
        group.pods -= 1;
        if group.pods == 0 {
            let chain = group.chain.clone();
            self.groups.remove(name);
            for table in &mut self.tables {
                table.drop_chain(&chain);
            }
        }
    }

    fn each_address(&mut self, facts: &PodFacts, mut work: impl FnMut(&mut Table, &str)) {
        for table in &mut self.tables {
            let family = table.family();
            for address in facts.addresses.iter().filter(|address| family.has(address)) {
                work(table, &address.to_string());
            }
        }
    }

    /// The rules of a group: what one of its policies lets through goes on, all else ends here.
    fn render(&mut self, group: &GroupKey) {
        let Some(chain) = self.groups.get(group).map(|group| group.chain.clone()) else { return };
        let (direction, policies) = group;
        for table in &mut self.tables {
            let mut lines: Vec<String> = Vec::new();
            for policy in policies.iter().filter_map(|name| self.policies.get(name)) {
                for rule in policy.rules(*direction).unwrap_or_default() {
                    for line in render(rule, *direction, table.family(), &self.sets) {
                        if !lines.contains(&line) {
                            lines.push(line);
                        }
                    }
                }
            }
            lines.push("drop".to_owned());
            table.set_chain(&chain, lines);
        }
    }
}

/// What a policy wants sets of.
fn used(policy: &Policy) -> Vec<Of> {
    let mut all = Vec::new();
    for rule in policy.all_rules() {
        all.extend(rule.peers.iter().flatten().filter_map(|peer| match peer {
            Peer::Pods(peer) => Some(Of::Pods(peer.clone())),
            Peer::Block { .. } => None,
        }));
        all.extend(rule.ports.iter().flatten().filter_map(|port| match port {
            Port::Named(protocol, name) => Some(Of::Ports(*protocol, name.clone())),
            _ => None,
        }));
    }
    all
}

fn put(
    tables: &mut [Table],
    set: &Interned,
    namespaces: &BTreeMap<String, Labels>,
    key: &ObjectKey,
    facts: &PodFacts,
    add: bool,
) {
    let suffixes: Vec<String> = match &set.of {
        Of::Pods(peer) => {
            let in_namespace = match &peer.namespaces {
                Namespaces::One(name) => key.namespace == *name,
                Namespaces::Labelled(selector) => {
                    namespaces.get(&key.namespace).is_some_and(|labels| selector.matches(Some(labels)))
                }
            };
            let matches = in_namespace && peer.pods.matches(Some(&facts.labels));
            matches.then(String::new).into_iter().collect()
        }
        Of::Ports(protocol, name) => {
            let named = facts.ports.iter().filter(|(known, p, _)| known == name && p == protocol);
            named.map(|(_, protocol, port)| format!(" . {protocol} . {port}")).collect()
        }
    };
    for table in tables {
        let family = table.family();
        for address in facts.addresses.iter().filter(|address| family.has(address)) {
            for suffix in &suffixes {
                let element = format!("{address}{suffix}");
                if add { table.add(&set.name, &element, "") } else { table.remove(&set.name, &element) }
            }
        }
    }
}

fn render(
    rule: &Rule,
    direction: Direction,
    family: Family,
    sets: &BTreeMap<String, Interned>,
) -> Vec<String> {
    let ip = family.ip();
    let end = match direction {
        Direction::Ingress => "saddr",
        Direction::Egress => "daddr",
    };
    let name = |of: &Of| sets.get(&of.key()).map(|set| set.name.clone());
    let peers: Vec<String> = match &rule.peers {
        None => vec![String::new()],
        Some(peers) => peers
            .iter()
            .filter_map(|peer| match peer {
                Peer::Pods(peer) => Some(format!("{ip} {end} @{} ", name(&Of::Pods(peer.clone()))?)),
                Peer::Block { net, except } => {
                    if !family.has(&net.addr()) {
                        return None;
                    }
                    // One of all addresses is none to nft.
                    let mut text =
                        if net.prefix_len() == 0 { String::new() } else { format!("{ip} {end} {net} ") };
                    for hole in except.iter().filter(|hole| family.has(&hole.addr())) {
                        if hole.prefix_len() == 0 {
                            return None;
                        }
                        text.push_str(&format!("{ip} {end} != {hole} "));
                    }
                    Some(text)
                }
            })
            .collect(),
    };
    let ports: Vec<String> = match &rule.ports {
        None => vec![String::new()],
        Some(ports) => ports
            .iter()
            .filter_map(|port| match port {
                Port::All(protocol) => Some(format!("meta l4proto {protocol} ")),
                Port::Range(protocol, first, last) if first == last => {
                    Some(format!("{protocol} dport {first} "))
                }
                Port::Range(protocol, first, last) => Some(format!("{protocol} dport {first}-{last} ")),
                Port::Named(protocol, port) => {
                    let set = name(&Of::Ports(*protocol, port.clone()))?;
                    Some(format!("{ip} daddr . meta l4proto . th dport @{set} "))
                }
            })
            .collect(),
    };
    peers.iter().flat_map(|peer| ports.iter().map(move |port| format!("{peer}{port}return"))).collect()
}

fn map_of(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => PODS_IN,
        Direction::Egress => PODS_OUT,
    }
}

fn first_of(namespace: &str) -> ObjectKey {
    ObjectKey::new(namespace, "")
}

impl PodFacts {
    /// None for a pod that has no network of its own (yet, or any more).
    fn of(pod: &Pod, node_name: &str) -> Option<Self> {
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
        if spec.host_network == Some(true) || matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"))
        {
            return None;
        }
        let told = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
        let mut addresses: Vec<IpAddr> = told.filter_map(|ip| ip.parse().ok()).collect();
        if addresses.is_empty() {
            addresses.push(status.pod_ip.as_ref()?.parse().ok()?);
        }
        // Restartable init containers serve too.
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let ports = spec.containers.iter().chain(sidecars).flat_map(named_ports).collect();
        Some(Self {
            addresses,
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            is_here: spec.node_name.as_deref() == Some(node_name),
            ports,
        })
    }
}

fn named_ports(container: &Container) -> impl Iterator<Item = (String, Protocol, u16)> {
    container.ports.iter().flatten().filter_map(|port| {
        let number = u16::try_from(port.container_port).ok()?;
        Some((port.name.clone()?, Protocol::parse(port.protocol.as_deref())?, number))
    })
}
