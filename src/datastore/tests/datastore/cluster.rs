//! Several nodes in one process.

use crate::fixture::{PODS, manual, next, object, parse, pod};
use datastore::raft::{
    Change, ChangeError, Cluster, ClusterOptions, Goal, Member, Role, Status, Switchboard, Ticket, Timing,
};
use datastore::{Datastore, Limits, Options};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::{ListOptions, Storage, StorageError, WatchFrom};
use tempfile::TempDir;

/// Disks of test machines are slow, and shared.
pub(crate) fn timing() -> Timing {
    Timing {
        heartbeat: Duration::from_millis(150),
        election: Duration::from_millis(300),
        ..Timing::default()
    }
}

pub(crate) struct Node {
    pub(crate) store: Arc<Datastore>,
    pub(crate) address: String,
    pub(crate) dir: TempDir,
}

impl Node {
    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        self.store.joined().unwrap()
    }
}

pub(crate) struct Nodes {
    pub(crate) board: Switchboard,
    pub(crate) nodes: Vec<Node>,
    timing: Timing,
    goal: Goal,
    limits: Limits,
}

impl Nodes {
    /// More nodes than have a place beside the voters, and a log that is soon too short.
    pub(crate) async fn with_spares(count: usize, timing: Timing, standbys: usize) -> Self {
        let goal = Goal { standbys, ..Goal::default() };
        let limits = Limits { kept_entries: 16, ..Limits::default() };
        Self::build(count, timing, goal, limits).await
    }

    pub(crate) fn options(&self, address: &str, ticket: Option<Ticket>) -> Options {
        let member =
            Member { name: address.to_owned(), address: address.to_owned(), failure_domain: String::new() };
        let transport = self.board.transport(address);
        Options {
            cluster: Some(ClusterOptions { member, transport, timing: self.timing, goal: self.goal, ticket }),
            limits: self.limits,
            ..manual()
        }
    }

    pub(crate) async fn new(count: usize, timing: Timing) -> Self {
        Self::build(count, timing, Goal::default(), Limits::default()).await
    }

    async fn build(count: usize, timing: Timing, goal: Goal, limits: Limits) -> Self {
        let mut this = Self { board: Switchboard::default(), nodes: Vec::new(), timing, goal, limits };
        let dir = tempfile::tempdir().unwrap();
        let store = Datastore::open(dir.path(), this.options("n1", None)).await.unwrap();
        assert!(store.joined().is_none());
        this.nodes.push(Node { store, address: "n1".into(), dir });
        if count > 1 {
            this.board.attach("n1", &this.nodes[0].store.cluster().await.unwrap());
        }
        for n in 2..=count {
            this.join(&format!("n{n}")).await;
        }
        this
    }

    pub(crate) async fn join(&mut self, address: &str) -> u64 {
        let member =
            Member { name: address.to_owned(), address: address.to_owned(), failure_domain: String::new() };
        let first = self.nodes[0].store.cluster().await.unwrap();
        let id = first.change(Change::Add(member)).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let options = self.options(address, Some(first.ticket(id)));
        let store = Datastore::open(dir.path(), options).await.unwrap();
        self.board.attach(address, store.joined().unwrap());
        store.joined().unwrap().barrier().await.unwrap();
        self.nodes.push(Node { store, address: address.to_owned(), dir });
        id
    }

    /// Waits until a node says so many voters, and all nodes say the same.
    pub(crate) async fn voters(&self, count: usize) {
        until(|| {
            let known = |node: &Node| node.cluster().members();
            let first = known(&self.nodes[0]);
            let voters = first.values().filter(|(_, role)| *role == Role::Voter).count();
            voters == count && self.nodes.iter().all(|node| known(node) == first)
        })
        .await;
    }

    /// The place of the leader that a majority follows.
    pub(crate) async fn leader(&self) -> usize {
        let mut found = None;
        until(|| {
            let mut votes = BTreeMap::<u64, usize>::new();
            for leader in self.nodes.iter().filter_map(|node| node.cluster().leader()) {
                *votes.entry(leader).or_default() += 1;
            }
            let leader = votes.into_iter().find(|(_, count)| *count > self.nodes.len() / 2);
            found = leader.and_then(|(id, _)| self.nodes.iter().position(|node| node.cluster().id() == id));
            found.is_some_and(|at| self.nodes[at].cluster().is_leader())
        })
        .await;
        found.unwrap()
    }

    /// Pulls the plug: nobody is told, nothing is finished.
    pub(crate) fn kill(&mut self, at: usize) -> (TempDir, String) {
        let Node { store, address, dir } = self.nodes.remove(at);
        self.board.detach(&address);
        drop(store);
        (dir, address)
    }

    pub(crate) async fn start(&mut self, dir: TempDir, address: String) {
        let store = loop {
            match Datastore::open(dir.path(), self.options(&address, None)).await {
                Ok(store) => break store,
                // The one before it is still letting go.
                Err(datastore::OpenError::Locked { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        };
        self.board.attach(&address, store.joined().unwrap());
        self.nodes.push(Node { store, address, dir });
    }
}

pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it never came true");
}

pub(crate) async fn names(store: &Datastore) -> Vec<(String, u64)> {
    let list = store.list(PODS, ListOptions::default()).await.unwrap();
    list.items.iter().map(|o| (o.key.to_string(), parse(&o.value)["n"].as_u64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_anywhere_is_read_everywhere() {
    let mut nodes = Nodes::new(1, timing()).await;
    nodes.nodes[0].store.create(&pod("before"), object("before", 0)).await.unwrap();
    let cluster = nodes.nodes[0].store.cluster().await.unwrap();
    nodes.board.attach("n1", &cluster);
    nodes.join("n2").await;
    nodes.join("n3").await;
    nodes.voters(3).await;
    let mut watch = nodes.nodes[2].store.watch(PODS, WatchFrom::Now).await.unwrap();
    for (n, node) in nodes.nodes.iter().enumerate() {
        let name = format!("p{n}");
        let made = node.store.create(&pod(&name), object(&name, n as u64)).await.unwrap();
        assert_eq!(node.store.revision(), made.revision);
        for other in &nodes.nodes {
            let read = other.store.get(&pod(&name)).await.unwrap().unwrap();
            assert_eq!((read.revision, &read.value), (made.revision, &made.value));
        }
        assert_eq!(next(&mut watch).await.unwrap().revision, made.revision);
    }
    // Rejections come with what is there.
    let there = nodes.nodes[1].store.get(&pod("p0")).await.unwrap().unwrap();
    let error = nodes.nodes[1].store.update(&pod("p0"), 1, object("p0", 9)).await.unwrap_err();
    assert!(matches!(error, StorageError::Conflict { current, .. } if current.revision == there.revision));
    let error = nodes.nodes[2].store.create(&pod("p0"), object("p0", 9)).await.unwrap_err();
    assert!(matches!(error, StorageError::KeyExists { .. }));
    let all = names(&nodes.nodes[0].store).await;
    assert_eq!(all.len(), 4);
    for node in &nodes.nodes {
        assert_eq!(names(&node.store).await, all);
    }
    let status = nodes.nodes[2].cluster().status().await;
    assert!(status.quorum && status.survives_a_loss && status.leader.is_some(), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_followed_by_another_and_nothing_acknowledged_is_lost() {
    let mut nodes = Nodes::new(3, timing()).await;
    nodes.voters(3).await;
    let writers: Vec<_> = nodes
        .nodes
        .iter()
        .enumerate()
        .map(|(w, node)| {
            let store = Arc::downgrade(&node.store);
            tokio::spawn(async move {
                let mut written = Vec::new();
                for n in 0..200 {
                    let Some(store) = store.upgrade() else { break };
                    let name = format!("w{w}-{n}");
                    match store.create(&pod(&name), object(&name, n)).await {
                        Ok(_) => written.push(name),
                        Err(StorageError::Unknown { .. } | StorageError::Unavailable { .. }) => {}
                        // A write that is proposed again happens once all the same.
                        Err(other) => panic!("{other}"),
                    }
                }
                written
            })
        })
        .collect();
    let leader = nodes.leader().await;
    let other = (leader + 1) % 3;
    until(|| nodes.nodes[other].store.revision() > 60).await;
    let (dir, address) = nodes.kill(leader);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    assert!(acknowledged.len() > 300, "{}", acknowledged.len());
    nodes.leader().await;
    let found: BTreeMap<_, _> = names(&nodes.nodes[0].store).await.into_iter().collect();
    for name in &acknowledged {
        assert!(found.contains_key(&pod(name)), "{name} is lost");
    }
    // It comes back and catches up.
    nodes.start(dir, address).await;
    let all = names(&nodes.nodes[0].store).await;
    for node in &nodes.nodes {
        assert_eq!(names(&node.store).await, all);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_hands_the_leadership_over_at_once() {
    let mut nodes = Nodes::new(3, timing()).await;
    nodes.voters(3).await;
    let leader = nodes.leader().await;
    let node = nodes.nodes.remove(leader);
    let term = nodes.nodes[0].cluster().status().await.members[0].report.as_ref().unwrap().term;
    node.store.create(&pod("a"), object("a", 1)).await.unwrap();
    let began = tokio::time::Instant::now();
    assert!(node.cluster().hand_over().await);
    // An election by timeout takes longer than this alone.
    assert!(began.elapsed() < timing().election * 2, "{:?}", began.elapsed());
    node.store.shutdown().await;
    nodes.board.detach(&node.address);
    nodes.leader().await;
    nodes.nodes[0].store.create(&pod("b"), object("b", 1)).await.unwrap();
    let report = nodes.nodes[0].cluster().status().await;
    let terms: Vec<_> = report.members.iter().filter_map(|m| Some(m.report.as_ref()?.term)).collect();
    assert!(terms.iter().all(|now| *now == term + 1), "{terms:?} after {term}");
    assert!(report.quorum && !report.survives_a_loss, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_hands_over_at_the_first_attempt_whoever_writes() {
    // An attempt that does not succeed is noticed by the terms, and nobody else stands for election.
    let timing = Timing { election: Duration::from_millis(1500), ..timing() };
    let mut nodes = Nodes::new(3, timing).await;
    nodes.voters(3).await;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..12)
        .map(|writer| {
            let (store, done) = (Arc::clone(&nodes.nodes[writer % 3].store), Arc::clone(&done));
            tokio::spawn(async move {
                let mut written = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    store.create(&pod(&format!("p{writer}-{written}")), object("p", 1)).await.unwrap();
                    written += 1;
                }
                written
            })
        })
        .collect();
    let term = |report: &Status| report.members.iter().filter_map(|m| Some(m.report.as_ref()?.term)).max();
    let before = term(&nodes.nodes[0].cluster().status().await);
    // The second and the third lead for a moment only when they are asked.
    for handed in 1..=3 {
        let leader = nodes.leader().await;
        assert!(nodes.nodes[leader].cluster().hand_over().await);
        let now = term(&nodes.nodes[leader].cluster().status().await);
        assert_eq!(now, before.map(|term| term + handed));
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
    for node in nodes.nodes.drain(..) {
        node.store.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_acknowledged_and_no_stale_read_is_answered() {
    let timing = Timing { patience: Duration::from_secs(2), roles_every: None, ..timing() };
    let mut nodes = Nodes::new(3, timing).await;
    for id in [nodes.nodes[1].cluster().id(), nodes.nodes[2].cluster().id()] {
        nodes.nodes[0].cluster().change(Change::Promote(id)).await.unwrap();
    }
    nodes.voters(3).await;
    let leader = nodes.leader().await;
    let cut = nodes.nodes.remove(leader);
    cut.store.create(&pod("a"), object("a", 1)).await.unwrap();
    let others: Vec<_> = nodes.nodes.iter().map(|node| node.address.as_str()).collect();
    nodes.board.part(&cut.address, &others, true);
    // The old leader does not know yet, or does: either way it says nothing that is not true.
    let key = pod("a");
    let (write, read) = tokio::join!(cut.store.update(&key, 0, object("a", 2)), cut.store.get(&key));
    assert!(
        matches!(write, Err(StorageError::Unknown { .. } | StorageError::Unavailable { .. })),
        "{write:?}"
    );
    assert!(matches!(read, Err(StorageError::Unavailable { .. })), "{read:?}");
    let status = cut.cluster().status().await;
    assert!(!status.quorum && status.leader.is_none(), "{status:?}");
    // The majority goes on.
    nodes.leader().await;
    let other = &nodes.nodes[0].store;
    let made = loop {
        match other.update(&pod("a"), 0, object("a", 3)).await {
            Ok(made) => break made,
            Err(StorageError::Unknown { .. } | StorageError::Unavailable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    };
    nodes.board.part(&cut.address, &others, false);
    let read = loop {
        match cut.store.get(&pod("a")).await {
            Ok(read) => break read.unwrap(),
            Err(StorageError::Unavailable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!((read.revision, &read.value), (made.revision, &made.value));
    for n in 0..3 {
        cut.store.create(&pod(&format!("after{n}")), object("x", n)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_replies_make_no_write_happen_twice() {
    let mut nodes = Nodes::new(3, timing()).await;
    nodes.voters(3).await;
    let leader = nodes.leader().await;
    let follower = nodes.nodes.remove((leader + 1) % 3);
    let leader = nodes.nodes.iter().find(|node| node.cluster().is_leader()).unwrap();
    let before = follower.store.revision();
    // Everything that the follower asks arrives, and no answer comes back; it hears from the leader all the same.
    nodes.board.silence(&leader.address, &follower.address, true);
    let made = follower.store.create(&pod("once"), object("once", 1)).await.unwrap();
    assert_eq!(made.revision, before + 1);
    nodes.board.silence(&leader.address, &follower.address, false);
    let made = follower.store.create(&pod("twice"), object("twice", 1)).await.unwrap();
    assert_eq!(made.revision, before + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_too_long_gets_a_snapshot_and_its_watches_begin_again() {
    let timing = Timing { roles_every: None, ..timing() };
    let mut nodes = Nodes::new(2, timing).await;
    let first = Arc::clone(&nodes.nodes[0].store);
    let second = Arc::clone(&nodes.nodes[1].store);
    first.create(&pod("stays"), object("stays", 1)).await.unwrap();
    first.create(&pod("goes"), object("goes", 1)).await.unwrap();
    until(|| second.revision() == first.revision()).await;
    let mut cut_off = second.watch(PODS, WatchFrom::Now).await.unwrap();
    nodes.board.part("n1", &["n2"], true);
    first.delete(&pod("goes"), 0).await.unwrap();
    // More than the log keeps in bytes.
    let large = "x".repeat(300 << 10);
    for n in 0..80 {
        let value = serde_json::json!({"metadata": {"name": "large"}, "n": n, "pad": large});
        let encoded = storage::Encoded::new(&value).unwrap();
        let key = pod("large");
        if n == 0 { first.create(&key, encoded).await } else { first.update(&key, 0, encoded).await }
            .unwrap();
    }
    first.compact(first.revision() - 10).await.unwrap();
    let state = || rusqlite::Connection::open(nodes.nodes[0].dir.path().join("state.db")).unwrap();
    let count = || state().query_row("SELECT count(*) FROM log", [], |row| row.get::<_, u64>(0)).unwrap();
    until(|| count() < 60).await;
    nodes.board.part("n1", &["n2"], false);
    until(|| second.revision() == first.revision()).await;
    assert_eq!(names(&second).await, names(&first).await);
    assert_eq!(second.compacted_revision(), first.compacted_revision());
    let error = next(&mut cut_off).await.unwrap_err();
    assert!(matches!(error, StorageError::SlowWatcher { .. }), "{error}");
    let past = second.list(
        PODS,
        ListOptions {
            revision: storage::ListRevision::Exact(first.revision() - 5),
            ..ListOptions::default()
        },
    );
    assert_eq!(past.await.unwrap().items.len(), 2);
    // And it goes on from there, also after a restart.
    second.create(&pod("new"), object("new", 1)).await.unwrap();
    drop((first, second));
    let (dir, address) = nodes.kill(1);
    nodes.start(dir, address).await;
    assert_eq!(names(&nodes.nodes[1].store).await, names(&nodes.nodes[0].store).await);
    let rows = |node: &Node| -> Vec<(i64, String)> {
        let connection = rusqlite::Connection::open(node.dir.path().join("state.db")).unwrap();
        let mut statement = connection.prepare("SELECT row, key FROM revisions ORDER BY row").unwrap();
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(rows(&nodes.nodes[0]), rows(&nodes.nodes[1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_votes_when_a_voter_dies() {
    let timing = Timing { dead_after: Duration::from_secs(1), ..timing() };
    let mut nodes = Nodes::new(4, timing).await;
    nodes.voters(3).await;
    let leader = nodes.leader().await;
    let dead = nodes.nodes.iter().position(|node| {
        let id = node.cluster().id();
        id != nodes.nodes[leader].cluster().id() && node.cluster().members()[&id].1 == Role::Voter
    });
    let id = nodes.nodes[dead.unwrap()].cluster().id();
    nodes.kill(dead.unwrap());
    until(|| {
        let members = nodes.nodes[0].cluster().members();
        let live = members.iter().filter(|(other, (_, role))| **other != id && *role == Role::Voter);
        live.count() == 3 && members[&id].1 == Role::Standby
    })
    .await;
    nodes.nodes[0].cluster().change(Change::Remove(id)).await.unwrap();
    until(|| nodes.nodes.iter().all(|node| !node.cluster().members().contains_key(&id))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_make_no_sense_are_refused_and_numbers_are_never_used_again() {
    let mut nodes = Nodes::new(2, timing()).await;
    let cluster = Arc::clone(nodes.nodes[1].cluster());
    let member = |name: &str, address: &str| Member {
        name: name.into(),
        address: address.into(),
        failure_domain: String::new(),
    };
    for bad in [
        Change::Add(member("n2", "elsewhere")),
        Change::Add(member("n3", "n1")),
        Change::Promote(77),
        Change::Remove(1),
        Change::Demote(1),
    ] {
        let error = cluster.change(bad).await.unwrap_err();
        assert!(matches!(error, ChangeError::Refused(_)), "{error}");
    }
    let third = nodes.join("n3").await;
    nodes.voters(3).await;
    let node = nodes.nodes.pop().unwrap();
    cluster.change(Change::Remove(third)).await.unwrap();
    node.store.shutdown().await;
    nodes.board.detach("n3");
    nodes.voters(1).await;
    let again = nodes.join("n3").await;
    assert!(again > third);
    // A directory with the state of one node cannot become another's.
    let options = nodes.options("n3", Some(Ticket { cluster: "another".into(), node: 9 }));
    let error = Datastore::open(node.dir.path(), options).await.unwrap_err();
    assert!(matches!(error, datastore::OpenError::OtherCluster { .. }), "{error}");
    let error = Datastore::open(node.dir.path(), manual()).await.unwrap_err();
    assert!(matches!(error, datastore::OpenError::Member { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_is_full_keeps_its_state_and_catches_up_when_there_is_space() {
    let timing = Timing { roles_every: None, ..timing() };
    let nodes = Nodes::new(2, timing).await;
    let (first, second) = (&nodes.nodes[0].store, &nodes.nodes[1].store);
    first.create(&pod("a"), object("a", 1)).await.unwrap();
    until(|| second.revision() == first.revision()).await;
    let before = second.revision();
    second.limit_size(1 << 10).await.unwrap();
    let pad = "x".repeat(64 << 10);
    for n in 0..20 {
        let value = serde_json::json!({"metadata": {"name": "large"}, "n": n, "pad": pad});
        first.create(&pod(&format!("large{n}")), storage::Encoded::new(&value).unwrap()).await.unwrap();
    }
    until(|| second.statistics().failures > 1).await;
    let connection = rusqlite::Connection::open(nodes.nodes[1].dir.path().join("state.db")).unwrap();
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    assert!(second.revision() < before + 20);
    second.limit_size(1 << 30).await.unwrap();
    until(|| second.revision() == first.revision()).await;
    assert_eq!(names(second).await, names(first).await);
}
