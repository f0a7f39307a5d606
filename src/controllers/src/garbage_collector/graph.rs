//! Who owns whom.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;

/// Finalizer of owners that wait for their dependents to go first.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of owners whose dependents shall stay.
pub(super) const ORPHAN: &str = "orphan";

/// The metadata that garbage collection looks at.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Object {
    pub(super) metadata: Meta,
}

/// See [`Object`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) uid: String,
    #[serde(default)]
    pub(super) resource_version: String,
    #[serde(default)]
    pub(super) deletion_timestamp: Option<String>,
    #[serde(default)]
    pub(super) finalizers: Option<Vec<String>>,
    #[serde(default)]
    pub(super) owner_references: Option<Vec<OwnerReference>>,
}

impl Meta {
    pub(super) fn owners(&self) -> &[OwnerReference] {
        self.owner_references.as_deref().unwrap_or_default()
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    pub(super) fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().flatten().any(|finalizer| finalizer == name)
    }

    /// Waiting for its dependents to go.
    pub(super) fn is_deleting_dependents(&self) -> bool {
        self.is_deleting() && self.has_finalizer(FOREGROUND)
    }

    /// Waiting for its dependents to be set free.
    pub(super) fn is_orphaning(&self) -> bool {
        self.is_deleting() && self.has_finalizer(ORPHAN)
    }
}

/// Where an object is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Path of the collection without a namespace: the resource.
    pub(super) resource: Arc<str>,
    /// Namespace, or empty.
    pub(super) namespace: Box<str>,
    /// Name.
    pub(super) name: Box<str>,
}

/// A uid in its compact form. Uids are UUIDs: sixteen bytes instead of a string for each object of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Uid(u128);

impl Uid {
    pub(super) fn new(text: &str) -> Self {
        let mut value = 0u128;
        let mut digits = 0;
        for byte in text.bytes().filter(|byte| *byte != b'-') {
            let Some(digit) = char::from(byte).to_digit(16).filter(|_| digits < 32) else {
                return Self::of_foreign(text);
            };
            value = (value << 4) | u128::from(digit);
            digits += 1;
        }
        if digits == 32 { Self(value) } else { Self::of_foreign(text) }
    }

    // Not a UUID, which only foreign servers write.
    fn of_foreign(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(u128::from(hasher.finish()))
    }
}

/// An object that owns, or is owned, in a way that matters.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) uid: Box<str>,
    pub(super) identity: Identity,
    pub(super) owners: Vec<Owner>,
    pub(super) deleting_dependents: bool,
    pub(super) orphaning: bool,
}

/// One owner reference of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: Uid,
    pub(super) blocks: bool,
}

/// The graph.
#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    dependents: HashMap<Uid, HashSet<Uid>>,
    existing: HashSet<Uid>,
}

impl Graph {
    /// An object was seen; returns the uids to look at.
    pub(super) fn observe(&mut self, resource: &Arc<str>, meta: &Meta) -> Vec<String> {
        let uid = Uid::new(&meta.uid);
        self.existing.insert(uid);
        let owner = |owner: &OwnerReference| Owner {
            uid: Uid::new(&owner.uid),
            blocks: owner.block_owner_deletion == Some(true),
        };
        let owners: Vec<Owner> = meta.owners().iter().map(owner).collect();
        let (deleting_dependents, orphaning) = (meta.is_deleting_dependents(), meta.is_orphaning());
        let relevant = !owners.is_empty() || deleting_dependents || orphaning;
        let old = self.nodes.remove(&uid);
        if !relevant && old.is_none() {
            return Vec::new();
        }
        let mut look = BTreeSet::new();
        let old_owners = old.as_ref().map(|node| node.owners.clone()).unwrap_or_default();
        for gone in old_owners.iter().filter(|old| !owners.iter().any(|new| new.uid == old.uid)) {
            self.unlink(gone.uid, uid);
            look.extend(self.waiting(gone.uid));
        }
        for owner in &owners {
            self.dependents.entry(owner.uid).or_default().insert(uid);
            let was = old_owners.iter().find(|old| old.uid == owner.uid);
            if was.is_some_and(|was| was.blocks && !owner.blocks) {
                look.extend(self.waiting(owner.uid));
            }
        }
        let was = |flag: fn(&Node) -> bool| old.as_ref().is_some_and(flag);
        if deleting_dependents && !was(|node| node.deleting_dependents) {
            look.insert(meta.uid.clone());
            look.extend(self.dependents_of(uid));
        }
        if relevant {
            let identity = Identity {
                resource: resource.clone(),
                namespace: meta.namespace.as_str().into(),
                name: meta.name.as_str().into(),
            };
            let text = meta.uid.as_str().into();
            self.nodes.insert(uid, Node { uid: text, identity, owners, deleting_dependents, orphaning });
        }
        let own_owners_matter = self.node(uid).is_some_and(|node| self.owners_matter(node));
        if own_owners_matter || (orphaning && !was(|node| node.orphaning)) {
            look.insert(meta.uid.clone());
        }
        look.into_iter().collect()
    }

    /// An object is gone; returns the uids to look at: its dependents, and owners that waited for it.
    pub(super) fn forget(&mut self, uid: Uid) -> Vec<String> {
        self.existing.remove(&uid);
        let mut look = self.dependents_of(uid);
        if let Some(node) = self.nodes.remove(&uid) {
            for owner in &node.owners {
                self.unlink(owner.uid, uid);
                look.extend(self.waiting(owner.uid));
            }
        }
        look
    }

    pub(super) fn node(&self, uid: Uid) -> Option<&Node> {
        self.nodes.get(&uid)
    }

    /// Whether an object with this uid was seen and not seen to go.
    pub(super) fn exists(&self, uid: Uid) -> bool {
        self.existing.contains(&uid)
    }

    /// Whether there is anything to do about a node, as far as the graph knows.
    pub(super) fn needs_look(&self, node: &Node) -> bool {
        node.deleting_dependents || node.orphaning || self.owners_matter(node)
    }

    /// The uids of what names `uid` as an owner.
    pub(super) fn dependents_of(&self, uid: Uid) -> Vec<String> {
        let dependents = self.dependents.get(&uid).into_iter().flatten();
        dependents.filter_map(|uid| self.nodes.get(uid)).map(|node| node.uid.to_string()).collect()
    }

    /// Whether a dependent holds up the foreground deletion of `uid`.
    pub(super) fn is_blocked(&self, uid: Uid) -> bool {
        let blocks = |node: &Node| node.owners.iter().any(|owner| owner.uid == uid && owner.blocks);
        let mut dependents = self.dependents.get(&uid).into_iter().flatten();
        dependents.any(|dependent| self.nodes.get(dependent).is_some_and(blocks))
    }

    fn owners_matter(&self, node: &Node) -> bool {
        let waits = |uid: &Uid| self.nodes.get(uid).is_some_and(|owner| owner.deleting_dependents);
        node.owners.iter().any(|owner| !self.exists(owner.uid) || waits(&owner.uid))
    }

    /// The uid, if it waits for its dependents to go.
    fn waiting(&self, uid: Uid) -> Option<String> {
        self.nodes.get(&uid).filter(|node| node.deleting_dependents).map(|node| node.uid.to_string())
    }

    fn unlink(&mut self, owner: Uid, dependent: Uid) {
        if let Some(dependents) = self.dependents.get_mut(&owner) {
            dependents.remove(&dependent);
            if dependents.is_empty() {
                self.dependents.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(uid: &str, owners: &[(&str, bool)], finalizer: Option<&str>) -> Meta {
        let reference = |(uid, blocks): &(&str, bool)| OwnerReference {
            uid: (*uid).into(),
            block_owner_deletion: Some(*blocks),
            ..OwnerReference::default()
        };
        Meta {
            uid: uid.into(),
            owner_references: Some(owners.iter().map(reference).collect()),
            deletion_timestamp: finalizer.map(|_| "now".to_owned()),
            finalizers: finalizer.map(|finalizer| vec![finalizer.to_owned()]),
            ..Meta::default()
        }
    }

    fn observe(graph: &mut Graph, meta: Meta) -> Vec<String> {
        graph.observe(&"/api/v1/things".into(), &meta)
    }

    #[test]
    fn dependents_are_looked_at_when_their_owner_goes() {
        let mut graph = Graph::default();
        assert!(observe(&mut graph, meta("owner", &[], None)).is_empty());
        assert!(observe(&mut graph, meta("child", &[("owner", false)], None)).is_empty());
        assert!(graph.node(Uid::new("owner")).is_none(), "plain objects take no node");
        let child = graph.node(Uid::new("child")).unwrap().clone();
        assert!(!graph.needs_look(&child));
        assert_eq!(graph.forget(Uid::new("owner")), ["child"]);
        assert!(graph.needs_look(&child));
        assert!(graph.forget(Uid::new("child")).is_empty());
        assert!(graph.dependents.is_empty());
    }

    #[test]
    fn a_dependent_of_an_unknown_owner_is_looked_at() {
        let mut graph = Graph::default();
        assert_eq!(observe(&mut graph, meta("child", &[("ghost", false)], None)), ["child"]);
    }

    #[test]
    fn foreground_deletion_looks_at_dependents_and_then_at_the_owner_again() {
        let mut graph = Graph::default();
        observe(&mut graph, meta("owner", &[], None));
        observe(&mut graph, meta("blocking", &[("owner", true)], None));
        observe(&mut graph, meta("loose", &[("owner", false)], None));
        let look = observe(&mut graph, meta("owner", &[], Some(FOREGROUND)));
        assert_eq!(look, ["blocking", "loose", "owner"]);
        assert!(graph.is_blocked(Uid::new("owner")));
        assert_eq!(graph.forget(Uid::new("blocking")), ["owner"]);
        assert!(!graph.is_blocked(Uid::new("owner")));
    }

    #[test]
    fn an_owner_reference_taken_away_or_unblocked_brings_the_owner_back() {
        let mut graph = Graph::default();
        observe(&mut graph, meta("owner", &[], Some(FOREGROUND)));
        observe(&mut graph, meta("child", &[("owner", true)], None));
        assert_eq!(observe(&mut graph, meta("child", &[("owner", false)], None)), ["child", "owner"]);
        assert_eq!(observe(&mut graph, meta("child", &[], None)), ["owner"]);
        assert!(graph.node(Uid::new("child")).is_none());
    }

    #[test]
    fn uids_are_kept_apart_in_their_compact_form() {
        assert_eq!(Uid::new("00000000-0000-0000-0000-00000000001f"), Uid(31));
        assert_ne!(Uid::new("not-a-uuid"), Uid::new("another"));
    }
}
