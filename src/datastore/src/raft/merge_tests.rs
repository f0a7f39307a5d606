use super::*;
use crate::command::{Command, Entry, Operation};
use crate::directory::Directory;
use crate::log::Position;
use crate::raft::machine::apply;
use crate::raft::types::{RaftEntry, log_id};
use crate::raft::{Change, ClusterOptions, Goal, Member, Switchboard, Ticket, Timing};
use crate::schema::Location;
use crate::writer::Waiting;
use crate::{Datastore, Options};
use openraft::EntryPayload;
use serde_json::json;
use std::time::Duration;
use storage::{Encoded, ListOptions, Storage, StorageError};
use tempfile::TempDir;

fn origin(node: u64, sequence: u64) -> Origin {
    Origin { node, epoch: 1, sequence }
}

fn object(name: &str) -> Encoded {
    Encoded::new(&json!({"metadata": {"name": name}})).unwrap()
}

fn key(name: &str) -> String {
    format!("/registry/configmaps/default/{name}")
}

fn creating(origin: Origin, names: &[&str]) -> Proposed {
    let create = |name: &&str| {
        Command::Write(Operation::Create { key: key(name).as_str().into(), object: object(name) })
    };
    let commands = names.iter().map(create).collect();
    Proposed { origin, entry: Arc::new(Entry { commands, made: Vec::new() }) }
}

fn sized(node: u64, commands: usize, bytes: usize) -> Proposed {
    let key = "k".repeat(bytes / commands);
    let delete = Operation::Delete { key: key.as_str().into(), if_revision: 0 };
    let commands = vec![Command::Write(delete); commands];
    Proposed { origin: origin(node, 1), entry: Arc::new(Entry { commands, made: Vec::new() }) }
}

/// The nodes whose groups are in each entry, when all wait from the start.
fn merged(groups: Vec<Proposed>, awaited: impl Fn(&Origin) -> bool) -> Vec<Vec<u64>> {
    let (mut queue, mut entries) = (groups.into_iter(), Vec::new());
    let mut left = queue.next();
    while let Some(first) = left.take() {
        let groups;
        (groups, left) = gather(first, || queue.next(), &awaited);
        entries.push(groups.iter().map(|group| group.origin.node).collect());
    }
    entries
}

#[test]
fn an_entry_of_several_groups_is_limited_and_a_large_group_is_alone() {
    let all = |_: &Origin| true;
    let small = |node| sized(node, 1, 100);
    assert_eq!(merged((1..=5).map(small).collect(), all), [[1, 2, 3, 4, 5]]);
    let half = |node| sized(node, MAX_COMMANDS / 2, 10_000);
    assert_eq!(merged((1..=5).map(half).collect(), all), [vec![1, 2], vec![3, 4], vec![5]]);
    let heavy = |node| sized(node, 1, MAX_BYTES / 2 - 100);
    assert_eq!(merged((1..=3).map(heavy).collect(), all), [vec![1, 2], vec![3]]);
    let groups = vec![small(1), sized(2, 1024, 4 << 20), small(3), small(4)];
    assert_eq!(merged(groups, all), [vec![1], vec![2], vec![3, 4]]);
}

#[test]
fn what_nobody_waits_for_and_what_has_come_twice_is_left_out() {
    let groups: Vec<_> = [1, 2, 1, 3, 2].map(|node| sized(node, 1, 100)).to_vec();
    assert_eq!(merged(groups, |origin| origin.node != 3), [[1, 2]]);
}

fn open(board: &Switchboard, name: &str, ticket: Option<Ticket>) -> Options {
    let member = Member { name: name.into(), address: name.into(), failure_domain: String::new() };
    // Nobody gives up while a test takes its time.
    let timing = Timing { election: Duration::from_millis(2500), roles_every: None, ..Timing::default() };
    let transport = board.transport(name);
    let cluster = ClusterOptions { member, transport, timing, goal: Goal::default(), ticket };
    Options { cluster: Some(cluster), compaction_interval: None, ..Options::default() }
}

/// A leader that votes alone, so that it may take its time, and a node that proposes to it.
async fn pair() -> (Switchboard, [(TempDir, Arc<Datastore>); 2]) {
    let board = Switchboard::default();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let leader = Datastore::open(dirs[0].path(), open(&board, "a", None)).await.unwrap();
    let cluster = leader.cluster().await.unwrap();
    board.attach("a", &cluster);
    let member = Member { name: "b".into(), address: "b".into(), failure_domain: String::new() };
    let id = cluster.change(Change::Add(member)).await.unwrap();
    let other = open(&board, "b", Some(cluster.ticket(id)));
    let other = Datastore::open(dirs[1].path(), other).await.unwrap();
    board.attach("b", &other.cluster().await.unwrap());
    other.joined().unwrap().barrier().await.unwrap();
    let [a, b] = dirs;
    (board, [(a, leader), (b, other)])
}

async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it never came true");
}

fn creates(
    store: &Arc<Datastore>,
    name: &'static str,
) -> tokio::task::JoinHandle<Result<Arc<storage::Object>, StorageError>> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.create(&key(name), object(name)).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_the_log_is_written_is_one_entry_and_each_writer_has_its_own_answer() {
    let (_board, [(_a, leader), (_b, other)]) = pair().await;
    let core = Arc::clone(&leader.joined().unwrap().network.core);
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (taken, hold) = oneshot::channel();
    let holding = Arc::clone(&core);
    let holding = tokio::spawn(async move {
        let hold = move |_: &mut crate::writer::Writer| {
            let _ = taken.send(());
            let _ = held.recv();
            Ok(())
        };
        holding.run(hold).await
    });
    hold.await.unwrap();
    let before = leader.statistics();
    let first = creates(&leader, "first");
    until(|| core.pending.lock().len() == 1).await;
    // The next group is made when the first has its place: now openraft writes, or tries to.
    let second = creates(&leader, "second");
    until(|| core.pending.lock().len() == 2).await;
    let rejected = creates(&other, "second");
    until(|| core.appended.lock().len() == 2).await;
    release.send(()).unwrap();
    holding.await.unwrap().unwrap();
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    let error = rejected.await.unwrap().unwrap_err();
    assert!(matches!(error, StorageError::KeyExists { .. }), "{error}");
    assert_eq!((&*first.key, &*second.key), (&*key("first"), &*key("second")));
    assert_eq!(second.revision, first.revision + 1);
    let after = leader.statistics();
    assert_eq!((after.entries - before.entries, after.commands - before.commands), (2, 3));
    let read = other.get(&key("second")).await.unwrap().unwrap();
    assert_eq!(read.revision, second.revision);
    for store in [other, leader] {
        store.shutdown().await;
    }
}

fn entry(index: u64, groups: Vec<Proposed>) -> RaftEntry {
    let log_id = log_id(Position { term: 1, node: 1, index });
    RaftEntry { log_id, payload: EntryPayload::Normal(Merged(groups)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_comes_again_in_another_entry_is_applied_and_answered_once() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::open(dir.path()).unwrap();
    let at = Location::File(directory.database().to_owned());
    let ticket = Ticket { cluster: "c".into(), node: 1 };
    let options = open(&Switchboard::default(), "a", Some(ticket));
    let store = Datastore::build(at, Some(directory), &options).unwrap();
    let core = store.core();
    let mut answers = Vec::new();
    for (sequence, count) in [(1, 2), (2, 1)] {
        let waiting = (0..count).map(|_| {
            let (answer, answered) = oneshot::channel();
            answers.push(answered);
            Waiting { beside: vec![crate::writer::Beside::default()], answer: Some(answer) }
        });
        core.pending.lock().insert(origin(1, sequence), waiting.collect());
    }
    let own = creating(origin(1, 1), &["a", "b"]);
    let theirs = creating(origin(7, 1), &["c", "a", "d"]);
    let gap = creating(origin(8, 2), &["never"]);
    let entries = vec![
        entry(1, vec![own.clone(), theirs.clone(), gap]),
        // As after a leader's death: what was there is, and what comes next is with it.
        entry(2, vec![theirs, own, creating(origin(1, 2), &["c"]), creating(origin(7, 2), &["e"])]),
    ];
    let applying = Arc::clone(&core);
    core.run(move |writer| apply(writer, &applying, entries)).await.unwrap();
    let mut told = Vec::new();
    for answered in answers {
        told.push(answered.await.unwrap().map(|answer| answer.revision));
    }
    let revisions: Vec<_> = told.iter().map(|told| told.as_ref().ok().copied()).collect();
    assert_eq!(revisions, [Some(2), Some(3), None]);
    assert!(matches!(told[2], Err(StorageError::KeyExists { .. })), "{told:?}");
    assert!(core.pending.lock().is_empty());
    let list = store.list("/registry/", ListOptions::default()).await.unwrap();
    let found: Vec<_> = list.items.iter().map(|object| (&*object.key, object.revision)).collect();
    let keys = ["a", "b", "c", "d", "e"].map(key);
    let expected: Vec<_> = keys.iter().map(String::as_str).zip(2..).collect();
    assert_eq!(found, expected);
    assert_eq!((store.statistics().entries, store.statistics().commands), (2, 7));
    store.shutdown().await;
}
