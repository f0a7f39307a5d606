//! Who made a change, and when, is kept with it.

use crate::cluster::{Nodes, timing, until};
use crate::fixture::{Fixture, PODS, object, pod};
use async_trait::async_trait;
use bytes::Bytes;
use datastore::Datastore;
use datastore::raft::{Cluster, Endpoint};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use storage::{Author, Storage, StorageError};

fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// What a store knows of the pods: revision, key, who, and who behind that.
async fn told(store: &Datastore) -> Vec<(u64, String, String, Option<String>)> {
    let found = store.authors(PODS, 0, store.revision(), usize::MAX).await.unwrap();
    assert_eq!(found.up_to, store.revision());
    let of = |name: &Arc<str>| name.to_string();
    let changes = found.changes.iter();
    changes
        .map(|c| (c.revision, of(&c.key), of(&c.made.by.user), c.made.by.impersonator.as_ref().map(of)))
        .collect()
}

fn is(revision: u64, name: &str, user: &str) -> (u64, String, String, Option<String>) {
    (revision, pod(name), user.to_owned(), None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_survives_a_restart_and_goes_with_the_compaction() {
    let f = Fixture::new().await;
    let began = now_millis();
    let (alice, bob) = (Author::new("alice", None), Author::new("bob", Some("root")));
    alice.clone().acting(f.store.create(&pod("a"), object("a", 1))).await.unwrap();
    bob.acting(f.store.update(&pod("a"), 0, object("a", 2))).await.unwrap();
    f.store.create(&pod("b"), object("b", 1)).await.unwrap();
    alice.acting(f.store.delete(&pod("a"), 0)).await.unwrap();
    let all = [
        is(2, "a", "alice"),
        (3, pod("a"), "bob".to_owned(), Some("root".to_owned())),
        is(4, "b", "system:apiserver"),
        is(5, "a", "alice"),
    ];
    assert_eq!(told(&f.store).await, all);
    let f = f.reopen().await;
    assert_eq!(told(&f.store).await, all);

    let changes = f.store.authors(PODS, 0, 5, usize::MAX).await.unwrap().changes;
    let times: Vec<u64> = changes.iter().map(|change| change.made.at_millis).collect();
    assert!(times.is_sorted() && times[0] >= began && times[3] <= now_millis(), "{times:?}");
    let versions = f.store.history(&pod("a")).await.unwrap();
    let users: Vec<_> =
        versions.iter().map(|version| version.made.as_ref().unwrap().by.user.clone()).collect();
    assert_eq!(users, ["alice".into(), "bob".into(), "alice".into()]);

    f.store.compact(3).await.unwrap();
    assert_eq!(told(&f.store).await, all[1..]);
    f.store.compact(5).await.unwrap();
    assert_eq!(told(&f.store).await, all[2..3]);
    assert_eq!(told(&f.reopen().await.store).await, all[2..3]);
}

#[tokio::test]
async fn it_is_told_a_page_at_a_time_of_what_is_asked_for() {
    let f = Fixture::new().await;
    let operations = ["a", "b"]
        .map(|name| datastore::Operation::Create { key: pod(name).as_str().into(), object: object(name, 1) });
    f.store.transaction(operations.to_vec()).await.unwrap(); // 2
    f.store.update(&pod("a"), 0, object("a", 2)).await.unwrap(); // 3
    f.store.create("/registry/core/nodes/n", object("n", 1)).await.unwrap(); // 4
    f.store.update(&pod("b"), 0, object("b", 2)).await.unwrap(); // 5
    let page = async |scope: String, after, up_to, limit| {
        let found = f.store.authors(&scope, after, up_to, limit).await.unwrap();
        (found.changes.iter().map(|change| change.revision).collect::<Vec<_>>(), found.up_to)
    };
    // What shares a revision is told together.
    assert_eq!(page(PODS.into(), 0, 5, 1).await, (vec![2, 2], 2));
    assert_eq!(page(PODS.into(), 2, 5, 1).await, (vec![3], 3));
    assert_eq!(page(PODS.into(), 3, 5, 1).await, (vec![5], 5));
    assert_eq!(page(PODS.into(), 2, 4, 9).await, (vec![3], 4));
    assert_eq!(page(pod("b"), 0, u64::MAX, 9).await, (vec![2, 5], 5));
    let error = f.store.authors("nonsense", 0, 5, 9).await.unwrap_err();
    assert!(matches!(error, StorageError::InvalidKey { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_knows_it_also_one_that_was_away() {
    let mut nodes = Nodes::with_spares(3, timing(), 3).await;
    nodes.voters(3).await;
    for (n, node) in nodes.nodes.iter().enumerate() {
        // A node that has joined tells it when it has seen that the others read it.
        let name = format!("p{n}");
        loop {
            let author = Author::new(&format!("user{n}"), None);
            let made = author.acting(node.store.create(&pod(&name), object(&name, 1))).await.unwrap();
            if told(&node.store).await.iter().any(|change| change.0 == made.revision) {
                break;
            }
            node.store.delete(&pod(&name), 0).await.unwrap();
        }
    }
    let last = nodes.nodes[2].store.revision();
    let first = told(&nodes.nodes[0].store).await;
    let users: Vec<&str> =
        first.iter().map(|change| &*change.2).filter(|user| user.starts_with("user")).collect();
    assert_eq!(users, ["user0", "user1", "user2"]);
    for node in &nodes.nodes {
        node.cluster().barrier().await.unwrap();
        assert_eq!(told(&node.store).await, first);
    }
    // What was written while it was away, and is in nobody's log any more, comes as a snapshot.
    let away = (0..3).find(|at| !nodes.nodes[*at].cluster().is_leader()).unwrap();
    let (dir, address) = nodes.kill(away);
    for n in 0..60 {
        let name = format!("later{n}");
        let author = Author::new("late", None);
        author.acting(nodes.nodes[0].store.create(&pod(&name), object(&name, n))).await.unwrap();
    }
    for node in &nodes.nodes {
        while node.store.condition(false).await.unwrap().log_entries >= 40 {
            tokio::task::yield_now().await;
        }
    }
    nodes.start(dir, address).await;
    let store = &nodes.nodes[2].store;
    until(|| store.revision() >= last + 60).await;
    let all = told(store).await;
    assert_eq!(all.iter().filter(|change| change.2 == "late").count(), 60);
    assert_eq!(all, told(&nodes.nodes[0].store).await);
}

/// A node of a version that does not read authors, as far as others can see: it does not say that it does.
struct Older {
    node: Arc<Cluster>,
    asked: AtomicUsize,
}

#[async_trait]
impl Endpoint for Older {
    async fn serve(&self, request: Bytes) -> Bytes {
        const ADDED: &[u8] = br#","reads":2"#;
        let reply = self.node.serve(request).await.to_vec();
        let Some(at) = reply.windows(ADDED.len()).position(|found| found == ADDED) else {
            return reply.into();
        };
        self.asked.fetch_add(1, Ordering::Relaxed);
        // Format, length of the head, head.
        let length = u32::from_le_bytes(reply[1..5].try_into().unwrap()) - ADDED.len() as u32;
        [&reply[..1], &length.to_le_bytes(), &reply[5..at], &reply[at + ADDED.len()..]].concat().into()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_as_long_as_one_node_could_not_read_it() {
    let mut nodes = Nodes::new(3, timing()).await;
    nodes.voters(3).await;
    // Without a change that would tell them, all begin again.
    let mut stopped = Vec::new();
    while !nodes.nodes.is_empty() {
        stopped.push(nodes.kill(0));
    }
    let (dir, address) = stopped.pop().unwrap();
    nodes.start(dir, address.clone()).await;
    let node = Arc::clone(nodes.nodes[0].cluster());
    let older = Arc::new(Older { node, asked: AtomicUsize::default() });
    nodes.board.attach(&address, &older);
    for (dir, address) in stopped {
        nodes.start(dir, address).await;
    }
    nodes.leader().await;
    let store = Arc::clone(&nodes.nodes[1].store);
    let write = async |name: String| {
        let alice = Author::new("alice", None);
        loop {
            match alice.clone().acting(store.create(&pod(&name), object(&name, 1))).await {
                Ok(made) => return made.revision,
                Err(StorageError::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    write("first".to_owned()).await;
    // Each of the others has asked it, and been answered.
    until(|| older.asked.load(Ordering::Relaxed) > 3).await;
    write("second".to_owned()).await;
    assert_eq!(told(&store).await, []);
    // It has been upgraded.
    nodes.board.attach(&address, nodes.nodes[0].cluster());
    let mut revision = 0;
    for n in 0.. {
        revision = write(format!("late{n}")).await;
        if !told(&store).await.is_empty() {
            break;
        }
    }
    nodes.nodes[0].cluster().barrier().await.unwrap();
    let (there, here) = (told(&nodes.nodes[0].store).await, told(&store).await);
    assert_eq!((there[0].0, &*there[0].2), (revision, "alice"));
    assert_eq!(there, here);
}
