//! One simulated node: a runtime whose clock stands still unless it is told to go on, a disk, a datastore, clients.

use crate::clients::{Client, Habits};
use crate::disk::{Disk, End};
use crate::network::{self, Arrival, Line, address};
use crate::observe::Observer;
use crate::{disk, history, trace};
use datastore::raft::{Cluster, ClusterOptions, Endpoint, Goal, Member, Role, Ticket, Timing};
use datastore::{Datastore, Executor, Limits, Options};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use storage::{MetadataExtractor, Storage};
use tokio::runtime::{Builder, Runtime};

/// What all nodes of a run have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) network: network::Shared,
    pub(crate) history: history::Shared,
    pub(crate) timing: Timing,
    pub(crate) goal: Goal,
    pub(crate) limits: Limits,
    pub(crate) habits: Habits,
    pub(crate) clients: u64,
}

/// Where a node stands in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has never been, or is no longer, a part of it.
    Outside,
    /// It has, or had, a number.
    Inside,
}

/// What tasks on the node's runtime have brought about.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) store: Option<Arc<Datastore>>,
    pub(crate) failed: Option<String>,
    pub(crate) stopped: bool,
}

/// Waits on the simulated disk in place of threads.
#[derive(Debug)]
struct Turns(PathBuf);

impl Executor for Turns {
    fn turn(&self) -> BoxFuture<'static, ()> {
        let wait = disk::of(&self.0).map_or(0, |disk| disk.latency());
        Box::pin(async move {
            if wait > 0 {
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
        })
    }

    fn write_again(&self, file: &Path) -> std::io::Result<()> {
        let (Some(disk), Some(name)) = (disk::of(&self.0), file.to_str()) else { return Ok(()) };
        disk.write_again(name).map_err(|fault| std::io::Error::other(format!("{fault:?}")))
    }

    fn now_millis(&self) -> u64 {
        trace::now()
    }
}

pub(crate) struct Node {
    pub(crate) place: usize,
    directory: PathBuf,
    pub(crate) disk: Rc<Disk>,
    runtime: Option<Runtime>,
    pub(crate) slot: Arc<Mutex<Slot>>,
    pub(crate) standing: Standing,
    pub(crate) incarnation: u64,
    ticket: Option<Ticket>,
    /// When a node that is down starts again.
    pub(crate) starts_at: Option<u64>,
    /// Until when it does not run, as a virtual machine that is paused.
    pub(crate) frozen_until: u64,
    /// Thousandths of a millisecond that its clock advances in one.
    pub(crate) rate: u64,
    debt: u64,
    pub(crate) observer: Option<Observer>,
    /// The term that it led when it was looked at before.
    led: Option<u64>,
    common: Common,
}

impl Node {
    pub(crate) fn new(place: usize, root: &Path, common: &Common) -> Self {
        let directory = root.join(address(place));
        Self {
            place,
            disk: Disk::new(&directory),
            directory,
            runtime: None,
            slot: Arc::default(),
            standing: Standing::Outside,
            incarnation: 0,
            ticket: None,
            starts_at: None,
            frozen_until: 0,
            rate: 1000,
            debt: 0,
            observer: None,
            led: None,
            common: common.clone(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.runtime.is_some()
    }

    pub(crate) fn store(&self) -> Option<Arc<Datastore>> {
        self.slot.lock().store.clone()
    }

    pub(crate) fn cluster(&self) -> Option<Arc<Cluster>> {
        self.store()?.joined().cloned()
    }

    pub(crate) fn member(&self) -> Member {
        let name = address(self.place);
        Member { name: name.clone(), address: name, failure_domain: String::new() }
    }

    /// Gives it a number, for its first start.
    pub(crate) fn invite(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
        self.standing = Standing::Inside;
    }

    /// Starts it on what is on its disk.
    pub(crate) fn start(&mut self, seed: u64) {
        self.incarnation += 1;
        self.starts_at = None;
        self.disk.revive();
        self.slot = Arc::default();
        trace::event(format_args!("n{} starts", self.place + 1));
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime can be made");
        let transport = Arc::new(Line {
            from: self.place,
            network: Arc::clone(&self.common.network),
            directory: self.directory.clone(),
        });
        let cluster = ClusterOptions {
            member: self.member(),
            transport,
            timing: self.common.timing,
            goal: self.common.goal,
            ticket: self.ticket.clone(),
        };
        let options = Options {
            extractor: Arc::new(MetadataExtractor),
            compaction_interval: None,
            cluster: Some(cluster),
            limits: self.common.limits,
            executor: Some(Arc::new(Turns(self.directory.clone()))),
            ..Options::default()
        };
        let (slot, directory, common) = (Arc::clone(&self.slot), self.directory.clone(), self.common.clone());
        let first = (self.place as u64 + 1) * 1_000_000 + self.incarnation * 1000;
        runtime.spawn(async move {
            match Datastore::open(directory.clone(), options).await {
                Ok(store) => {
                    for n in 0..common.clients {
                        let client = |number: u64| {
                            let history = Arc::clone(&common.history);
                            let seed = seed.wrapping_add(number);
                            Client::new(number, seed, &store, directory.clone(), history, common.habits)
                        };
                        tokio::spawn(client(first + n).run());
                        if n == 0 {
                            tokio::spawn(client(first + 500).watch(store.revision()));
                        }
                    }
                    slot.lock().store = Some(store);
                }
                Err(error) => slot.lock().failed = Some(error.to_string()),
            }
        });
        self.runtime = Some(runtime);
    }

    /// Runs something on the node.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    /// Hands a message to the node.
    pub(crate) fn deliver(&self, arrival: Arrival) {
        let network = Arc::clone(&self.common.network);
        let Some(cluster) = self.cluster().filter(|_| self.is_up()) else {
            return network.lock().refuse(&arrival);
        };
        let directory = self.directory.clone();
        self.spawn(async move {
            let reply = cluster.serve(arrival.request.clone()).await;
            if disk::of(&directory).is_some_and(|disk| !disk.dead.get()) {
                network.lock().reply(&arrival, reply);
            }
        });
    }

    /// Lets the node live for a millisecond, by its own clock.
    pub(crate) fn tick(&mut self) {
        let Some(runtime) = &self.runtime else { return };
        if trace::now() < self.frozen_until {
            return;
        }
        self.debt += self.rate;
        while self.debt >= 1000 {
            self.debt -= 1000;
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        }
    }

    /// Moves its clock forward at once.
    pub(crate) fn jump(&self, by: Duration) {
        if let Some(runtime) = &self.runtime {
            runtime.block_on(tokio::time::advance(by));
        }
    }

    /// Ends it, without a word.
    pub(crate) fn end(&mut self, how: End) {
        trace::event(format_args!("n{} ends: {how:?}", self.place + 1));
        self.disk.end(how);
        self.observer = None;
        self.slot = Arc::default();
        self.runtime = None;
        self.frozen_until = 0;
        self.rate = 1000;
        self.common.network.lock().hang_up(self.place);
        if how == End::Wiped {
            self.standing = Standing::Outside;
            self.ticket = None;
            self.starts_at = None;
            // What SQLite does not see: the lock, and snapshots.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }

    /// Looks at its disk.
    pub(crate) fn look(&mut self, all: bool) -> Result<Option<crate::observe::Observation>, String> {
        if self.disk.dead.get() || !self.is_up() || self.store().is_none() {
            return Ok(None);
        }
        let failed = |error: rusqlite::Error| error.to_string();
        if self.observer.is_none() {
            self.observer = Some(Observer::new(&self.directory).map_err(failed)?);
        }
        let cluster = self.cluster();
        let leads =
            cluster.as_ref().filter(|cluster| cluster.is_leader()).map(|cluster| cluster.report().term);
        let own = cluster.and_then(|cluster| cluster.members().remove(&cluster.id()));
        let votes = own.is_some_and(|(_, role)| role == Role::Voter);
        let all = all || leads != self.led;
        self.led = leads;
        let Some(observer) = &mut self.observer else { return Ok(None) };
        let seen = observer.look((self.place, self.incarnation), self.disk.changes.get(), all);
        let seen = seen.map_err(|error| format!("n{} cannot be read: {error}", self.place + 1))?;
        Ok(seen.map(|seen| crate::observe::Observation { leads, votes, ..seen }))
    }
}
