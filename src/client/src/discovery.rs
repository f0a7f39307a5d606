//! Which resources the API server serves, now.
//!
//! Uses aggregated discovery (KEP-3352): two requests for everything.

use http::{Request, header};
use kube::{Error, core::ApiResource};
use serde::Deserialize;

use crate::Rest;

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A resource in the version that its group prefers for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServedResource {
    /// Group, empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind of the objects.
    pub kind: String,
    /// Plural name, as in paths.
    pub plural: String,
    /// Other names that people may call it by: singular and short ones.
    pub names: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
    /// Every version of the group that serves it, the preferred one first.
    pub versions: Vec<String>,
}

impl ServedResource {
    /// `apiVersion` of the objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Path of the collection; of all namespaces when `namespace` is empty.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "api" } else { "apis" };
        let namespace = if namespace.is_empty() { String::new() } else { format!("namespaces/{namespace}/") };
        format!("/{root}/{}/{namespace}{}", self.api_version(), self.plural)
    }

    /// Whether all of these verbs are supported.
    pub fn supports(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|supported| supported == verb))
    }

    /// In the form that `kube` takes.
    pub fn api_resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.clone(),
            version: self.version.clone(),
            api_version: self.api_version(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        }
    }
}

/// What discovery found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovered {
    /// Every resource that is served.
    pub resources: Vec<ServedResource>,
    /// Group versions whose resources are unknown, because the extension API server behind them does not answer.
    pub stale: Vec<String>,
}

impl Discovered {
    /// The resource of a kind, by the `apiVersion` and `kind` of an object or reference.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<&ServedResource> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let mut matching = self.resources.iter().filter(|served| {
            served.group == group
                && served.kind == kind
                && served.versions.iter().any(|known| known == version)
        });
        matching.next()
    }

    /// The resource that a person names: `deployments`, `deployment`, `deploy`, or `deployments.apps`.
    pub fn named(&self, name: &str) -> Option<&ServedResource> {
        let name = name.to_lowercase();
        let (name, group) = name.split_once('.').map_or((name.as_str(), None), |(name, g)| (name, Some(g)));
        let mut matching = self.resources.iter().filter(|served| {
            let is = served.plural == name || served.names.iter().any(|other| other == name);
            is && group.is_none_or(|group| group == served.group)
        });
        matching.next()
    }
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: GroupMeta,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
struct GroupMeta {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Resource>,
    #[serde(default)]
    freshness: String,
}

#[derive(Deserialize)]
struct Resource {
    resource: String,
    #[serde(default, rename = "responseKind")]
    response_kind: Option<ResponseKind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default, rename = "singularResource")]
    singular: String,
    #[serde(default, rename = "shortNames")]
    short_names: Vec<String>,
}

#[derive(Deserialize)]
struct ResponseKind {
    #[serde(default)]
    kind: String,
}

/// Asks the API server for all its resources.
///
/// # Errors
/// When a request fails, or the answer is not aggregated discovery.
pub async fn discover(rest: &Rest) -> Result<Discovered, Error> {
    let mut discovered = Discovered::default();
    for path in ["/api", "/apis"] {
        let request =
            Request::get(path).header(header::ACCEPT, ACCEPT).body(Vec::new()).map_err(Error::HttpError)?;
        let text = rest.client().request_text(request).await?;
        let list: GroupList = serde_json::from_str(&text).map_err(Error::SerdeError)?;
        list.items.into_iter().for_each(|group| add_group(&mut discovered, group));
    }
    Ok(discovered)
}

fn add_group(discovered: &mut Discovered, group: Group) {
    let first = discovered.resources.len();
    let name = group.metadata.name;
    // Versions come in the order of preference.
    for version in group.versions {
        if version.freshness == "Stale" {
            discovered.stale.push(format!("{name}/{}", version.version));
        }
        for resource in version.resources {
            let mine = discovered.resources.get_mut(first..).unwrap_or_default();
            if let Some(known) = mine.iter_mut().find(|known| known.plural == resource.resource) {
                known.versions.push(version.version.clone());
                continue;
            }
            discovered.resources.push(ServedResource {
                group: name.clone(),
                version: version.version.clone(),
                kind: resource.response_kind.map(|kind| kind.kind).unwrap_or_default(),
                plural: resource.resource,
                names: std::iter::once(resource.singular).chain(resource.short_names).collect(),
                namespaced: resource.scope == "Namespaced",
                verbs: resource.verbs,
                versions: vec![version.version.clone()],
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_is_listed_once_in_its_preferred_version() {
        let list: GroupList = serde_json::from_str(
            r#"{"items":[{"metadata":{"name":"autoscaling"},"versions":[
                {"version":"v2","freshness":"Current","resources":[{"resource":"horizontalpodautoscalers",
                  "responseKind":{"kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","verbs":["list","watch"],
                  "singularResource":"horizontalpodautoscaler","shortNames":["hpa"]}]},
                {"version":"v1","resources":[{"resource":"horizontalpodautoscalers",
                  "responseKind":{"kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","verbs":["list"]}]}]},
              {"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1beta1","freshness":"Stale"}]}]}"#,
        )
        .unwrap();
        let mut discovered = Discovered::default();
        list.items.into_iter().for_each(|group| add_group(&mut discovered, group));
        assert_eq!(discovered.resources.len(), 1);
        let found = discovered.find("autoscaling/v1", "HorizontalPodAutoscaler").unwrap();
        assert_eq!(found.path("ns"), "/apis/autoscaling/v2/namespaces/ns/horizontalpodautoscalers");
        assert!(found.supports(&["list", "watch"]) && !found.supports(&["delete"]));
        assert_eq!(discovered.stale, ["metrics.k8s.io/v1beta1"]);
        assert!(discovered.find("v1", "Pod").is_none());
        for name in ["hpa", "HorizontalPodAutoscaler", "horizontalpodautoscalers.autoscaling"] {
            assert_eq!(discovered.named(name), Some(found), "{name}");
        }
        assert_eq!(discovered.named("hpa.apps"), None);
    }
}
