//! The documents of discovery, from the table of what is served.

use crate::aggregation::Overlay;
use crate::registry::{Group as Local, Served};
use api::versions;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A group with its versions, best first.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) versions: Vec<Version>,
}

/// A version of a group.
pub(super) struct Version {
    pub(super) name: String,
    pub(super) content: Content,
    /// Its rank in the group.
    rank: i64,
    /// What it says of the rank of the group.
    group_rank: i64,
}

/// What is in a version.
pub(super) enum Content {
    /// Resources that are served here, sorted by name.
    Local(Vec<Arc<Served>>),
    /// Resources of another server, as `APIGroupDiscovery` has them.
    Remote { resources: Vec<Value>, fresh: bool },
}

/// What is served of a group here, and elsewhere as its overlay says.
pub(super) fn group_of(name: &str, local: Option<&Local>, overlay: &Overlay) -> Group {
    let mut all: BTreeMap<String, Content> = BTreeMap::new();
    for (version, served) in local.into_iter().flatten() {
        all.insert(version.clone(), Content::Local(served.values().cloned().collect()));
    }
    for remote in &overlay.versions {
        let content = Content::Remote { resources: remote.resources.clone(), fresh: remote.fresh };
        all.insert(remote.version.clone(), content);
    }
    let mut versions: Vec<Version> =
        all.into_iter().map(|(version, content)| ranked(name, version, content, overlay)).collect();
    versions.sort_by(|a, b| b.rank.cmp(&a.rank).then_with(|| versions::compare(&b.name, &a.name)));
    Group { name: name.to_owned(), versions }
}

impl Group {
    /// Where it comes in discovery: the core group first, then by rank and name.
    pub(super) fn order(&self) -> (bool, Reverse<Option<i64>>, String) {
        let rank = self.versions.iter().map(|version| version.group_rank).max();
        (!self.name.is_empty(), Reverse(rank), self.name.clone())
    }
}

fn ranked(group: &str, name: String, mut content: Content, overlay: &Overlay) -> Version {
    if let Content::Local(resources) = &mut content {
        resources.sort_by(|a, b| a.gvr.resource.cmp(&b.gvr.resource));
    }
    let said = overlay.ranks.get(&(group.to_owned(), name.clone())).copied();
    let (group_rank, rank) = said.unwrap_or_else(|| {
        (versions::group_priority(group).into(), versions::version_priority(&name).into())
    });
    Version { name, content, rank, group_rank }
}

/// `APIGroup`, without kind and version where it is part of a list.
pub(super) fn group(group: &Group) -> Value {
    let version = |v: &Version| json!({"groupVersion": apimachinery::gvk::api_version(&group.name, &v.name), "version": v.name});
    json!({
        "name": group.name,
        "versions": group.versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": group.versions.first().map(version),
    })
}

/// `APIResourceList` of a version that is served here.
pub(super) fn resource_list(group: &str, version: &str, served: &[Arc<Served>]) -> Value {
    let mut resources = Vec::new();
    for served in served {
        if !served.verbs.is_empty() {
            resources.push(resource(served));
        }
        for sub in &served.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", served.gvr.resource, sub.name),
                "singularName": "",
                "namespaced": served.namespaced,
                "kind": sub.gvk.kind,
                "verbs": sub.verbs,
            });
            if (sub.gvk.group.as_str(), sub.gvk.version.as_str()) != (group, version) {
                api::value::set(&mut entry, "group", sub.gvk.group.as_str());
                api::value::set(&mut entry, "version", sub.gvk.version.as_str());
                if sub.gvk.group.is_empty() {
                    api::value::remove(&mut entry, "group");
                }
            }
            resources.push(entry);
        }
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": apimachinery::gvk::api_version(group, version),
        "resources": resources,
    })
}

fn resource(served: &Served) -> Value {
    let mut entry = json!({
        "name": served.gvr.resource,
        "singularName": served.singular,
        "namespaced": served.namespaced,
        "kind": served.gvk.kind,
        "verbs": served.verbs,
    });
    if !served.short_names.is_empty() {
        api::value::set(&mut entry, "shortNames", served.short_names.clone());
    }
    if !served.categories.is_empty() {
        api::value::set(&mut entry, "categories", served.categories.clone());
    }
    if served.verbs.contains(&"list") {
        api::value::set(&mut entry, "storageVersionHash", storage_version_hash(served));
    }
    entry
}

/// Tells clients whether what they stored is stored in another version now. Opaque.
fn storage_version_hash(served: &Served) -> String {
    use base64::Engine;
    let stored = &served.storage;
    let digest = Sha256::digest(format!("{}/{}/{}", stored.group, stored.version, served.gvk.kind));
    base64::engine::general_purpose::STANDARD.encode(digest.get(..8).unwrap_or_default())
}

/// One group of an `APIGroupDiscoveryList` (KEP-3352).
pub(super) fn aggregated(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            let (resources, fresh) = match &version.content {
                Content::Local(all) => (all.iter().map(|s| aggregated_resource(s)).collect(), true),
                Content::Remote { resources, fresh } => (resources.clone(), *fresh),
            };
            let freshness = if fresh { "Current" } else { "Stale" };
            let mut entry = json!({"version": version.name, "freshness": freshness});
            if !resources.is_empty() {
                api::value::set(&mut entry, "resources", resources);
            }
            entry
        })
        .collect();
    let metadata = if group.name.is_empty() {
        json!({"creationTimestamp": null})
    } else {
        json!({"name": group.name, "creationTimestamp": null})
    };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(served: &Served) -> Value {
    let kind =
        |gvk: &apimachinery::gvk::Gvk| json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind});
    let mut entry = json!({
        "resource": served.gvr.resource,
        "responseKind": kind(&served.gvk),
        "scope": if served.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": served.singular,
        "verbs": served.verbs,
    });
    if !served.short_names.is_empty() {
        api::value::set(&mut entry, "shortNames", served.short_names.clone());
    }
    if !served.categories.is_empty() {
        api::value::set(&mut entry, "categories", served.categories.clone());
    }
    let subresources: Vec<Value> = served
        .subresources
        .iter()
        .map(|sub| json!({"subresource": sub.name, "responseKind": kind(&sub.gvk), "verbs": sub.verbs}))
        .collect();
    if !subresources.is_empty() {
        api::value::set(&mut entry, "subresources", subresources);
    }
    entry
}
