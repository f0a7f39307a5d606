//! The table of everything that is served.

use super::runtime_config::RuntimeConfig;
use super::served::{Served, Source};
use api::Resource;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// Resources by group, version and plural name.
#[derive(Clone, Default)]
pub struct Resources {
    by_name: HashMap<String, HashMap<String, HashMap<String, Arc<Served>>>>,
}

impl Resources {
    /// What is served of the built-in table.
    pub fn built_in(config: &RuntimeConfig) -> Self {
        let mut resources = Self::default();
        for resource in api::registry().resources().filter(|resource| config.serves(&resource.gvr)) {
            resources.add(Served::new(Source::BuiltIn(resource), Source::BuiltIn(hub(resource))));
        }
        resources
    }

    /// Adds a resource, or replaces it.
    pub fn add(&mut self, served: impl Into<Arc<Served>>) {
        let served = served.into();
        let gvr = served.gvr.clone();
        self.by_name
            .entry(gvr.group)
            .or_default()
            .entry(gvr.version)
            .or_default()
            .insert(gvr.resource, served);
    }

    /// A resource.
    pub fn get(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Served>> {
        self.by_name.get(group)?.get(version)?.get(resource)
    }

    /// A resource in any version; the one that is stored where there is a choice.
    pub fn any_version(&self, group: &str, resource: &str) -> Option<&Arc<Served>> {
        let versions = self.by_name.get(group)?;
        let mut found = None;
        for served in versions.values().filter_map(|resources| resources.get(resource)) {
            if served.is_storage_version() {
                return Some(served);
            }
            found = Some(served);
        }
        found
    }

    /// The other versions and groups under which the objects of a resource are served, sorted.
    pub fn equivalents(&self, served: &Served) -> Vec<Arc<Served>> {
        let same = |other: &&Arc<Served>| other.stored_as() == served.stored_as() && other.gvr != served.gvr;
        let mut all: Vec<Arc<Served>> = self.iter().filter(same).cloned().collect();
        all.sort_by(|a, b| a.gvr.cmp(&b.gvr));
        all
    }

    /// Whether anything is served in a group and version.
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.by_name.get(group).is_some_and(|versions| versions.contains_key(version))
    }

    /// The resource of a kind.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Served>> {
        self.by_name.get(group)?.get(version)?.values().find(|served| served.gvk.kind == kind)
    }

    /// Everything, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.by_name.values().flat_map(HashMap::values).flat_map(HashMap::values)
    }
}

/// The table as it is now. Readers take it as a whole and keep it for as long as their request lasts.
pub struct LiveResources {
    built_in: Resources,
    now: RwLock<Arc<Resources>>,
}

impl LiveResources {
    /// What is served of the built-in table.
    pub fn built_in(config: &RuntimeConfig) -> Self {
        let built_in = Resources::built_in(config);
        Self { now: RwLock::new(Arc::new(built_in.clone())), built_in }
    }

    /// What is served now.
    pub fn load(&self) -> Arc<Resources> {
        Arc::clone(&self.now.read())
    }

    /// From now on these are served besides the built-in resources. None of them may be built in.
    pub fn serve(&self, custom: impl IntoIterator<Item = Arc<Served>>) {
        let mut resources = self.built_in.clone();
        custom.into_iter().for_each(|served| resources.add(served));
        *self.now.write() = Arc::new(resources);
    }

    /// Whether a resource is built in, in any version.
    pub fn is_built_in(&self, group: &str, resource: &str) -> bool {
        self.built_in.any_version(group, resource).is_some()
    }
}

/// The resource whose version is stored.
fn hub(resource: &'static Resource) -> &'static Resource {
    api::registry().by_gvr(&resource.storage).unwrap_or(resource)
}
