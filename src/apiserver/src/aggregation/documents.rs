//! Discovery of aggregated servers: what they say of their resources, in the form that this server's own has.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::value;
use serde_json::{Map, Value, json};

use super::swagger::Swagger;

/// What discovery shows besides what is served here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Overlay {
    /// Groups and versions of others.
    pub(crate) versions: Vec<RemoteVersion>,
    /// Of each group and version: the rank of the group, and of the version in it; higher comes first.
    pub(crate) ranks: BTreeMap<(String, String), (i64, i64)>,
}

impl Overlay {
    /// What it says of one group.
    pub(crate) fn of_group(&self, group: &str) -> Self {
        let from = (group.to_owned(), String::new());
        let ranks = self.ranks.range(from..).take_while(|((name, _), _)| name == group);
        Self {
            versions: self.versions.iter().filter(|version| version.group == group).cloned().collect(),
            ranks: ranks.map(|(key, ranks)| (key.clone(), *ranks)).collect(),
        }
    }
}

/// OpenAPI of other servers.
#[derive(Default)]
pub(crate) struct OpenApiElsewhere {
    /// Documents of v3 by their path (`apis/GROUP/VERSION`): where they are.
    pub(crate) v3: BTreeMap<String, String>,
    /// Parts of the document of v2.
    pub(crate) v2: Vec<Arc<Swagger>>,
    /// What is to be told in v3 though its server has v2 only, by path.
    pub(crate) converted: BTreeMap<String, Arc<Swagger>>,
}

/// A group and version that another server serves, for discovery.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RemoteVersion {
    pub(crate) group: String,
    pub(crate) version: String,
    /// The resources, as `APIGroupDiscovery` has them; those of the last time it answered.
    pub(crate) resources: Vec<Value>,
    /// Whether the server answers.
    pub(crate) fresh: bool,
}

/// The resources of an `APIResourceList`, as `APIGroupDiscovery` has them; `None` when it is no such list.
pub(super) fn resources(list: &[u8], group: &str, version: &str) -> Option<Vec<Value>> {
    let list: Value = serde_json::from_slice(list).ok()?;
    if value::text(&list, "kind") != "APIResourceList" {
        return None;
    }
    let listed = value::list(&list, "resources");
    let mut all: Vec<(String, Value)> = Vec::new();
    for resource in listed.iter().filter(|resource| !value::text(resource, "name").contains('/')) {
        all.push((value::text(resource, "name").to_owned(), entry(resource, group, version)));
    }
    for resource in listed {
        let Some((parent, name)) = value::text(resource, "name").split_once('/') else { continue };
        let at = match all.iter().position(|(known, _)| known == parent) {
            Some(at) => at,
            None => {
                // Only its subresources are served.
                let scope = scope(resource);
                all.push((
                    parent.to_owned(),
                    json!({"resource": parent, "scope": scope, "singularResource": ""}),
                ));
                all.len() - 1
            }
        };
        let Some((_, found)) = all.get_mut(at) else { continue };
        let sub = json!({
            "subresource": name,
            "responseKind": kind(resource, group, version),
            "verbs": verbs(resource),
        });
        match found.get_mut("subresources").and_then(Value::as_array_mut) {
            Some(subs) => subs.push(sub),
            None => value::set(found, "subresources", vec![sub]),
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Some(all.into_iter().map(|(_, entry)| entry).collect())
}

fn entry(resource: &Value, group: &str, version: &str) -> Value {
    let mut entry = json!({
        "resource": value::text(resource, "name"),
        "responseKind": kind(resource, group, version),
        "scope": scope(resource),
        "singularResource": value::text(resource, "singularName"),
        "verbs": verbs(resource),
    });
    for field in ["shortNames", "categories"] {
        if !value::list(resource, field).is_empty() {
            value::copy(&mut entry, resource, field);
        }
    }
    entry
}

fn kind(resource: &Value, group: &str, version: &str) -> Value {
    let or = |field: &str, own: &str| match value::text(resource, field) {
        "" => own.to_owned(),
        other => other.to_owned(),
    };
    // Another group or version is said only where it differs; then both are.
    let own = value::text(resource, "version").is_empty();
    let group = if own { or("group", group) } else { value::text(resource, "group").to_owned() };
    json!({"group": group, "version": or("version", version), "kind": value::text(resource, "kind")})
}

fn scope(resource: &Value) -> &'static str {
    if value::is_true(resource, "namespaced") { "Namespaced" } else { "Cluster" }
}

fn verbs(resource: &Value) -> Value {
    resource.get("verbs").filter(|verbs| verbs.is_array()).cloned().unwrap_or_else(|| json!([]))
}

/// Where the OpenAPI v3 document of a group and version is, as the server's own index says.
pub(super) fn openapi_url(index: &[u8], group: &str, version: &str) -> Option<String> {
    let index: Map<String, Value> = serde_json::from_slice(index).ok()?;
    let url =
        index.get("paths")?.get(format!("apis/{group}/{version}"))?.get("serverRelativeURL")?.as_str()?;
    url.starts_with("/openapi/v3/").then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_resources_is_told_as_discovery_has_it() {
        let list = json!({"kind": "APIResourceList", "groupVersion": "metrics.k8s.io/v1beta1", "resources": [
            {"name": "pods", "namespaced": true, "singularName": "", "kind": "PodMetrics", "verbs": ["get", "list"]},
            {"name": "nodes", "namespaced": false, "kind": "NodeMetrics", "verbs": ["get"], "shortNames": ["no"]},
            {"name": "nodes/scale", "namespaced": false, "kind": "Scale", "group": "autoscaling", "version": "v1",
                "verbs": ["get"]},
            {"name": "lone/sub", "namespaced": true, "kind": "Sub", "verbs": ["create"]}]});
        let found = resources(list.to_string().as_bytes(), "metrics.k8s.io", "v1beta1").unwrap();
        assert_eq!(
            found,
            json!([
                {"resource": "lone", "scope": "Namespaced", "singularResource": "", "subresources": [
                    {"subresource": "sub", "verbs": ["create"],
                        "responseKind": {"group": "metrics.k8s.io", "version": "v1beta1", "kind": "Sub"}}]},
                {"resource": "nodes", "scope": "Cluster", "singularResource": "", "verbs": ["get"],
                    "shortNames": ["no"],
                    "responseKind": {"group": "metrics.k8s.io", "version": "v1beta1", "kind": "NodeMetrics"},
                    "subresources": [{"subresource": "scale", "verbs": ["get"],
                        "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}}]},
                {"resource": "pods", "scope": "Namespaced", "singularResource": "", "verbs": ["get", "list"],
                    "responseKind": {"group": "metrics.k8s.io", "version": "v1beta1", "kind": "PodMetrics"}},
            ])
            .as_array()
            .unwrap()
            .clone()
        );
        assert_eq!(resources(b"{}", "a", "v1"), None);
        assert_eq!(resources(b"<html>", "a", "v1"), None);
    }

    #[test]
    fn documents_are_only_looked_for_where_documents_are() {
        let index = |url: &str| json!({"paths": {"apis/a/v1": {"serverRelativeURL": url}}}).to_string();
        let found = openapi_url(index("/openapi/v3/apis/a/v1?hash=1").as_bytes(), "a", "v1");
        assert_eq!(found.as_deref(), Some("/openapi/v3/apis/a/v1?hash=1"));
        assert_eq!(openapi_url(index("/apis/a/v1/secrets").as_bytes(), "a", "v1"), None);
        assert_eq!(openapi_url(b"{}", "a", "v1"), None);
    }
}
