//! The documents of discovery, from the table of what is served.

use crate::registry::{Resources, Served};
use api::versions;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A group with its versions, best first.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) versions: Vec<Version>,
}

/// A version of a group with its resources, sorted by name.
pub(super) struct Version {
    pub(super) name: String,
    pub(super) resources: Vec<Arc<Served>>,
}

/// Everything that is served, in the order of discovery; the core group comes first.
pub(super) fn groups(resources: &Resources) -> Vec<Group> {
    let mut sorted: BTreeMap<String, BTreeMap<String, Vec<Arc<Served>>>> = BTreeMap::new();
    for served in resources.iter() {
        let versions = sorted.entry(served.gvr.group.clone()).or_default();
        versions.entry(served.gvr.version.clone()).or_default().push(Arc::clone(served));
    }
    let mut groups: Vec<Group> = sorted
        .into_iter()
        .map(|(name, all)| {
            let mut versions: Vec<Version> = all
                .into_iter()
                .map(|(name, mut resources)| {
                    resources.sort_by(|a, b| a.gvr.resource.cmp(&b.gvr.resource));
                    Version { name, resources }
                })
                .collect();
            versions.sort_by(|a, b| versions::compare(&b.name, &a.name));
            Group { name, versions }
        })
        .collect();
    groups.sort_by_key(|group| {
        (!group.name.is_empty(), std::cmp::Reverse(versions::group_priority(&group.name)), group.name.clone())
    });
    groups
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

/// `APIResourceList`.
pub(super) fn resource_list(group: &str, version: &Version) -> Value {
    let mut resources = Vec::new();
    for served in &version.resources {
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
            if (sub.gvk.group.as_str(), sub.gvk.version.as_str()) != (group, version.name.as_str()) {
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
        "groupVersion": apimachinery::gvk::api_version(group, &version.name),
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
            let resources: Vec<Value> = version.resources.iter().map(|s| aggregated_resource(s)).collect();
            json!({"version": version.name, "resources": resources, "freshness": "Current"})
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
