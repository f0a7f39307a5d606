//! Watches of every resource that is served.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use client::{
    ObjectKey, Rest, discovery,
    discovery::Discovered,
    reflector::{self, Change, ListWatch, Sink},
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::graph::{Graph, Object, Uid};
use crate::framework::Keys;

/// Resources are asked for again after this time, besides whenever CustomResourceDefinitions or APIServices
/// change: an extension API server can change what it serves without telling.
const REDISCOVER: Duration = Duration::from_secs(600);
/// Pause between a change of the definitions and asking: the API server must have taken it in, and definitions
/// come in droves.
const SETTLE: Duration = Duration::from_millis(500);
/// Pause after discovery failed.
const RETRY: Duration = Duration::from_secs(5);

/// Pause before looking at objects while some resource has not been listed.
const LISTING_DELAY: Duration = Duration::from_secs(2);

/// Resources without owners or dependents that come in large numbers; upstream leaves them out, too.
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];
/// Resources whose changes change what is served.
const DEFINITIONS: [&str; 2] = [
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/apiregistration.k8s.io/v1/apiservices",
];

/// What the monitors feed.
pub(super) struct Shared {
    pub(super) graph: Mutex<Graph>,
    pub(super) discovered: RwLock<Discovered>,
    definitions_changed: Notify,
    // Monitors that have not delivered their first list.
    unsynced: AtomicUsize,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            graph: Mutex::default(),
            discovered: RwLock::default(),
            definitions_changed: Notify::new(),
            unsynced: AtomicUsize::new(0),
        })
    }
}

/// Keeps one watch per served resource until `stop`.
pub(super) async fn run(rest: Rest, shared: Arc<Shared>, keys: Keys, stop: CancellationToken) {
    let mut monitors: HashMap<String, CancellationToken> = HashMap::new();
    loop {
        let pause = match discovery::discover(&rest).await {
            Ok(discovered) => {
                adjust(&rest, &shared, &keys, &stop, &mut monitors, &discovered);
                *shared.discovered.write() = discovered;
                REDISCOVER
            }
            Err(error) => {
                tracing::warn!("garbage collector: discovery failed: {error}");
                RETRY
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = shared.definitions_changed.notified() => tokio::time::sleep(SETTLE).await,
        }
    }
}

fn adjust(
    rest: &Rest,
    shared: &Arc<Shared>,
    keys: &Keys,
    stop: &CancellationToken,
    monitors: &mut HashMap<String, CancellationToken>,
    discovered: &Discovered,
) {
    let ignored =
        |group: &str, plural: &str| IGNORED.iter().any(|(known, name)| *known == group && *name == plural);
    let paths: HashSet<String> = discovered
        .resources
        .iter()
        .filter(|served| {
            served.supports(&["list", "watch", "delete"]) && !ignored(&served.group, &served.plural)
        })
        .map(|served| served.path(""))
        .collect();
    // A group that does not answer at the moment keeps its monitors: its objects have not gone.
    let stale =
        |path: &String| discovered.stale.iter().any(|version| path.starts_with(&format!("/apis/{version}/")));
    monitors.retain(|path, cancel| {
        let keep = paths.contains(path) || stale(path);
        if !keep {
            cancel.cancel();
        }
        keep
    });
    for path in paths {
        if monitors.contains_key(&path) {
            continue;
        }
        let cancel = stop.child_token();
        monitors.insert(path.clone(), cancel.clone());
        shared.unsynced.fetch_add(1, Ordering::AcqRel);
        let mut monitor = Monitor {
            definitions: DEFINITIONS.contains(&path.as_str()),
            resource: path.as_str().into(),
            shared: shared.clone(),
            keys: keys.clone(),
            known: HashSet::new(),
            listed: HashSet::new(),
            synced: false,
        };
        let target = ListWatch { path, metadata_only: true, ..ListWatch::default() };
        let client = rest.client().clone();
        tokio::spawn(async move {
            reflector::run(client, target, &mut monitor, &cancel).await;
            // The resource is not served any more: neither are its objects.
            monitor.forget_all();
        });
    }
}

/// Feeds the graph with the objects of one resource.
struct Monitor {
    resource: Arc<str>,
    shared: Arc<Shared>,
    keys: Keys,
    known: HashSet<Uid>,
    listed: HashSet<Uid>,
    synced: bool,
    definitions: bool,
}

impl Monitor {
    fn observe(&mut self, json: &str) -> Option<(Uid, Object)> {
        let object: Object = match serde_json::from_str(json) {
            Ok(object) => object,
            Err(error) => {
                tracing::error!(resource = &*self.resource, "garbage collector: cannot decode: {error}");
                return None;
            }
        };
        let look = self.shared.graph.lock().observe(&self.resource, &object.metadata);
        let uid = Uid::new(&object.metadata.uid);
        self.known.insert(uid);
        self.look_at(look);
        Some((uid, object))
    }

    fn forget(&mut self, uid: Uid) {
        if self.known.remove(&uid) {
            let look = self.shared.graph.lock().forget(uid);
            self.look_at(look);
        }
    }

    fn forget_all(&mut self) {
        for uid in std::mem::take(&mut self.known) {
            let look = self.shared.graph.lock().forget(uid);
            self.look_at(look);
        }
        self.set_synced();
    }

    fn look_at(&self, uids: Vec<String>) {
        // While resources are being listed, most owners are unknown only because they come later.
        let listing = self.shared.unsynced.load(Ordering::Acquire) > 0;
        let delay = if listing { LISTING_DELAY } else { Duration::ZERO };
        for uid in uids {
            self.keys.add_after(ObjectKey::cluster(uid), delay);
        }
    }

    fn set_synced(&mut self) {
        if !std::mem::replace(&mut self.synced, true) {
            self.shared.unsynced.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Sink for Monitor {
    fn list_started(&mut self) {
        self.listed.clear();
    }

    fn list_item(&mut self, json: &str) {
        if let Some((uid, _)) = self.observe(json) {
            self.listed.insert(uid);
        }
    }

    fn list_finished(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        let gone: Vec<Uid> = self.known.difference(&listed).copied().collect();
        for uid in gone {
            self.forget(uid);
        }
        self.set_synced();
        if self.definitions {
            self.shared.definitions_changed.notify_one();
        }
    }

    fn event(&mut self, change: Change, json: &str) -> Option<String> {
        if self.definitions {
            self.shared.definitions_changed.notify_one();
        }
        if change == Change::Deleted {
            let object: Object = serde_json::from_str(json).ok()?;
            self.forget(Uid::new(&object.metadata.uid));
            return Some(object.metadata.resource_version);
        }
        self.observe(json).map(|(_, object)| object.metadata.resource_version)
    }

    fn not_served(&mut self) {
        // Gone before discovery said so: it must not hold up everything else.
        self.set_synced();
    }
}
