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
    synchronize(registry, &wanted, ON_START).await
}

/// Creates what is missing, updates what is managed, deletes what is managed by this label and not wanted.
async fn synchronize(registry: &Registry, wanted: &BTreeMap<String, Value>, by: &str) -> Result<()> {
    let resource = resource();
    let existing = registry.list_values(&resource, "").await?;
    let found: BTreeMap<&str, &Value> = existing.iter().map(|object| (meta::name(object), object)).collect();
    let resource = &resource;
    let writes = wanted.iter().map(|(name, object)| {
        let found = found.get(name.as_str()).copied();
        async move {
            match found {
                None => match registry.create(resource, object.clone()).await {
                    Err(status) if status.is_already_exists() => Ok(()),
                    result => result.map(drop),
                },
                // Made by somebody: theirs.
                Some(found) if meta::label(found, MANAGED).is_none() => Ok(()),
                Some(_) => {
                    let update = registry.guaranteed_update(resource, "", name, |current| {
                        meta::set_label(current, MANAGED, by);
                        value::copy(current, object, "spec");
                        Ok(())
                    });
                    update.await.map(drop)
                }
            }
        }
    });
    for result in join_all(writes).await {
        result?;
    }
    for object in &existing {
        let name = meta::name(object);
        if meta::label(object, MANAGED) == Some(by) && !wanted.contains_key(name) {
            match registry.remove(resource, "", name).await {
                Err(status) if status.is_not_found() => {}
                result => drop(result?),
            }
        }
    }
    Ok(())
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

/// The groups and versions of custom resources, by definition.
#[derive(Default)]
pub(super) struct Definitions {
    served: Mutex<BTreeMap<String, Vec<GroupVersion>>>,
    pub(super) changed: Notify,
}

impl Definitions {
    /// Makes the APIServices of custom resources what they are to be.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn register(&self, registry: &Registry) -> Result<()> {
        let served: BTreeSet<GroupVersion> = self.served.lock().values().flatten().cloned().collect();
        let wanted = served.iter().map(|(group, version)| {
            object(group, version, ALWAYS, CUSTOM_GROUP_PRIORITY, CUSTOM_VERSION_PRIORITY)
        });
        let wanted = wanted.map(|object| (meta::name(&object).to_owned(), object)).collect();
        synchronize(registry, &wanted, ALWAYS).await
    }

    fn change(&self, key: &str, served: Option<Vec<GroupVersion>>) {
        let mut all = self.served.lock();
        let old = match &served {
            Some(served) => all.insert(key.to_owned(), served.clone()),
            None => all.remove(key),
        };
        drop(all);
        if old != served {
            self.changed.notify_one();
        }
    }
}

/// Takes definitions of custom resources.
pub(super) struct DefinitionsSink(pub(super) Arc<Definitions>);

impl Sink for DefinitionsSink {
    fn reset(&self, objects: &[Arc<Object>]) {
        let all = objects.iter().filter_map(|object| Some((object.key.to_string(), served(object)?)));
        *self.0.served.lock() = all.collect();
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
}
