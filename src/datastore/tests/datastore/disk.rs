//! What happens when the disk does not do as it is told.

use crate::cluster::{Nodes, timing, until};
use crate::fixture::{Fixture, PODS, manual, next, object, pod};
use datastore::raft::Timing;
use datastore::{Datastore, OpenError};
use std::sync::Arc;
use storage::{Encoded, ListOptions, Storage, StorageError, WatchFrom};

fn large(n: u64) -> Encoded {
    let value = serde_json::json!({"metadata": {"name": "a"}, "n": n, "pad": "x".repeat(64 << 10)});
    Encoded::new(&value).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_clearly_and_loses_nothing() {
    let f = Fixture::new().await;
    let mut watch = f.store.watch(PODS, WatchFrom::Now).await.unwrap();
    f.store.create(&pod("first"), object("first", 1)).await.unwrap();
    f.store.limit_size(400 << 10).await.unwrap();
    let mut stored = 1;
    let error = loop {
        match f.store.create(&pod(&format!("p{stored}")), large(stored)).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(matches!(error, StorageError::Full { .. }));
    assert_eq!(f.store.revision(), 1 + stored);
    assert_eq!(f.store.count(PODS).await.unwrap(), stored);
    // A group of writes fails as a whole, and answers everybody.
    let group = (0..20).map(|n| {
        let store = Arc::clone(&f.store);
        tokio::spawn(async move { store.create(&pod(&format!("g{n}")), large(n)).await })
    });
    for result in futures::future::join_all(group).await {
        assert!(matches!(result.unwrap(), Err(StorageError::Full { .. })));
    }
    assert!(f.store.statistics().failures > 0);
    // With space again, everything goes on where it was.
    f.store.limit_size(1 << 30).await.unwrap();
    let made = f.store.create(&pod("after"), large(0)).await.unwrap();
    assert_eq!(made.revision, 2 + stored);
    for revision in 2..=made.revision {
        assert_eq!(next(&mut watch).await.unwrap().revision, revision);
    }
    let f = f.reopen().await;
    assert_eq!(f.store.count(PODS).await.unwrap(), stored + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_is_full_does_not_hold_up_the_others_and_catches_up() {
    // Writers at the full node wait this long: nothing that they have written is applied there.
    let patience = std::time::Duration::from_secs(1);
    let nodes = Nodes::new(3, Timing { patience, ..timing() }).await;
    nodes.voters(3).await;
    let full = nodes.leader().await;
    nodes.nodes[full].store.limit_size(1).await.unwrap();
    // Its own writers are told, or served by whoever leads now; nothing counts that was not acknowledged.
    let mut acknowledged = Vec::new();
    for n in 0..2u64 {
        let key = pod(&format!("full{n}"));
        if nodes.nodes[full].store.create(&key, large(n)).await.is_ok() {
            acknowledged.push(key);
        }
    }
    let other = (full + 1) % 3;
    for n in 0..6u64 {
        let key = pod(&format!("p{n}"));
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        while let Err(error) = nodes.nodes[other].store.create(&key, large(n)).await {
            // Known to be there when the answer was lost.
            if matches!(error, StorageError::KeyExists { .. }) {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{error}");
        }
        acknowledged.push(key);
    }
    // Reads of what is there go on.
    nodes.nodes[full]
        .store
        .list(PODS, ListOptions { revision: storage::ListRevision::Any, ..Default::default() })
        .await
        .unwrap();
    nodes.nodes[full].store.limit_size(1 << 30).await.unwrap();
    let seen = nodes.nodes[other].store.revision();
    until(|| nodes.nodes[full].store.revision() >= seen).await;
    for key in acknowledged {
        for node in &nodes.nodes {
            assert!(node.store.get(&key).await.unwrap().is_some(), "{key} is missing");
        }
    }
}

#[tokio::test]
async fn damaged_and_newer_files_are_refused_with_a_reason() {
    let f = Fixture::new().await;
    f.store.create(&pod("a"), object("a", 1)).await.unwrap();
    f.store.shutdown().await;
    let file = f.path().join("state.db");
    let good = std::fs::read(&file).unwrap();

    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 42).unwrap();
    let error = Datastore::open(f.path(), manual()).await.unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 42, .. }), "{error}");

    let mut bad = good.clone();
    bad[..16].fill(b'?');
    std::fs::write(&file, bad).unwrap();
    let error = Datastore::open(f.path(), manual()).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");

    std::fs::write(&file, good).unwrap();
    let store = Datastore::open(f.path(), manual()).await.unwrap();
    assert_eq!(store.list(PODS, ListOptions::default()).await.unwrap().items.len(), 1);
}
