//! The APIServices of what this server serves itself: those of built-in groups are made at the start, those of custom
//! resources follow their definitions.
//!
//! Upstream counterpart: `kube-aggregator/pkg/controllers/autoregister` and `pkg/controlplane/controller/crdregistration`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{value, versions};
use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::Result;
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use storage::Object;
use tokio::sync::Notify;

use super::GROUP;
use super::api_service::Condition;
use crate::cached::Sink;
use crate::registry::{Registry, Resources};

/// Says that an APIService is made by the server, and when it is kept as it should be.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// At the start of the server.
const ON_START: &str = "onstart";
/// Always.
const ALWAYS: &str = "true";
/// What custom resources' groups and versions get (upstream's crdregistration): all versions the same, so that their
/// names decide.
const CUSTOM_GROUP_PRIORITY: i32 = 1000;
const CUSTOM_VERSION_PRIORITY: i32 = 100;

/// A group and version.
type GroupVersion = (String, String);

/// Makes the APIServices of built-in groups what they are to be, as of the server's start.
///
/// # Errors
/// When the store fails.
pub(super) async fn register_built_in(registry: &Registry, resources: &Resources) -> Result<()> {
    let served: BTreeSet<GroupVersion> = resources
        .iter()
        .map(|served| (served.gvr.group.clone(), served.gvr.version.clone()))
        // The group of APIServices themselves is served whatever they say.
        .filter(|(group, _)| group != GROUP)
        .collect();
    let wanted: BTreeMap<String, Value> = served
        .iter()
        .map(|(group, version)| {
            let (group_priority, version_priority) = match (group.as_str(), version.as_str()) {
                // As upstream has it; there will be no other version.
                ("", _) => (versions::group_priority(""), 1),
                (group, version) => (versions::group_priority(group), versions::version_priority(version)),
            };
            object(group, version, ON_START, group_priority, version_priority)
        })
        .map(|object| (meta::name(&object).to_owned(), object))
        .collect();
    // At once: they share flushes of the store.
    let writes = wanted.iter().map(|(name, object)| ensure(registry, name, object, ON_START));
    for result in join_all(writes).await {
        result?;
    }
    remove_others(registry, ON_START, |name| wanted.contains_key(name)).await
}

/// Creates an APIService, or makes the one that is there what it is to be if it is the server's own.
async fn ensure(registry: &Registry, name: &str, wanted: &Value, by: &str) -> Result<()> {
    let resource = resource();
    let Some(found) = registry.get_value(&resource, "", name).await? else {
        return match registry.create(&resource, wanted.clone()).await {
            Err(status) if status.is_already_exists() => Ok(()),
            result => result.map(drop),
        };
    };
    // Made by somebody: theirs.
    if meta::label(&found, MANAGED).is_none() {
        return Ok(());
    }
    let update = registry.guaranteed_update(&resource, "", name, |current| {
        meta::set_label(current, MANAGED, by);
        value::copy(current, wanted, "spec");
        Ok(())
    });
    update.await.map(drop)
}

/// Deletes what is managed by this label and not to be kept.
async fn remove_others(registry: &Registry, by: &str, keep: impl Fn(&str) -> bool) -> Result<()> {
    for object in registry.list_values(&resource(), "").await? {
        let name = meta::name(&object);
        if meta::label(&object, MANAGED) == Some(by) && !keep(name) {
            remove(registry, name).await?;
        }
    }
    Ok(())
}

async fn remove(registry: &Registry, name: &str) -> Result<()> {
    match registry.remove(&resource(), "", name).await {
        Err(status) if status.is_not_found() => Ok(()),
        result => result.map(drop),
    }
}

fn resource() -> GroupResource {
    GroupResource::new(GROUP, "apiservices")
}

fn object(group: &str, version: &str, managed: &str, group_priority: i32, version_priority: i32) -> Value {
    let mut object = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {MANAGED: managed}},
        "spec": {
            "group": group, "version": version,
            "groupPriorityMinimum": group_priority, "versionPriority": version_priority,
        },
    });
    if group.is_empty()
        && let Some(spec) = value::object_mut(&mut object, "spec")
    {
        value::remove(spec, "group");
    }
    Condition::local().write(&mut object, jiff::Timestamp::now());
    object
}

/// The groups and versions of custom resources.
#[derive(Default)]
pub(super) struct Definitions {
    known: Mutex<Known>,
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Known {
    /// By key of the definition.
    served: BTreeMap<String, Vec<GroupVersion>>,
    /// How many definitions serve each.
    counts: BTreeMap<GroupVersion, usize>,
    /// What is to be looked at.
    changed: BTreeSet<GroupVersion>,
    /// Whether there may be APIServices of what was served before the definitions were told anew.
    anew: bool,
}

impl Known {
    /// Returns whether anything is to be looked at.
    fn change(&mut self, key: &str, served: Option<Vec<GroupVersion>>) -> bool {
        let new = served.clone().unwrap_or_default();
        let old = match served {
            Some(served) => self.served.insert(key.to_owned(), served),
            None => self.served.remove(key),
        };
        let old = old.unwrap_or_default();
        if old == new {
            return false;
        }
        for version in new.iter().filter(|version| !old.contains(version)) {
            *self.counts.entry(version.clone()).or_default() += 1;
            self.changed.insert(version.clone());
        }
        for version in old.into_iter().filter(|version| !new.contains(version)) {
            if let Some(count) = self.counts.get_mut(&version) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&version);
                }
            }
            self.changed.insert(version);
        }
        true
    }
}

impl Definitions {
    /// Makes the APIServices of the groups and versions that have changed what they are to be.
    ///
    /// # Errors
    /// When the store fails; what was not done is done by the next call.
    pub(super) async fn register(&self, registry: &Registry) -> Result<()> {
        let (anew, changed) = {
            let mut known = self.known.lock();
            (std::mem::take(&mut known.anew), std::mem::take(&mut known.changed))
        };
        let settled = join_all(changed.into_iter().map(|version| async move {
            let result = self.settle(registry, &version).await;
            (version, result)
        }));
        let mut result = Ok(());
        let mut left = Vec::new();
        for (version, settled) in settled.await {
            if settled.is_err() {
                left.push(version);
                result = settled;
            }
        }
        if anew && result.is_ok() {
            let counts = self.known.lock().counts.clone();
            let names: BTreeSet<String> =
                counts.keys().map(|(group, version)| format!("{version}.{group}")).collect();
            result = remove_others(registry, ALWAYS, |name| names.contains(name)).await;
        }
        if result.is_err() {
            let mut known = self.known.lock();
            known.anew |= anew;
            known.changed.extend(left);
        }
        result
    }

    /// Makes the APIService of one group and version what it is to be.
    async fn settle(&self, registry: &Registry, version: &GroupVersion) -> Result<()> {
        let wanted = self.known.lock().counts.contains_key(version);
        let (group, name) = version;
        let object = object(group, name, ALWAYS, CUSTOM_GROUP_PRIORITY, CUSTOM_VERSION_PRIORITY);
        let name = meta::name(&object);
        if wanted {
            return ensure(registry, name, &object, ALWAYS).await;
        }
        match registry.get_value(&resource(), "", name).await? {
            Some(found) if meta::label(&found, MANAGED) == Some(ALWAYS) => remove(registry, name).await,
            _ => Ok(()),
        }
    }

    fn change(&self, key: &str, served: Option<Vec<GroupVersion>>) {
        if self.known.lock().change(key, served) {
            self.changed.notify_one();
        }
    }
}

/// Takes definitions of custom resources.
pub(super) struct DefinitionsSink(pub(super) Arc<Definitions>);

impl Sink for DefinitionsSink {
    fn reset(&self, objects: &[Arc<Object>]) {
        {
            let mut known = self.0.known.lock();
            let gone: Vec<String> = known.served.keys().cloned().collect();
            for key in &gone {
                known.change(key, None);
            }
            for object in objects {
                known.change(&object.key, served(object));
            }
            known.anew = true;
        }
        self.0.changed.notify_one();
    }

    fn put(&self, object: &Object) {
        self.0.change(&object.key, served(object));
    }

    fn remove(&self, key: &str) {
        self.0.change(key, None);
    }
}

fn served(object: &Object) -> Option<Vec<GroupVersion>> {
    let definition = crate::registry::decode(object).ok()?;
    let spec = value::field(&definition, "spec");
    let group = value::text(spec, "group");
    let versions = value::list(spec, "versions").iter().filter(|version| value::is_true(version, "served"));
    Some(versions.map(|version| (group.to_owned(), value::text(version, "name").to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cached::testing::registry;
    use crate::registry::RuntimeConfig;

    #[tokio::test]
    async fn what_others_made_is_left_alone_and_what_is_managed_is_mended() {
        let registry = registry().await;
        let resource = resource();
        let mut theirs = object("apps", "v1", ON_START, 5, 5);
        meta::remove(&mut theirs, "labels");
        registry.create(&resource, theirs).await.unwrap();
        registry.create(&resource, object("batch", "v1", ON_START, 5, 5)).await.unwrap();
        registry.create(&resource, object("gone", "v1", ON_START, 5, 5)).await.unwrap();
        registry.create(&resource, object("custom", "v1", ALWAYS, 5, 5)).await.unwrap();
        register_built_in(&registry, &Resources::built_in(&RuntimeConfig::default())).await.unwrap();
        let priority = async |name: &str| {
            let found = registry.get_value(&resource, "", name).await.unwrap();
            found.map(|object| object["spec"]["groupPriorityMinimum"].as_i64().unwrap())
        };
        assert_eq!(priority("v1.apps").await, Some(5));
        assert_eq!(priority("v1.batch").await, Some(17400));
        assert_eq!(priority("v1.").await, Some(18000));
        assert_eq!(priority("v1.gone").await, None);
        assert_eq!(priority("v1.custom").await, Some(5));
        assert_eq!(priority("v1.apiregistration.k8s.io").await, None);
    }

    #[tokio::test]
    async fn a_change_of_a_definition_touches_the_api_services_of_its_versions_only() {
        let registry = registry().await;
        let definitions = Definitions::default();
        let version = |group: &str, version: &str| (group.to_owned(), version.to_owned());
        let names = async || {
            let all = registry.list_values(&resource(), "").await.unwrap();
            all.iter().map(|object| meta::name(object).to_owned()).collect::<Vec<_>>()
        };
        definitions.change("a", Some(vec![version("x", "v1"), version("x", "v2")]));
        definitions.change("b", Some(vec![version("x", "v1")]));
        definitions.change("c", Some(vec![version("y", "v1")]));
        definitions.register(&registry).await.unwrap();
        assert_eq!(names().await, ["v1.x", "v1.y", "v2.x"]);
        let revision = registry.storage().revision();
        definitions.change("a", None);
        // Still served by another one.
        assert_eq!(definitions.known.lock().changed.len(), 2);
        definitions.register(&registry).await.unwrap();
        assert_eq!(names().await, ["v1.x", "v1.y"]);
        assert_eq!(registry.storage().revision(), revision + 1);
        // The same once more is no change.
        definitions.change("b", Some(vec![version("x", "v1")]));
        assert!(definitions.known.lock().changed.is_empty());
        // Left over from before the definitions were told anew.
        registry.create(&resource(), object("gone", "v1", ALWAYS, 5, 5)).await.unwrap();
        definitions.known.lock().anew = true;
        definitions.register(&registry).await.unwrap();
        assert_eq!(names().await, ["v1.x", "v1.y"]);
    }
}
