//! What the kernel's table of policies holds, and the commands that lead from one state of it to the next.

use crate::nftables::NftFamily as _;
use apimachinery::family::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The table's name, in each family.
pub(super) const TABLE: &str = "knarr-policy";
/// Pods that connections to them are checked of, and the chains that do.
pub(super) const PODS_IN: &str = "pods-in";
/// The same for connections from them.
pub(super) const PODS_OUT: &str = "pods-out";
/// Pods with themselves: nobody is kept from oneself (through a Service, say).
pub(super) const SELF: &str = "self";

/// The shadow of one family's table. Changes gather until they are taken as one transaction.
///
/// Chains and sets that are not used any more are emptied in one transaction and deleted in the next: older kernels
/// still count a reference to them that the same transaction takes away.
#[derive(Debug)]
pub(super) struct Table {
    family: Family,
    sets: BTreeMap<String, Set>,
    chains: BTreeMap<String, Vec<String>>,
    changes: Changes,
    garbage: Garbage,
}

#[derive(Debug, Default)]
struct Set {
    kind: String,
    /// How many want an element, and its verdict; empty in a set.
    elements: BTreeMap<String, (usize, String)>,
}

#[derive(Debug, Default)]
struct Changes {
    new_sets: BTreeSet<String>,
    /// Whether the kernel has the chain already.
    chains: BTreeMap<String, bool>,
    /// What the kernel has at the key of a set; None: nothing.
    elements: BTreeMap<(String, String), Option<String>>,
    dead: Garbage,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Garbage {
    chains: BTreeSet<String>,
    sets: BTreeSet<String>,
}

impl Table {
    pub(super) fn new(family: Family) -> Self {
        let mut table = Self {
            family,
            sets: BTreeMap::new(),
            chains: BTreeMap::new(),
            changes: Changes::default(),
            garbage: Garbage::default(),
        };
        let address = family.address_type();
        table.add_set(PODS_IN, &format!("map {PODS_IN} {{ type {address} : verdict ; }}"));
        table.add_set(PODS_OUT, &format!("map {PODS_OUT} {{ type {address} : verdict ; }}"));
        table.add_set(SELF, &format!("set {SELF} {{ type {address} . {address} ; }}"));
        table
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// Declares a set or map.
    pub(super) fn add_set(&mut self, name: &str, declaration: &str) {
        self.sets.insert(name.to_owned(), Set { kind: declaration.to_owned(), elements: BTreeMap::new() });
        self.changes.new_sets.insert(name.to_owned());
    }

    /// Nobody uses the set any more.
    pub(super) fn drop_set(&mut self, name: &str) {
        self.sets.remove(name);
        self.changes.elements.retain(|(set, _), _| set != name);
        if !self.changes.new_sets.remove(name) {
            self.changes.dead.sets.insert(name.to_owned());
        }
    }

    /// One more wants an element.
    pub(super) fn add(&mut self, set: &str, key: &str, verdict: &str) {
        let Some(known) = self.sets.get_mut(set) else { return };
        let before = known.elements.get(key).map(|(_, verdict)| verdict.clone());
        let entry = known.elements.entry(key.to_owned()).or_default();
        entry.0 += 1;
        verdict.clone_into(&mut entry.1);
        self.touch(set, key, before);
    }

    /// One fewer wants it.
    pub(super) fn remove(&mut self, set: &str, key: &str) {
        let Some(known) = self.sets.get_mut(set) else { return };
        let Some(entry) = known.elements.get_mut(key) else { return };
        let before = Some(entry.1.clone());
        entry.0 -= 1;
        if entry.0 == 0 {
            known.elements.remove(key);
        }
        self.touch(set, key, before);
    }

    fn touch(&mut self, set: &str, key: &str, before: Option<String>) {
        self.changes.elements.entry((set.to_owned(), key.to_owned())).or_insert(before);
    }

    /// The chain has these rules now.
    pub(super) fn set_chain(&mut self, name: &str, rules: Vec<String>) {
        let before = self.chains.insert(name.to_owned(), rules);
        if before.as_ref() != self.chains.get(name) {
            self.changes.chains.entry(name.to_owned()).or_insert(before.is_some());
        }
    }

    /// Nobody jumps to the chain any more.
    pub(super) fn drop_chain(&mut self, name: &str) {
        let known = self.chains.remove(name).is_some();
        if known && self.changes.chains.remove(name) != Some(false) {
            self.changes.dead.chains.insert(name.to_owned());
        }
    }

    /// The transaction for what has changed since the last one; empty when nothing has.
    ///
    /// Cost: proportional to the changes.
    pub(super) fn transaction(&mut self) -> String {
        let table = format!("{} {TABLE}", self.family.ip());
        let Changes { new_sets, chains, elements, dead } = std::mem::take(&mut self.changes);
        let garbage = std::mem::take(&mut self.garbage);
        let mut text = String::new();
        for chain in &garbage.chains {
            let _ = writeln!(text, "delete chain {table} {chain}");
        }
        for set in &garbage.sets {
            let _ = writeln!(text, "delete set {table} {set}");
        }
        for set in new_sets.iter().filter_map(|name| self.sets.get(name)) {
            // `add set ip TABLE NAME { ... }` of `set NAME { ... }`.
            let (what, rest) = set.kind.split_once(' ').unwrap_or_default();
            let _ = writeln!(text, "add {what} {table} {rest}");
        }
        for name in chains.keys() {
            let _ = writeln!(text, "add chain {table} {name}");
        }
        for (name, known) in &chains {
            if *known {
                let _ = writeln!(text, "flush chain {table} {name}");
            }
            for rule in self.chains.get(name).into_iter().flatten() {
                let _ = writeln!(text, "add rule {table} {name} {rule}");
            }
        }
        let now = |set: &str, key: &str| self.sets.get(set)?.elements.get(key).map(|(_, verdict)| verdict);
        let differing = || elements.iter().filter(|((set, key), before)| now(set, key) != before.as_ref());
        for ((set, key), _) in differing().filter(|(_, before)| before.is_some()) {
            let _ = writeln!(text, "delete element {table} {set} {{ {key} }}");
        }
        for ((set, key), _) in differing() {
            if let Some(verdict) = now(set, key) {
                let _ = writeln!(text, "add element {table} {set} {{ {} }}", element(key, verdict));
            }
        }
        for chain in &dead.chains {
            let _ = writeln!(text, "flush chain {table} {chain}");
        }
        self.garbage = dead;
        text
    }

    /// Whether there is something to delete with the next transaction.
    pub(super) fn has_garbage(&self) -> bool {
        self.garbage != Garbage::default()
    }

    /// Makes the table anew, within one transaction: packets meet the old rules or the new ones, never none.
    pub(super) fn rebuild(&mut self) -> String {
        self.changes = Changes::default();
        self.garbage = Garbage::default();
        let (ip, table) = (self.family.ip(), format!("{} {TABLE}", self.family.ip()));
        let mut text = remove(self.family);
        let _ = writeln!(text, "table {table} {{");
        for set in self.sets.values() {
            let elements: Vec<String> =
                set.elements.iter().map(|(key, (_, verdict))| element(key, verdict)).collect();
            let declaration = set.kind.trim_end_matches('}');
            if elements.is_empty() {
                let _ = writeln!(text, "\t{declaration}}}");
            } else {
                let _ = writeln!(text, "\t{declaration}elements = {{ {} }} ; }}", elements.join(", "));
            }
        }
        for (name, rules) in &self.chains {
            let _ = writeln!(text, "\tchain {name} {{");
            for rule in rules {
                let _ = writeln!(text, "\t\t{rule}");
            }
            text.push_str("\t}\n");
        }
        // Who asks for the node's MAC sends nothing yet (RFC 4861); with IPv4 that is no IP packet at all.
        let neighbours = match self.family {
            Family::V4 => "",
            Family::V6 => "\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n",
        };
        // Connections that were let through go on, and so do their answers. A node reaches its own pods always.
        let _ = writeln!(
            text,
            "\tchain forward {{
\t\ttype filter hook forward priority filter ;
\t\tct state established,related accept
\t\t{ip} saddr . {ip} daddr @{SELF} accept
\t\t{ip} saddr vmap @{PODS_OUT}
\t\t{ip} daddr vmap @{PODS_IN}
\t}}
\tchain input {{
\t\ttype filter hook input priority filter ;
\t\tct state established,related accept
{neighbours}\t\t{ip} saddr vmap @{PODS_OUT}
\t}}
}}"
        );
        text
    }
}

/// Removes the table, if it is there.
pub(crate) fn remove(family: Family) -> String {
    let ip = family.ip();
    format!("add table {ip} {TABLE}\ndelete table {ip} {TABLE}\n")
}

fn element(key: &str, verdict: &str) -> String {
    if verdict.is_empty() { key.to_owned() } else { format!("{key} : {verdict}") }
}
