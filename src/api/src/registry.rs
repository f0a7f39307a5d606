//! Every resource that the server has built in: the schema table joined with the kinds' behaviour.

use crate::kind::{GenericKind, Kind, KindRef, NameRule};
use apimachinery::gvk::{Gvk, Gvr};
use apimachinery::schema::SchemaRef;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{LazyLock, OnceLock};

use crate::versions;

/// A schema that is made when it is first looked at: most custom resources' never is.
pub type LazySchema = LazyLock<SchemaRef, Box<dyn FnOnce() -> SchemaRef + Send>>;

/// A subresource such as `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Name, such as `status`.
    pub name: String,
    /// What its bodies are, such as `autoscaling/v1 Scale`.
    pub gvk: Gvk,
    /// Verbs, as RBAC and discovery name them.
    pub verbs: &'static [&'static str],
}

/// One served group, version and resource.
pub struct Resource {
    /// Identity as a resource.
    pub gvr: Gvr,
    /// Identity as a kind.
    pub gvk: Gvk,
    /// The kind of lists, such as `PodList`.
    pub list_kind: String,
    /// Singular name, such as `pod`.
    pub singular: String,
    /// Short names, such as `po`.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Verbs, as RBAC and discovery name them.
    pub verbs: &'static [&'static str],
    /// Subresources, sorted by name.
    pub subresources: Vec<Subresource>,
    /// Behaviour.
    pub kind: KindRef,
    /// Form of the objects in this version.
    pub schema: LazySchema,
    /// Version that objects are stored in. See [`Resource::storage`] for the whole identity.
    pub storage_version: String,
    /// Resource under whose key and in whose version objects are stored. Differs from [`Resource::gvr`] in more
    /// than the version for `events.k8s.io`, whose objects are those of the core group.
    pub storage: Gvr,
}

impl Resource {
    /// A subresource by its name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether there is a `status` subresource, so that plain writes leave the status alone.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Whether objects are kept: reviews and the like are only answered.
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"get") && self.kind.group_kind() != ("", "ComponentStatus")
    }

    /// `apiVersion` of stored objects.
    pub fn storage_api_version(&self) -> String {
        self.storage.api_version()
    }

    /// Whether this is the version that objects are stored in, so that nothing needs conversion.
    pub fn is_storage_version(&self) -> bool {
        self.storage == self.gvr
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").field("gvr", &self.gvr).field("gvk", &self.gvk).finish_non_exhaustive()
    }
}

/// An API group with its versions, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name; empty for core.
    pub name: String,
    /// Versions in order of preference: the first is the preferred one.
    pub versions: Vec<String>,
}

/// All built-in resources.
#[derive(Debug)]
pub struct Registry {
    resources: Vec<Resource>,
    by_gvr: HashMap<Gvr, usize>,
    by_gvk: HashMap<Gvk, usize>,
    groups: Vec<Group>,
}

/// The built-in resources. Made once, on first use.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| Registry::new(crate::table::rows(), &crate::kinds()))
}

/// One row of the schema table: what the registry needs to know of a resource besides its kind's behaviour.
#[derive(Debug)]
pub struct Row {
    /// Identity as a resource.
    pub gvr: Gvr,
    /// Kind; of the same group and version.
    pub kind: String,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Subresources.
    pub subresources: Vec<Subresource>,
    /// Form of the objects.
    pub schema: SchemaRef,
}

impl Registry {
    /// Joins rows with behaviour. A kind without behaviour of its own gets a [`GenericKind`].
    pub fn new(rows: Vec<Row>, kinds: &[&'static dyn Kind]) -> Self {
        let behaviour: HashMap<(&str, &str), &'static dyn Kind> =
            kinds.iter().map(|kind| (kind.group_kind(), *kind)).collect();
        let mut versions: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Row { gvr, .. } in &rows {
            versions.entry((gvr.group.clone(), gvr.resource.clone())).or_default().push(gvr.version.clone());
            let of_group = groups.entry(gvr.group.clone()).or_default();
            if !of_group.contains(&gvr.version) {
                of_group.push(gvr.version.clone());
            }
        }
        for list in versions.values_mut().chain(groups.values_mut()) {
            list.sort_by(|a, b| versions::compare(b, a));
        }
        let mut resources: Vec<Resource> = rows
            .into_iter()
            .map(|row| {
                let Row { gvr, kind, namespaced, verbs, mut subresources, schema } = row;
                let behaviour = match behaviour.get(&(gvr.group.as_str(), kind.as_str())) {
                    Some(own) => *own,
                    None => generic(&gvr.group, &kind),
                };
                subresources.sort_by(|a, b| a.name.cmp(&b.name));
                let storage_version = versions
                    .get(&(gvr.group.clone(), gvr.resource.clone()))
                    .and_then(|all| all.first())
                    .unwrap_or(&gvr.version)
                    .clone();
                let storage = match (gvr.group.as_str(), gvr.resource.as_str()) {
                    ("events.k8s.io", "events") => Gvr::new("", "v1", "events"),
                    (group, resource) => Gvr::new(group, storage_version.clone(), resource),
                };
                Resource {
                    gvk: Gvk::new(gvr.group.clone(), gvr.version.clone(), kind.clone()),
                    list_kind: format!("{kind}List"),
                    singular: kind.to_lowercase(),
                    short_names: owned(behaviour.short_names()),
                    categories: owned(behaviour.categories()),
                    namespaced,
                    verbs,
                    subresources,
                    kind: KindRef::BuiltIn(behaviour),
                    schema: LazyLock::new(Box::new(move || schema)),
                    storage_version,
                    storage,
                    gvr,
                }
            })
            .collect();
        resources.sort_by(|a, b| a.gvr.cmp(&b.gvr));
        let by_gvr = resources.iter().enumerate().map(|(i, r)| (r.gvr.clone(), i)).collect();
        let by_gvk = resources.iter().enumerate().map(|(i, r)| (r.gvk.clone(), i)).collect();
        let mut groups: Vec<Group> =
            groups.into_iter().map(|(name, versions)| Group { name, versions }).collect();
        groups.sort_by_key(|g| (std::cmp::Reverse(versions::group_priority(&g.name)), g.name.clone()));
        Self { resources, by_gvr, by_gvk, groups }
    }

    /// Every resource, sorted by group, version and resource.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter()
    }

    /// The resource of a group, version and plural name.
    pub fn by_gvr(&self, gvr: &Gvr) -> Option<&Resource> {
        self.by_gvr.get(gvr).and_then(|i| self.resources.get(*i))
    }

    /// The resource whose objects are of a kind.
    pub fn by_gvk(&self, gvk: &Gvk) -> Option<&Resource> {
        self.by_gvk.get(gvk).and_then(|i| self.resources.get(*i))
    }

    /// The resource of a group and plural name in the version that it is stored in.
    pub fn stored(&self, group: &str, resource: &str) -> Option<&Resource> {
        self.resources.iter().find(|r| {
            r.gvr.group == group && r.gvr.resource == resource && r.gvr.version == r.storage_version
        })
    }

    /// Groups in the order in which discovery shows them; core is the first.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// A group by its name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|g| g.name == name)
    }

    /// The resources of one group and version, sorted by plural name.
    pub fn of_version<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Resource> {
        self.resources.iter().filter(move |r| r.gvr.group == group && r.gvr.version == version)
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Behaviour for a kind that has none of its own. Leaked: the registry is made once and lives as long as the
/// process.
fn generic(group: &str, kind: &str) -> &'static dyn Kind {
    Box::leak(Box::new(GenericKind {
        group: Box::leak(group.to_owned().into_boxed_str()),
        kind: Box::leak(kind.to_owned().into_boxed_str()),
        name_rule: NameRule::Dns1123Subdomain,
    }))
}
