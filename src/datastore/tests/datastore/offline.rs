//! Copies, restoring, and going on alone.

use crate::cluster::{Nodes, timing, until};
use crate::fixture::{Fixture, PODS, manual, object, parse, pod};
use datastore::offline::{self, SKIPPED};
use datastore::raft::{ClusterOptions, Goal, Member};
use datastore::{Datastore, OpenError, Options};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use storage::{ListOptions, Storage, StorageError, WatchFrom};

async fn state(store: &Datastore) -> BTreeMap<String, (u64, u64)> {
    let list = store.list(PODS, ListOptions::default()).await.unwrap();
    let entry =
        |o: &Arc<storage::Object>| (o.key.to_string(), (o.revision, parse(&o.value)["n"].as_u64().unwrap()));
    list.items.iter().map(entry).collect()
}

/// A directory with a copy as its database.
fn place(copy: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::rename(copy, dir.path().join("state.db")).unwrap();
    dir
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_under_load_is_one_revision_and_comes_back_as_it_was() {
    let f = Fixture::new().await;
    // Pairs that change together: a copy in between two revisions would tear one.
    for n in 0..50 {
        for side in ["a", "b"] {
            f.store.create(&pod(&format!("{side}{n}")), object("x", 0)).await.unwrap();
        }
    }
    let store = Arc::clone(&f.store);
    let writer = tokio::spawn(async move {
        for round in 1..=400u64 {
            let n = round % 50;
            let pair = ["a", "b"].map(|side| datastore::Operation::Update {
                key: pod(&format!("{side}{n}")).into(),
                if_revision: 0,
                object: object("x", round),
            });
            store.transaction(pair.into()).await.unwrap();
        }
    });
    until(|| f.store.revision() > 150).await;
    let file = f.dir.path().join("copy.db");
    let copied = f.store.copy_to(&file).await.unwrap();
    writer.await.unwrap();
    assert_eq!(copied.objects, 100);
    assert_eq!(copied.cluster, f.store.cluster_id());
    let expected =
        ListOptions { revision: storage::ListRevision::Exact(copied.revision), ..ListOptions::default() };
    let expected = f.store.list(PODS, expected).await.unwrap();
    f.store.create(&pod("later"), object("later", 1)).await.unwrap();
    let seen = f.store.revision();

    let found = offline::found(&file, seen, 0).unwrap();
    assert_eq!((found.revision, found.compacted), (seen + SKIPPED, seen + SKIPPED));
    assert_ne!(found.cluster, copied.cluster);
    let dir = place(&file);
    let store = Datastore::open(dir.path(), manual()).await.unwrap();
    let now = store.list(PODS, ListOptions::default()).await.unwrap();
    assert_eq!(now.items.len(), 100);
    for (was, is) in expected.items.iter().zip(&now.items) {
        assert_eq!((&was.key, was.revision, &was.value), (&is.key, is.revision, &is.value));
    }
    for n in 0..50 {
        let n_of = |side: &str| state_of(&now.items, &pod(&format!("{side}{n}")));
        assert_eq!(n_of("a"), n_of("b"));
    }
    // Whoever watched or listed before is told to list again; nobody sees an old revision twice.
    for old in [copied.revision, seen, seen + 1] {
        let error = store.watch(PODS, WatchFrom::Revision(old)).await.unwrap_err();
        assert!(matches!(error, StorageError::Compacted { .. }), "{error}");
    }
    let made = store.create(&pod("new"), object("new", 1)).await.unwrap();
    assert_eq!(made.revision, seen + SKIPPED + 1);
    // What is superseded later is forgotten as ever.
    store.update(&pod("a1"), 0, object("x", 9999)).await.unwrap();
    store.delete(&pod("b1"), 0).await.unwrap();
    store.compact(store.revision()).await.unwrap();
    store.shutdown().await;
    let connection = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    let rows: u64 = connection.query_row("SELECT count(*) FROM revisions", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 100);
}

fn state_of(items: &[Arc<storage::Object>], key: &str) -> u64 {
    let object = items.iter().find(|object| &*object.key == key).unwrap();
    parse(&object.value)["n"].as_u64().unwrap()
}

#[tokio::test]
async fn a_closed_store_is_copied_too_and_an_open_one_is_left_alone() {
    let f = Fixture::new().await;
    f.store.create(&pod("a"), object("a", 1)).await.unwrap();
    let (path, file) = (f.path(), f.dir.path().join("copy.db"));
    assert!(matches!(offline::copy_closed(&path, &file), Err(OpenError::Locked { .. })));
    assert!(matches!(offline::recover(&path, 0), Err(OpenError::Locked { .. })));
    f.store.shutdown().await;
    let copied = offline::copy_closed(&path, &file).unwrap();
    assert_eq!((copied.objects, copied.revision), (1, 2));
    assert_eq!(offline::inspect(&path).unwrap().contents, copied);
    let none = f.dir.path().join("none");
    assert!(offline::inspect(&none).is_err());
    assert!(!none.exists(), "looking made it");
}

#[tokio::test]
async fn a_damaged_copy_is_not_founded_upon() {
    let f = Fixture::new().await;
    for n in 0..200 {
        f.store.create(&pod(&format!("p{n}")), object("p", n)).await.unwrap();
    }
    let file = f.dir.path().join("copy.db");
    f.store.copy_to(&file).await.unwrap();
    let good = std::fs::read(&file).unwrap();
    type Damage = Box<dyn Fn(&mut Vec<u8>)>;
    let cases: [(&str, Damage); 3] = [
        ("empty", Box::new(Vec::clear)),
        ("cut", Box::new(|bytes| bytes.truncate(bytes.len() / 2))),
        ("scribbled", Box::new(|bytes| bytes[20_000..30_000].fill(0x55))),
    ];
    for (name, damage) in cases {
        let mut bytes = good.clone();
        damage(&mut bytes);
        std::fs::write(&file, bytes).unwrap();
        let error = offline::found(&file, 0, 0).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{name}: {error}");
    }
    let lost = f.dir.path().join("lost.db");
    std::fs::write(&lost, &good).unwrap();
    rusqlite::Connection::open(&lost)
        .unwrap()
        .execute("DELETE FROM revisions WHERE row > 3000000", [])
        .unwrap();
    let error = offline::found(&lost, 0, 0).unwrap_err();
    assert!(error.to_string().contains("lead to no object"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_alone_and_the_others_cannot_bring_the_old_cluster_back() {
    let mut nodes = Nodes::new(3, timing()).await;
    nodes.voters(3).await;
    let leader = nodes.leader().await;
    for n in 0..40 {
        nodes.nodes[leader].store.create(&pod(&format!("p{n}")), object("p", n)).await.unwrap();
    }
    // The survivor has it in its log when it counts as acknowledged by it; it may not be applied yet.
    let expected = state(&nodes.nodes[leader].store).await;
    let seen = nodes.nodes[leader].store.revision();
    let survivor = (leader + 1) % 3;
    until(|| nodes.nodes[survivor].store.revision() == seen).await;
    let (old_cluster, old_id) = {
        let node = &nodes.nodes[survivor];
        (node.store.cluster_id().to_owned(), node.cluster().id())
    };
    let mut left = Vec::new();
    for _ in 0..3 {
        left.push(nodes.kill(0));
    }
    let (dir, address) = left.remove(survivor);
    let inspected = loop {
        match offline::inspect(dir.path()) {
            Ok(inspected) => break inspected,
            Err(OpenError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(inspected.name, address);
    assert_eq!(inspected.others.len(), 2);
    let recovered = offline::recover(dir.path(), 0).unwrap();
    assert_ne!(recovered.cluster, old_cluster);
    assert_eq!(recovered.last_revision, seen);
    assert_eq!(recovered.revision, seen + SKIPPED);

    // Alone, it writes at once.
    let store = Datastore::open(dir.path(), nodes.options(&address, None)).await.unwrap();
    assert!(store.joined().is_none(), "it is the only one there is");
    assert_eq!(state(&store).await, expected);
    store.create(&pod("after"), object("after", 1)).await.unwrap();
    assert!(matches!(
        store.watch(PODS, WatchFrom::Revision(seen)).await,
        Err(StorageError::Compacted { .. })
    ));
    let cluster = store.cluster().await.unwrap();
    assert_eq!(cluster.id(), old_id);
    nodes.board.attach(&address, &cluster);
    nodes.nodes.push(crate::cluster::Node { store, address, dir });

    // The others come back with the old log: a majority of the old cluster, which goes on without the survivor.
    for (dir, address) in left {
        nodes.start(dir, address).await;
    }
    let recovered_store = Arc::clone(&nodes.nodes[0].store);
    until(|| nodes.nodes[1..].iter().any(|node| node.cluster().is_leader())).await;
    let old = nodes.nodes[1..].iter().position(|node| node.cluster().is_leader()).unwrap() + 1;
    nodes.nodes[old].store.create(&pod("elsewhere"), object("elsewhere", 1)).await.unwrap();
    let made = recovered_store.create(&pod("here"), object("here", 1)).await.unwrap();
    assert!(made.revision > seen + SKIPPED);
    let now = state(&recovered_store).await;
    assert_eq!(now.len(), expected.len() + 2);
    assert!(!now.contains_key(&pod("elsewhere")), "the old log came in");
    assert!(!state(&nodes.nodes[old].store).await.contains_key(&pod("here")), "the new log went out");
    assert_eq!(recovered_store.joined().unwrap().members().len(), 1);
    // A new node joins the new cluster.
    nodes.join("n9").await;
    let there = state(&nodes.nodes.last().unwrap().store).await;
    assert_eq!(there, state(&recovered_store).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_in_the_survivors_log_is_not_lost() {
    let mut nodes = Nodes::new(3, timing()).await;
    nodes.voters(3).await;
    let leader = nodes.leader().await;
    nodes.nodes[leader].store.create(&pod("a"), object("a", 1)).await.unwrap();
    let seen = nodes.nodes[leader].store.revision();
    let survivor = (leader + 1) % 3;
    until(|| nodes.nodes[survivor].store.revision() == seen).await;
    let mut left = Vec::new();
    for _ in 0..3 {
        left.push(nodes.kill(0));
    }
    let (dir, address) = left.remove(survivor);
    // Take the last applications back, as a power cut may: the log says them again.
    let connection = loop {
        let connection = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
        match offline::inspect(dir.path()) {
            Ok(_) => break connection,
            Err(OpenError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let (row, index): (i64, u64) = connection
        .query_row(
            "SELECT (SELECT max(row) FROM revisions), (SELECT max(log_index) FROM log WHERE kind = 0)",
            [],
            |r| Ok((r.get(0)?, r.get(1)?)),
        )
        .unwrap();
    connection
        .execute_batch(&format!(
            "DELETE FROM revisions WHERE row = {row}; DELETE FROM current WHERE row = {row};
             UPDATE applied SET log_index = {index} - 1, revision = revision - 1;
             UPDATE origins SET sequence = sequence - 1 WHERE (node, epoch, sequence) IN
                 (SELECT node, epoch, sequence FROM origins);"
        ))
        .unwrap();
    drop(connection);
    assert!(offline::inspect(dir.path()).unwrap().unapplied > 0);
    let recovered = offline::recover(dir.path(), 0).unwrap();
    assert!(recovered.applied > 0);
    assert_eq!(recovered.last_revision, seen);
    let member = Member { name: address.clone(), address: address.clone(), failure_domain: String::new() };
    let transport = nodes.board.transport(&address);
    let cluster = ClusterOptions { member, transport, timing: timing(), goal: Goal::default(), ticket: None };
    let store = Datastore::open(dir.path(), Options { cluster: Some(cluster), ..manual() }).await.unwrap();
    assert_eq!(state(&store).await.len(), 1);
}
