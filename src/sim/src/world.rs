//! A run: nodes, faults, and the checks at every step.

use crate::clients::Habits;
use crate::config::Config;
use crate::disk::End;
use crate::faults::Faults;
use crate::history::{self, Condition, Told, What};
use crate::invariants::Invariants;
use crate::network::{self, Network};
use crate::node::{Common, Node, Standing};
use crate::{trace, vfs};
use datastore::raft::{Change, ChangeError, Cluster, Role, Ticket};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use storage::{Storage, StorageError};

/// How long a cluster without faults may take to be well again, in milliseconds.
const PATIENCE: u64 = 180_000;

/// Set by a panic anywhere.
pub(crate) static PANICKED: AtomicBool = AtomicBool::new(false);

/// What became of a change of the members; a ticket, if one was added.
type Outcome = Result<Option<Ticket>, ChangeError>;

/// A change of the members that is under way on some node.
struct Pending {
    place: usize,
    incarnation: u64,
    change: Change,
    result: Arc<Mutex<Option<Outcome>>>,
    deadline: u64,
}

/// Everything.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: network::Shared,
    pub(crate) history: history::Shared,
    pub(crate) random: StdRng,
    invariants: Invariants,
    pending: Option<Pending>,
    pub(crate) max_voters_seen: usize,
}

type Checked = Result<(), String>;

impl World {
    pub(crate) fn new(seed: u64, config: Config, root: &Path) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let network = Network::new(StdRng::seed_from_u64(random.random()));
        {
            let mut network = network.lock();
            network.delay = config.delay;
        }
        let history = history::Shared::default();
        let habits = Habits { pause: config.pause, padding: config.padding, compactions: config.compactions };
        let common = Common {
            network: Arc::clone(&network),
            history: Arc::clone(&history),
            timing: config.timing,
            goal: config.goal,
            limits: config.limits,
            habits,
            clients: config.clients,
        };
        let nodes = (0..config.nodes).map(|place| Node::new(place, root, &common)).collect();
        Self {
            config,
            nodes,
            network,
            history,
            random,
            invariants: Invariants::default(),
            pending: None,
            max_voters_seen: 0,
        }
    }

    /// The whole run.
    pub(crate) fn run(&mut self) -> Checked {
        self.begin()?;
        let mut faults = Faults::default();
        let end = trace::now() + self.config.duration;
        while trace::now() < end {
            faults.step(self);
            self.step()?;
        }
        trace::event(format_args!("all faults end"));
        faults.heal(self);
        self.converge("after the faults")?;
        // What is acknowledged survives the loss of power everywhere.
        for node in &mut self.nodes {
            if node.is_up() {
                node.end(End::PowerCut);
                node.starts_at = Some(trace::now() + 50);
            }
        }
        self.converge("after a power cut everywhere")?;
        let mut history = self.history.lock();
        self.invariants.clients(&mut history, true)
    }

    pub(crate) fn start(&mut self, place: usize) {
        let seed = self.random.random();
        self.nodes[place].start(seed);
    }

    /// Founds the cluster: one node alone for a while, then the others, one after the other.
    pub(crate) fn begin(&mut self) -> Checked {
        self.nodes[0].standing = Standing::Inside;
        self.start(0);
        let alone_until = trace::now() + self.config.alone;
        while trace::now() < alone_until || self.nodes[0].store().is_none() {
            self.step()?;
            self.started(0)?;
        }
        if self.config.nodes == 1 {
            return Ok(());
        }
        let store = self.nodes[0].store().ok_or("the first node is not there")?;
        self.nodes[0].spawn(async move { _ = store.cluster().await });
        for place in 1..self.config.first.min(self.config.nodes) {
            let deadline = trace::now() + PATIENCE;
            while self.nodes[place].standing == Standing::Outside || self.nodes[place].store().is_none() {
                if trace::now() > deadline {
                    return Err(format!("n{} cannot join", place + 1));
                }
                if self.pending.is_none() && self.nodes[place].standing == Standing::Outside {
                    self.change(0, Change::Add(self.nodes[place].member()));
                }
                self.step()?;
                if self.nodes[place].is_up() {
                    self.started(place)?;
                }
            }
            if self.config.timing.roles_every.is_none()
                && let Some(id) = self.nodes[place].cluster().map(|cluster| cluster.id())
            {
                self.wait_changed(Change::Promote(id))?;
            }
        }
        Ok(())
    }

    fn wait_changed(&mut self, change: Change) -> Checked {
        while self.pending.is_some() {
            self.step()?;
        }
        self.change(0, change);
        while self.pending.is_some() {
            self.step()?;
        }
        Ok(())
    }

    /// A node that does not start although its disk works is a failure.
    fn started(&self, place: usize) -> Checked {
        let node = &self.nodes[place];
        let faulty = node.disk.dead.get() || self.is_faulty(place);
        match &node.slot.lock().failed {
            Some(why) if !faulty => Err(format!("n{} does not start: {why}", place + 1)),
            _ => Ok(()),
        }
    }

    fn is_faulty(&self, place: usize) -> bool {
        let faults = self.nodes[place].disk.faults.get();
        faults.fails_after.is_some()
            || faults.lapses_after.is_some()
            || faults.dies_after.is_some()
            || faults.full
    }

    /// One millisecond.
    pub(crate) fn step(&mut self) -> Checked {
        let now = trace::now() + 1;
        trace::set_time(now);
        vfs::set_clock(now.cast_signed());
        let arrivals = self.network.lock().arrivals();
        for arrival in arrivals {
            trace::event(format_args!(
                "n{} -> n{} request {} {:x}",
                arrival.from + 1,
                arrival.to + 1,
                arrival.request.len(),
                trace::digest(&arrival.request)
            ));
            match self.nodes.get(arrival.to) {
                Some(node) => node.deliver(arrival),
                None => self.network.lock().refuse(&arrival),
            }
        }
        let first = self.random.random_range(0..self.nodes.len());
        for n in 0..self.nodes.len() {
            let place = (first + n) % self.nodes.len();
            if self.nodes[place].starts_at.is_some_and(|at| at <= now) {
                self.start(place);
            }
            self.nodes[place].tick();
            self.after(place)?;
        }
        self.finish_change();
        self.check(false)
    }

    /// What has become of a node in the last moment.
    fn after(&mut self, place: usize) -> Checked {
        if PANICKED.load(Ordering::Acquire) {
            return Err("there was a panic".into());
        }
        let now = trace::now();
        let (failed, stopped) = {
            let slot = self.nodes[place].slot.lock();
            (slot.failed.clone(), slot.stopped)
        };
        if self.nodes[place].is_up() && self.nodes[place].disk.dead.get() {
            let pause = self.random.random_range(10..2000);
            self.nodes[place].end(End::PowerCut);
            self.nodes[place].starts_at = Some(now + pause);
        } else if stopped {
            let pause = self.random.random_range(10..2000);
            self.nodes[place].end(End::Killed);
            self.nodes[place].starts_at = Some(now + pause);
        } else if let Some(why) = failed {
            trace::remark(format_args!("n{} does not start: {why}", place + 1));
            self.started(place)?;
            self.nodes[place].end(End::Killed);
            self.nodes[place].starts_at = Some(now + 1000);
        }
        Ok(())
    }

    /// The invariants.
    fn check(&mut self, all: bool) -> Checked {
        for node in &mut self.nodes {
            // A disk that refuses to work refuses this, too. A full one need not: what is compacted meanwhile is gone.
            let faults = node.disk.faults.get();
            if faults.fails_after == Some(0) {
                continue;
            }
            match node.look(all) {
                Ok(Some(seen)) => self.invariants.node(&seen)?,
                Ok(None) => {}
                Err(_) if node.disk.dead.get() || faults.full => {}
                Err(why) => return Err(why),
            }
        }
        let mut history = self.history.lock();
        self.invariants.clients(&mut history, false)
    }

    /// Begins a change of the members, asked of a node. One at a time.
    pub(crate) fn change(&mut self, place: usize, change: Change) {
        let Some(cluster) = self.nodes[place].cluster() else { return };
        let result = Arc::new(Mutex::new(None));
        trace::event(format_args!("n{} is asked for {change:?}", place + 1));
        self.pending = Some(Pending {
            place,
            incarnation: self.nodes[place].incarnation,
            change: change.clone(),
            result: Arc::clone(&result),
            deadline: trace::now() + 20_000,
        });
        self.nodes[place].spawn(async move {
            let added = matches!(change, Change::Add(_));
            let changed = cluster.change(change).await;
            *result.lock() = Some(changed.map(|id| added.then(|| cluster.ticket(id))));
        });
    }

    pub(crate) fn is_changing(&self) -> bool {
        self.pending.is_some()
    }

    fn finish_change(&mut self) {
        let Some(pending) = &self.pending else { return };
        let result = pending.result.lock().take();
        let gone = self.nodes[pending.place].incarnation != pending.incarnation
            || !self.nodes[pending.place].is_up()
            || trace::now() > pending.deadline;
        if result.is_none() && !gone {
            return;
        }
        let Some(Pending { change, .. }) = self.pending.take() else { return };
        trace::event(format_args!("{change:?}: {result:?}"));
        match (change, result) {
            (Change::Add(member), Some(Ok(Some(ticket)))) => {
                let place = self.nodes.iter().position(|node| node.member().name == member.name);
                if let Some(place) = place.filter(|place| !self.nodes[*place].is_up()) {
                    self.nodes[place].invite(ticket);
                    self.start(place);
                }
            }
            (Change::Remove(id), Some(Ok(_))) => {
                let is = |node: &Node| node.cluster().is_some_and(|cluster| cluster.id() == id);
                if let Some(node) = self.nodes.iter_mut().find(|node| is(node)) {
                    node.end(End::Wiped);
                }
            }
            _ => {}
        }
    }

    /// A leader, if one is known to itself.
    pub(crate) fn leader(&self) -> Option<(usize, Arc<Cluster>)> {
        let leads = |node: &Node| node.cluster().filter(|cluster| cluster.is_leader());
        let mut found: Vec<_> =
            self.nodes.iter().filter_map(|node| Some((node.place, leads(node)?))).collect();
        found.sort_by_key(|(_, cluster)| std::cmp::Reverse(cluster.report().term));
        found.into_iter().next()
    }

    /// Without faults, the cluster becomes well: all members are there, agree, and serve.
    pub(crate) fn converge(&mut self, when: &str) -> Checked {
        let deadline = trace::now() + PATIENCE;
        loop {
            let wrong = match self.unwell() {
                None => break,
                Some(wrong) => wrong,
            };
            if trace::now() > deadline {
                return Err(format!("liveness: {when}, {wrong}"));
            }
            for _ in 0..50 {
                self.step()?;
            }
        }
        self.serve(when)?;
        // Let everybody come to rest at the same place, without clients.
        self.check(true)?;
        let integrity = |node: &Node| node.observer.as_ref().map(|observer| observer.integrity());
        for node in &self.nodes {
            match integrity(node) {
                Some(Ok(found)) if found == "ok" => {}
                None => {}
                Some(found) => return Err(format!("n{} is damaged: {found:?}", node.place + 1)),
            }
        }
        Ok(())
    }

    /// What is not as it should be; does something about it where that is an administrator's work.
    fn unwell(&mut self) -> Option<String> {
        for place in 0..self.nodes.len() {
            let node = &self.nodes[place];
            if node.standing == Standing::Inside && !node.is_up() && node.starts_at.is_none() {
                self.start(place);
            }
        }
        if self.pending.is_some() {
            return Some("a change of the members does not end".into());
        }
        if self.config.nodes == 1 {
            return self.nodes[0].store().is_none().then(|| "the node does not start".into());
        }
        let Some((leader, cluster)) = self.leader() else { return Some("nobody leads".into()) };
        if self.config.timing.roles_every.is_some() && cluster.is_changing() {
            return Some("the voters are still changing".into());
        }
        let members = cluster.members();
        // Members whose node is not there: added by a request whose answer was lost.
        let ids: Vec<_> = self.nodes.iter().map(|node| node.cluster().map(|cluster| cluster.id())).collect();
        for id in members.keys() {
            if !ids.contains(&Some(*id)) {
                let down = |node: &Node| node.standing == Standing::Inside && node.store().is_none();
                if self.nodes.iter().any(down) {
                    return Some(format!("node {id} is not up"));
                }
                self.change(leader, Change::Remove(*id));
                return Some(format!("node {id} is a member, and nobody is it"));
            }
        }
        // Nodes that are no members: removed by a request whose answer was lost.
        for (place, id) in ids.iter().enumerate() {
            if let Some(id) = id
                && !members.contains_key(id)
            {
                self.nodes[place].end(End::Wiped);
                return Some(format!("node {id} is no member any more"));
            }
        }
        let voters = members.values().filter(|(_, role)| *role == Role::Voter).count();
        self.max_voters_seen = self.max_voters_seen.max(voters);
        let wanted = if members.len() < 3 { 1 } else { 3 };
        if self.config.timing.roles_every.is_some() && voters != wanted {
            return Some(format!("{voters} of {} nodes vote", members.len()));
        }
        let standbys = members.values().filter(|(_, role)| *role == Role::Standby).count();
        let wanted = self.config.goal.standbys.min(members.len().saturating_sub(wanted));
        if self.config.timing.roles_every.is_some() && standbys != wanted {
            return Some(format!("{standbys} of {} nodes stand by", members.len()));
        }
        let applied = |cluster: &Arc<Cluster>| cluster.report().applied;
        let newest = applied(&cluster);
        let behind = self.nodes.iter().filter_map(Node::cluster).find(|one| applied(one) + 200 < newest);
        behind.map(|one| format!("node {} lags: {} of {newest}", one.id(), applied(&one)))
    }

    /// Every node takes a write and reads what was written, within half a minute.
    fn serve(&mut self, when: &str) -> Checked {
        let places: Vec<usize> =
            self.nodes.iter().filter(|node| node.store().is_some()).map(|node| node.place).collect();
        let deadline = trace::now() + 30_000;
        let mut places = places.into_iter();
        let mut next = places.next();
        while let Some(place) = next {
            let Some(store) = self.nodes[place].store() else {
                next = places.next();
                continue;
            };
            let (floor, tag) = {
                let mut history = self.history.lock();
                (history.floor, history.tag())
            };
            let key = format!("{}default/served-{tag}", crate::clients::PREFIX);
            let value = serde_json::json!({"metadata": {"name": "served"}, "tag": tag});
            let object = storage::Encoded::new(&value).map_err(|error| error.to_string())?;
            let done = Arc::new(Mutex::new(None));
            let (answer, asked) = (Arc::clone(&done), key.clone());
            self.nodes[place].spawn(async move {
                let written = store.create(&asked, object).await;
                let read = store.get(&asked).await;
                *answer.lock() = Some((written, read));
            });
            let (written, read) = loop {
                self.step()?;
                if let Some(done) = done.lock().take() {
                    break done;
                }
                if trace::now() > deadline {
                    return Err(format!("liveness: {when}, n{} does not answer", place + 1));
                }
            };
            let (written, read) = match (written, read) {
                (Ok(written), Ok(read)) => (written, read),
                // The leader may just have changed: once more.
                (Err(StorageError::Unavailable { .. } | StorageError::Unknown { .. }), _)
                | (_, Err(StorageError::Unavailable { .. })) => continue,
                (Err(error), _) | (_, Err(error)) => {
                    return Err(format!("{when}, n{} does not serve: {error}", place + 1));
                }
            };
            next = places.next();
            if read.is_none_or(|read| read.revision != written.revision) {
                return Err(format!("{when}, n{} does not read what it wrote", place + 1));
            }
            let revision = written.revision;
            let what = What::Wrote { key, tag: Some(tag), revision, condition: Condition::Absent };
            let mut history = self.history.lock();
            history.floor = history.floor.max(revision);
            history.told.push_back(Told { client: 0, floor, what });
        }
        Ok(())
    }

    /// What the run was like, in words.
    pub(crate) fn summary(&self) -> String {
        let counts = self.history.lock().counts;
        let applied = self.invariants.state_machine.newest().map_or(0, |at| at.index);
        let term = self.invariants.state_machine.newest().map_or(0, |at| at.term);
        format!(
            "{} nodes, {} ms, term {term}, {applied} entries, {} revisions; {} written, {} read, {} refused, \
             {} unavailable, {} unknown, {} expired, {} watch items",
            self.config.nodes,
            trace::now(),
            self.invariants.ledger.newest(),
            counts.written,
            counts.read,
            counts.refused,
            counts.unavailable,
            counts.unknown,
            counts.expired,
            counts.events
        )
    }
}
