//! The table of everything that is served.

use super::runtime_config::RuntimeConfig;
use super::served::{Served, Source};
use api::Resource;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// What is served of one group, by version and plural name.
pub type Group = HashMap<String, HashMap<String, Arc<Served>>>;

/// Resources by group, version and plural name. A copy shares what is in the groups.
#[derive(Clone, Default)]
pub struct Resources {
    by_name: HashMap<String, Arc<Group>>,
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
        Arc::make_mut(self.by_name.entry(gvr.group).or_default())
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
        // Objects of custom resources are served under one group only.
        let groups: Vec<&Arc<Group>> = match served.as_custom() {
            Some(_) => self.by_name.get(&served.gvr.group).into_iter().collect(),
            None => self.by_name.values().filter(|group| !is_custom(group)).collect(),
        };
        let resources = groups.into_iter().flat_map(|group| group.values()).flat_map(HashMap::values);
        let mut all: Vec<Arc<Served>> = resources.filter(same).cloned().collect();
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
        self.by_name.values().flat_map(|group| group.values()).flat_map(HashMap::values)
    }

    /// The groups, in no particular order. One that did not change is the same in the next table.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Arc<Group>)> {
        self.by_name.iter().map(|(name, group)| (name.as_str(), group))
    }

    /// One group.
    pub fn group(&self, name: &str) -> Option<&Arc<Group>> {
        self.by_name.get(name)
    }

    /// The resources of a group and version, sorted by name.
    pub fn of_version(&self, group: &str, version: &str) -> Vec<&Arc<Served>> {
        let found = self.by_name.get(group).and_then(|versions| versions.get(version));
        let mut all: Vec<&Arc<Served>> = found.into_iter().flat_map(HashMap::values).collect();
        all.sort_by(|a, b| a.gvr.resource.cmp(&b.gvr.resource));
        all
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

    /// From now on the custom resources of these groups are the ones given; those of other groups stay. None of them
    /// may be built in.
    pub fn serve(&self, groups: impl IntoIterator<Item = (String, Vec<Arc<Served>>)>) {
        let mut resources = Resources::clone(&self.load());
        for (group, custom) in groups {
            match self.built_in.by_name.get(&group) {
                Some(built_in) => drop(resources.by_name.insert(group, Arc::clone(built_in))),
                None => drop(resources.by_name.remove(&group)),
            }
            custom.into_iter().for_each(|served| resources.add(served));
        }
        *self.now.write() = Arc::new(resources);
    }

    /// Whether a resource is built in, in any version.
    pub fn is_built_in(&self, group: &str, resource: &str) -> bool {
        self.built_in.any_version(group, resource).is_some()
    }
}

/// Whether a group has custom resources only: built-in ones are not added to it.
fn is_custom(group: &Group) -> bool {
    group.values().flat_map(HashMap::values).all(|served| served.as_custom().is_some())
}

/// The resource whose version is stored.
fn hub(resource: &'static Resource) -> &'static Resource {
    api::registry().by_gvr(&resource.storage).unwrap_or(resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_nobody_touches_are_the_same_in_the_next_table() {
        let live = LiveResources::built_in(&RuntimeConfig::default());
        let before = live.load();
        let borrowed = Arc::clone(before.get("batch", "v1", "jobs").unwrap());
        live.serve([("apps".to_owned(), vec![borrowed])]);
        let after = live.load();
        for (name, group) in before.groups() {
            assert_eq!(Arc::ptr_eq(group, after.group(name).unwrap()), name != "batch", "{name}");
        }
        live.serve([("batch".to_owned(), Vec::new()), ("none.example.com".to_owned(), Vec::new())]);
        let last = live.load();
        assert_eq!(last.groups().count(), before.groups().count());
        assert!(Arc::ptr_eq(before.group("batch").unwrap(), last.group("batch").unwrap()));
    }
}
