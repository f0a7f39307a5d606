//! What the kernel's table holds, and the commands that lead from one state of it to the next.

use super::base::base;
use super::family::NftFamily as _;
use super::render::{Map, Rendered};
use crate::service::ServicePortName;
use apimachinery::family::Family;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The shadow of one family's table.
///
/// Chains and sets that are not used any more are emptied in one transaction and deleted in a later one:
/// older kernels still count a reference to them that the same transaction takes away.
#[derive(Debug)]
pub(crate) struct ShadowTable {
    family: Family,
    ports: BTreeMap<ServicePortName, Rendered>,
    /// Who wants which element. Two Services may want the same one (an external IP, say): the first by name
    /// has it, and the next one gets it when that one goes.
    claims: BTreeMap<(Map, String), BTreeMap<ServicePortName, String>>,
    unused_chains: BTreeSet<String>,
    unused_sets: BTreeSet<String>,
}

impl ShadowTable {
    pub(crate) fn new(family: Family) -> Self {
        Self {
            family,
            ports: BTreeMap::new(),
            claims: BTreeMap::new(),
            unused_chains: BTreeSet::new(),
            unused_sets: BTreeSet::new(),
        }
    }

    /// The names of all ports of a Service that the table knows.
    pub(crate) fn ports_of(&self, namespace: &str, service: &str) -> Vec<ServicePortName> {
        let of = |name: &&ServicePortName| name.namespace == namespace && name.service == service;
        let from = ServicePortName {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            protocol: crate::service::Protocol::Tcp,
            port: String::new(),
        };
        self.ports.range(from..).map(|(name, _)| name).take_while(of).cloned().collect()
    }

    /// Takes over new contents of some ports (None: gone). Returns the commands that bring the kernel there;
    /// empty when there is nothing to do.
    ///
    /// Cost: proportional to the contents of those ports.
    pub(crate) fn update(&mut self, changes: Vec<(ServicePortName, Option<Rendered>)>) -> String {
        let mut commands = Commands::new(self.family);
        let mut touched: BTreeMap<(Map, String), Option<String>> = BTreeMap::new();
        for (name, new) in changes {
            let new = new.unwrap_or_default();
            let old = self.ports.remove(&name).unwrap_or_default();
            for key in old.elements.keys().chain(new.elements.keys()) {
                if !touched.contains_key(key) {
                    touched.insert(key.clone(), self.winner(key).cloned());
                }
            }
            self.difference(&old, &new, &mut commands);
            for key in old.elements.keys() {
                if let Some(claims) = self.claims.get_mut(key) {
                    claims.remove(&name);
                }
            }
            for (key, verdict) in &new.elements {
                self.claims.entry(key.clone()).or_default().insert(name.clone(), verdict.clone());
            }
            if new != Rendered::default() {
                self.ports.insert(name, new);
            }
        }
        for (key, before) in touched {
            let after = self.winner(&key).cloned();
            if after.is_none() {
                self.claims.remove(&key);
            }
            if before != after {
                if before.is_some() {
                    commands.delete_element(&key);
                }
                if let Some(verdict) = after {
                    commands.add_element(&key, &verdict);
                }
            }
        }
        commands.text()
    }

    /// Whether there is something for [`ShadowTable::collect_garbage`].
    pub(crate) fn has_garbage(&self) -> bool {
        !self.unused_chains.is_empty() || !self.unused_sets.is_empty()
    }

    /// Deletes what earlier transactions have left unused. Empty when there is nothing.
    pub(crate) fn collect_garbage(&mut self) -> String {
        let table = self.family.table();
        let mut text = String::new();
        for chain in std::mem::take(&mut self.unused_chains) {
            let _ = writeln!(text, "delete chain {table} {chain}");
        }
        for set in std::mem::take(&mut self.unused_sets) {
            let _ = writeln!(text, "delete set {table} {set}");
        }
        text
    }

    /// The whole table, made anew.
    pub(crate) fn rebuild(&mut self, node_port_addresses: &[IpNet]) -> String {
        self.unused_chains.clear();
        self.unused_sets.clear();
        let mut commands = Commands::new(self.family);
        for rendered in self.ports.values() {
            commands.add_all(rendered);
        }
        for (key, claims) in &self.claims {
            if let Some(verdict) = claims.values().next() {
                commands.add_element(key, verdict);
            }
        }
        base(self.family, node_port_addresses) + &commands.text()
    }

    fn winner(&self, key: &(Map, String)) -> Option<&String> {
        self.claims.get(key)?.values().next()
    }

    fn difference(&mut self, old: &Rendered, new: &Rendered, commands: &mut Commands) {
        for (set, seconds) in &new.affinity_sets {
            if !old.affinity_sets.contains_key(set) && !self.unused_sets.remove(set) {
                commands.add_set(set, *seconds);
            }
        }
        for set in old.affinity_sets.keys().filter(|set| !new.affinity_sets.contains_key(*set)) {
            self.unused_sets.insert(set.clone());
        }
        for (chain, rules) in &new.chains {
            match old.chains.get(chain) {
                Some(before) if before == rules => {}
                Some(_) => commands.replace_chain(chain, rules),
                None => {
                    // If it is still there, it is empty.
                    if !self.unused_chains.remove(chain) {
                        commands.add_chain(chain);
                    }
                    commands.add_rules(chain, rules);
                }
            }
        }
        for chain in old.chains.keys().filter(|chain| !new.chains.contains_key(*chain)) {
            commands.empty_chain(chain);
            self.unused_chains.insert(chain.clone());
        }
    }
}

/// Commands of one transaction, in the order in which they have to be: what is referred to comes first, what
/// nothing refers to any more last.
struct Commands {
    family: Family,
    table: String,
    declarations: String,
    flushes: String,
    rules: String,
    deleted_elements: String,
    added_elements: String,
    emptied: String,
}

impl Commands {
    fn new(family: Family) -> Self {
        Self {
            family,
            table: family.table(),
            declarations: String::new(),
            flushes: String::new(),
            rules: String::new(),
            deleted_elements: String::new(),
            added_elements: String::new(),
            emptied: String::new(),
        }
    }

    fn add_all(&mut self, rendered: &Rendered) {
        for (set, seconds) in &rendered.affinity_sets {
            self.add_set(set, *seconds);
        }
        for (chain, rules) in &rendered.chains {
            self.add_chain(chain);
            self.add_rules(chain, rules);
        }
    }

    // Writing to a String cannot fail.
    fn add_set(&mut self, set: &str, seconds: u32) {
        let (table, address) = (&self.table, self.family.address_type());
        let _ = writeln!(
            self.declarations,
            "add set {table} {set} {{ type {address} ; flags dynamic,timeout ; timeout {seconds}s ; }}"
        );
    }

    fn add_chain(&mut self, chain: &str) {
        let _ = writeln!(self.declarations, "add chain {} {chain}", self.table);
    }

    fn add_rules(&mut self, chain: &str, rules: &[String]) {
        for rule in rules {
            let _ = writeln!(self.rules, "add rule {} {chain} {rule}", self.table);
        }
    }

    fn replace_chain(&mut self, chain: &str, rules: &[String]) {
        let _ = writeln!(self.flushes, "flush chain {} {chain}", self.table);
        self.add_rules(chain, rules);
    }

    fn empty_chain(&mut self, chain: &str) {
        let _ = writeln!(self.emptied, "flush chain {} {chain}", self.table);
    }

    fn delete_element(&mut self, (map, key): &(Map, String)) {
        let _ = writeln!(self.deleted_elements, "delete element {} {} {{ {key} }}", self.table, map.name());
    }

    fn add_element(&mut self, (map, key): &(Map, String), verdict: &str) {
        let value = if verdict.is_empty() { String::new() } else { format!(" : {verdict}") };
        let _ = writeln!(self.added_elements, "add element {} {} {{ {key}{value} }}", self.table, map.name());
    }

    fn text(self) -> String {
        [
            self.declarations,
            self.flushes,
            self.rules,
            self.deleted_elements,
            self.added_elements,
            self.emptied,
        ]
        .concat()
    }
}
