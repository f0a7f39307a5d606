//! The table of everything that is served.

use super::served::{Served, Source};
use api::Resource;
use std::collections::HashMap;
use std::sync::Arc;

/// Resources by group, version and plural name.
#[derive(Clone, Default)]
pub struct Resources {
    by_name: HashMap<String, HashMap<String, HashMap<String, Arc<Served>>>>,
}

impl Resources {
    /// Everything in the built-in table.
    pub fn built_in() -> Self {
        let mut resources = Self::default();
        for resource in api::registry().resources() {
            resources.add(Served::new(Source::BuiltIn(resource), Source::BuiltIn(hub(resource))));
        }
        resources
    }

    /// Adds a resource, or replaces it.
    pub fn add(&mut self, served: Served) {
        let gvr = served.gvr.clone();
        self.by_name
            .entry(gvr.group)
            .or_default()
            .entry(gvr.version)
            .or_default()
            .insert(gvr.resource, Arc::new(served));
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
            if !served.converts() {
                return Some(served);
            }
            found = Some(served);
        }
        found
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

/// The resource whose version is stored.
fn hub(resource: &'static Resource) -> &'static Resource {
    api::registry().by_gvr(&resource.storage).unwrap_or(resource)
}
