//! Follows definitions: decides on their names, serves what they define, tells so in their status, and has their
//! objects deleted before them.
//!
//! Names are decided within a group: a change leads to a look at the definitions of its group, and at no others.

use super::cleanup;
use super::definition::{Condition, Definition};
use super::names::{self, ESTABLISHED, NAMES_ACCEPTED, TERMINATING, Taken, Wanted};
use super::system;
use super::version::CustomResource;
use crate::ApiServer;
use crate::cached::{Feed, Sink};
use crate::registry::{self, Registry, Served};
use apimachinery::gvk::GroupResource;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use storage::{Object, StorageError};
use tokio::sync::watch;

/// How long a request waits for definitions that have just been written.
const SETTLE: Duration = Duration::from_secs(1);
/// Pause before a status that could not be written is written again.
const RETRY: Duration = Duration::from_secs(1);
/// Statuses written at once: they share flushes of the store.
const PARALLELISM: usize = 16;

/// The custom resources of the cluster.
pub(crate) struct CustomResources {
    feed: Feed,
    shared: Arc<Shared>,
}

/// What is known of definitions. The numbers count changes.
struct Shared {
    known: Mutex<Known>,
    changes: watch::Sender<u64>,
    processed: watch::Sender<u64>,
}

/// Definitions, and in which groups they have changed.
#[derive(Default)]
struct Known {
    /// By key.
    definitions: BTreeMap<String, Arc<Definition>>,
    /// Keys by group.
    groups: BTreeMap<String, BTreeSet<String>>,
    /// Groups to look at.
    changed: BTreeSet<String>,
}

impl Known {
    fn put(&mut self, object: Arc<Object>) {
        let key = object.key.to_string();
        match Definition::parse(object) {
            Ok(definition) => {
                self.groups.entry(definition.group.clone()).or_default().insert(key.clone());
                self.changed.insert(definition.group.clone());
                self.definitions.insert(key, Arc::new(definition));
            }
            Err(error) => tracing::warn!(key, %error, "a definition cannot be read"),
        }
    }

    fn remove(&mut self, key: &str) {
        let Some(definition) = self.definitions.remove(key) else { return };
        if let Some(keys) = self.groups.get_mut(&definition.group) {
            keys.remove(key);
            if keys.is_empty() {
                self.groups.remove(&definition.group);
            }
        }
        self.changed.insert(definition.group.clone());
    }

    fn reset(&mut self, objects: &[Arc<Object>]) {
        let gone: Vec<String> = self.definitions.keys().cloned().collect();
        gone.iter().for_each(|key| self.remove(key));
        objects.iter().for_each(|object| self.put(Arc::clone(object)));
    }

    /// The groups that changed since the last call, with all their definitions: who was first comes first.
    fn take(&mut self) -> Vec<(String, Vec<Arc<Definition>>)> {
        let changed = std::mem::take(&mut self.changed);
        let with_definitions = changed.into_iter().map(|group| {
            let keys = self.groups.get(&group).into_iter().flatten();
            let mut all: Vec<Arc<Definition>> =
                keys.filter_map(|key| self.definitions.get(key)).cloned().collect();
            all.sort_by_key(|definition| definition.object.create_revision);
            (group, all)
        });
        with_definitions.collect()
    }
}

impl CustomResources {
    /// Begins to follow definitions.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn start(registry: &Registry) -> std::result::Result<Self, StorageError> {
        let shared = Arc::new(Shared {
            known: Mutex::default(),
            changes: watch::Sender::new(0),
            processed: watch::Sender::new(0),
        });
        let prefix = registry::prefix(&system::definitions(), "");
        let feed = Feed::start(Arc::clone(registry.storage()), prefix, Follower(Arc::clone(&shared))).await?;
        Ok(Self { feed, shared })
    }

    /// Serves what is defined, from now until the server ends.
    pub(crate) fn serve(&self, server: &ApiServer) {
        let mut pass = Pass::new(server.clone(), Arc::clone(&self.shared));
        // Before the first pass: what changes until the task runs is none that it has seen.
        let mut changes = self.shared.changes.subscribe();
        pass.run();
        tokio::spawn(async move {
            let mut pending = pass.write().await;
            loop {
                tokio::select! {
                    () = pass.server.ended() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(RETRY), if pending => {}
                }
                pass.run();
                pending = pass.write().await;
            }
        });
    }

    /// Waits until every definition that was written before the call is served. Returns whether there was anything
    /// to wait for.
    pub(crate) async fn settle(&self) -> bool {
        self.feed.catch_up();
        let seen = *self.shared.changes.borrow();
        let mut processed = self.shared.processed.subscribe();
        if *processed.borrow() >= seen {
            return false;
        }
        tokio::time::timeout(SETTLE, processed.wait_for(|done| *done >= seen)).await.is_ok()
    }
}

struct Follower(Arc<Shared>);

impl Follower {
    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.known.lock());
        self.0.changes.send_modify(|count| *count += 1);
    }
}

impl Sink for Follower {
    fn reset(&self, objects: &[Arc<Object>]) {
        self.change(|known| known.reset(objects));
    }

    fn put(&self, object: &Object) {
        self.change(|known| known.put(Arc::new(object.clone())));
    }

    fn remove(&self, key: &str) {
        self.change(|known| known.remove(key));
    }
}

/// What was made of the definitions at the last pass.
struct Pass {
    server: ApiServer,
    shared: Arc<Shared>,
    /// By group and by name of the definition.
    current: HashMap<String, HashMap<String, Current>>,
    /// Statuses to write.
    due: Vec<(Arc<Definition>, Wanted)>,
    /// Uids of definitions whose objects are being deleted.
    cleaning: Arc<Mutex<HashSet<String>>>,
    first: bool,
}

struct Current {
    /// As it is served: with the names that it was given.
    definition: Arc<Definition>,
    resource: Arc<CustomResource>,
    served: Vec<Arc<Served>>,
    clean_after: u64,
}

impl Pass {
    fn new(server: ApiServer, shared: Arc<Shared>) -> Self {
        Self {
            server,
            shared,
            current: HashMap::new(),
            due: Vec::new(),
            cleaning: Arc::default(),
            first: true,
        }
    }

    /// Looks at the groups that have changed and serves what their definitions define.
    fn run(&mut self) {
        let seen = *self.shared.changes.borrow();
        let groups = self.shared.known.lock().take();
        let now = jiff::Timestamp::now();
        let mut gone = Vec::new();
        let mut changed = Vec::new();
        for (group, definitions) in groups {
            let mut taken = Taken::default();
            definitions.iter().for_each(|definition| taken.add(&definition.accepted));
            let mut last = self.current.remove(&group).unwrap_or_default();
            let mut served_otherwise = false;
            let mut all = HashMap::new();
            for definition in definitions {
                let known = last.remove(&definition.name);
                let violations = self.violations(&definition, known.as_ref());
                let wanted = names::wanted(&definition, &taken, violations.as_deref(), now);
                taken.add(&wanted.accepted);
                if wanted.accepted != definition.accepted || wanted.conditions != definition.conditions {
                    self.due.push((Arc::clone(&definition), wanted.clone()));
                }
                let current = match known {
                    Some(current) if is_same(&current.definition, &definition, &wanted) => current,
                    known => {
                        served_otherwise = true;
                        self.make(&definition, wanted, known)
                    }
                };
                self.clean_up(&definition, &current.resource);
                all.insert(definition.name.clone(), current);
            }
            if served_otherwise || !last.is_empty() {
                let served = all.values().flat_map(|current| current.served.iter().cloned()).collect();
                changed.push((group.clone(), served));
            }
            gone.extend(last.into_values());
            if !all.is_empty() {
                self.current.insert(group, all);
            }
        }
        if !changed.is_empty() {
            self.server.live_resources().serve(changed);
        }
        // Only now: whoever comes back finds what took their place.
        for gone in gone {
            gone.resource.superseded.cancel();
        }
        self.first = false;
        self.shared.processed.send_replace(seen);
    }

    fn make(&self, definition: &Definition, wanted: Wanted, known: Option<Current>) -> Current {
        let known = known.filter(|known| known.definition.uid == definition.uid);
        let clean_after = match &known {
            _ if self.first => definition.object.revision,
            Some(known) if known.definition.generation == definition.generation => known.clean_after,
            _ => self.server.registry().storage().revision(),
        };
        let definition = Arc::new(Definition {
            accepted: wanted.accepted,
            conditions: wanted.conditions,
            ..definition.clone()
        });
        let superseded = self.server.shutdown_token().child_token();
        let resource =
            CustomResource::new(Arc::clone(&definition), clean_after, self.server.outbound(), superseded);
        let GroupResource { group, resource: plural } = names::resource(&definition);
        let serves = definition.is(ESTABLISHED) && !self.server.live_resources().is_built_in(&group, &plural);
        let served = if serves { resource.served() } else { Vec::new() };
        if let Some(known) = known {
            known.resource.superseded.cancel();
        }
        Current { definition, resource, served, clean_after }
    }

    /// What makes the schemas of a definition that is new or has changed no structural ones.
    fn violations(&self, definition: &Definition, known: Option<&Current>) -> Option<String> {
        let looked = known.is_some_and(|known| {
            known.definition.uid == definition.uid && known.definition.generation == definition.generation
        });
        if self.first || looked { None } else { Some(super::structure::violations(definition)) }
    }

    fn clean_up(&self, definition: &Definition, resource: &Arc<CustomResource>) {
        let due = definition.deleting && definition.cleans_up;
        if !due || !self.cleaning.lock().insert(definition.uid.clone()) {
            return;
        }
        let (server, resource) = (self.server.clone(), Arc::clone(resource));
        let (cleaning, uid) = (Arc::clone(&self.cleaning), definition.uid.clone());
        tokio::spawn(async move {
            cleanup::run(&server, &resource).await;
            cleaning.lock().remove(&uid);
        });
    }

    /// Writes the statuses that are due. Returns whether some could not be written.
    async fn write(&mut self) -> bool {
        let server = &self.server;
        let work = self.due.drain(..).map(|(definition, wanted)| async move {
            let result = system::update_status(server, &definition.name, |object| {
                apply(object, &definition, &wanted);
            });
            match result.await {
                Ok(()) => None,
                Err(status) if status.is_not_found() => None,
                Err(status) => {
                    tracing::warn!(definition = definition.name, %status, "cannot write a status");
                    Some(definition.group.clone())
                }
            }
        });
        let mut work = futures::stream::iter(work).buffer_unordered(PARALLELISM);
        let mut failed = Vec::new();
        while let Some(one) = work.next().await {
            failed.extend(one);
        }
        let pending = !failed.is_empty();
        self.shared.known.lock().changed.extend(failed);
        pending
    }
}

/// Whether what is served of a definition stays as it is.
fn is_same(current: &Definition, definition: &Definition, wanted: &Wanted) -> bool {
    current.uid == definition.uid
        && current.generation == definition.generation
        && current.accepted == wanted.accepted
        && current.is(ESTABLISHED) == wanted.is(ESTABLISHED)
        && current.is(TERMINATING) == wanted.is(TERMINATING)
}

/// Brings a status to what is wanted, unless the definition has changed since.
fn apply(object: &mut Value, definition: &Definition, wanted: &Wanted) {
    let metadata = api::value::field(object, "metadata");
    if api::value::text(metadata, "uid") != definition.uid
        || api::value::int(metadata, "generation").unwrap_or(0) != definition.generation
    {
        return;
    }
    let Some(status) = api::value::ensure_object(object, "status") else { return };
    let conditions = api::value::field(status, "conditions").clone();
    let mut conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap_or_default();
    // Others are written by whoever deletes the objects.
    conditions.retain(|known| {
        known.kind == TERMINATING || wanted.conditions.iter().any(|condition| condition.kind == known.kind)
    });
    for condition in wanted.conditions.iter().filter(|condition| condition.kind != TERMINATING) {
        match conditions.iter_mut().find(|known| known.kind == condition.kind) {
            Some(known) => known.clone_from(condition),
            None => conditions.push(condition.clone()),
        }
    }
    api::value::set(status, "conditions", serde_json::to_value(conditions).unwrap_or_default());
    if wanted.conditions.iter().any(|condition| condition.kind == NAMES_ACCEPTED) {
        api::value::set(status, "acceptedNames", serde_json::to_value(&wanted.accepted).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A definition as it is stored, the `revision`-th write.
    fn stored(group: &str, plural: &str, revision: u64) -> Arc<Object> {
        let value = json!({
            "metadata": {"name": format!("{plural}.{group}"), "uid": "u", "generation": 1},
            "spec": {
                "group": group, "scope": "Namespaced", "versions": [],
                "names": {"plural": plural, "kind": plural},
            },
        });
        Arc::new(Object {
            key: format!("/registry/definitions/{plural}.{group}").into(),
            value: value.to_string().into_bytes().into(),
            revision,
            create_revision: revision,
            splice_at: 0,
            attrs: storage::Attrs::default(),
        })
    }

    fn names(taken: &[(String, Vec<Arc<Definition>>)]) -> Vec<&str> {
        taken.iter().flat_map(|(_, all)| all).map(|definition| definition.name.as_str()).collect()
    }

    #[test]
    fn five_hundred_definitions_of_as_many_groups_are_looked_at_once_each() {
        let mut known = Known::default();
        let mut looked = 0;
        for number in 0..500 {
            known.put(stored(&format!("g{number}.example.com"), "things", number));
            looked += known.take().iter().map(|(_, all)| all.len()).sum::<usize>();
        }
        assert_eq!(looked, 500);
        assert!(known.take().is_empty());
    }

    #[test]
    fn a_change_is_told_with_all_of_its_group_in_order_of_creation() {
        let mut known = Known::default();
        known.reset(&[stored("a.com", "y", 1), stored("a.com", "x", 2), stored("b.com", "x", 3)]);
        assert_eq!(names(&known.take()), ["y.a.com", "x.a.com", "x.b.com"]);
        known.put(stored("a.com", "w", 4));
        assert_eq!(names(&known.take()), ["y.a.com", "x.a.com", "w.a.com"]);
        known.remove("/registry/definitions/x.b.com");
        let taken = known.take();
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].0.as_str(), taken[0].1.len()), ("b.com", 0));
        // What is not there any more when everything is told anew has changed as well.
        known.reset(&[stored("b.com", "x", 5)]);
        let taken = known.take();
        assert_eq!(taken.iter().map(|(group, _)| group.as_str()).collect::<Vec<_>>(), ["a.com", "b.com"]);
        assert_eq!(names(&taken), ["x.b.com"]);
    }
}
