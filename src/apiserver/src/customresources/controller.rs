//! Follows definitions: decides on their names, serves what they define, tells so in their status, and has their
//! objects deleted before them.
//!
//! Every change leads to one pass over all definitions: there are at most hundreds, and names are decided among them.

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
use std::collections::{BTreeMap, HashMap, HashSet};
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

#[derive(Default)]
struct Known {
    /// By key.
    definitions: BTreeMap<String, Arc<Definition>>,
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
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<Definition>>)) {
        change(&mut self.0.known.lock().definitions);
        self.0.changes.send_modify(|count| *count += 1);
    }
}

fn put(definitions: &mut BTreeMap<String, Arc<Definition>>, object: Arc<Object>) {
    let key = object.key.to_string();
    match Definition::parse(object) {
        Ok(definition) => {
            definitions.insert(key, Arc::new(definition));
        }
        Err(error) => tracing::warn!(key, %error, "a definition cannot be read"),
    }
}

impl Sink for Follower {
    fn reset(&self, objects: &[Arc<Object>]) {
        self.change(|definitions| {
            definitions.clear();
            objects.iter().for_each(|object| put(definitions, Arc::clone(object)));
        });
    }

    fn put(&self, object: &Object) {
        self.change(|definitions| put(definitions, Arc::new(object.clone())));
    }

    fn remove(&self, key: &str) {
        self.change(|definitions| {
            definitions.remove(key);
        });
    }
}

/// What was made of the definitions at the last pass.
struct Pass {
    server: ApiServer,
    shared: Arc<Shared>,
    /// By name of the definition.
    current: HashMap<String, Current>,
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

    /// Looks at all definitions and serves what they define.
    fn run(&mut self) {
        let seen = *self.shared.changes.borrow();
        let mut definitions: Vec<Arc<Definition>> =
            self.shared.known.lock().definitions.values().cloned().collect();
        // Who was first has the names.
        definitions.sort_by_key(|definition| definition.object.create_revision);
        let now = jiff::Timestamp::now();
        let mut taken: HashMap<String, Taken> = HashMap::new();
        for definition in &definitions {
            taken.entry(definition.group.clone()).or_default().add(&definition.accepted);
        }
        self.due.clear();
        let mut last = std::mem::take(&mut self.current);
        let mut changed = false;
        for definition in definitions {
            let names = taken.entry(definition.group.clone()).or_default();
            let known = last.remove(&definition.name);
            let violations = self.violations(&definition, known.as_ref());
            let wanted = names::wanted(&definition, names, violations.as_deref(), now);
            names.add(&wanted.accepted);
            if wanted.accepted != definition.accepted || wanted.conditions != definition.conditions {
                self.due.push((Arc::clone(&definition), wanted.clone()));
            }
            let current = match known {
                Some(current) if is_same(&current.definition, &definition, &wanted) => current,
                known => {
                    changed = true;
                    self.make(&definition, wanted, known)
                }
            };
            self.clean_up(&definition, &current.resource);
            self.current.insert(definition.name.clone(), current);
        }
        changed |= !last.is_empty();
        if changed {
            let served = self.current.values().flat_map(|current| current.served.iter().cloned());
            self.server.live_resources().serve(served);
        }
        // Only now: whoever comes back finds what took their place.
        for gone in last.into_values() {
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
                Ok(()) => false,
                Err(status) if status.is_not_found() => false,
                Err(status) => {
                    tracing::warn!(definition = definition.name, %status, "cannot write a status");
                    true
                }
            }
        });
        let mut work = futures::stream::iter(work).buffer_unordered(PARALLELISM);
        let mut failed = false;
        while let Some(one) = work.next().await {
            failed |= one;
        }
        failed
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
