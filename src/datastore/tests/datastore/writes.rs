//! Writes: compare-and-swap, concurrency, group commit, durability across a restart.

use crate::fixture::{Fixture, PODS, manual, object, parse, pod};
use datastore::{Datastore, OpenError, Operation};
use std::sync::Arc;
use storage::{ListOptions, Storage, StorageError};

#[tokio::test]
async fn an_object_is_created_updated_and_deleted_with_its_revision_in_it() {
    let f = Fixture::new().await;
    assert_eq!(f.store.revision(), 1);
    let key = pod("a");
    let made = f.store.create(&key, object("a", 1)).await.unwrap();
    assert_eq!((made.revision, made.create_revision), (2, 2));
    assert_eq!(parse(&made.value)["metadata"]["resourceVersion"], "2");
    assert_eq!(made.attrs.label("parity"), Some("odd"));
    let read = f.store.get(&key).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&made, &read));

    let changed = f.store.update(&key, 2, object("a", 2)).await.unwrap();
    assert_eq!((changed.revision, changed.create_revision), (3, 2));
    let error = f.store.update(&key, 2, object("a", 3)).await.unwrap_err();
    assert!(matches!(error, StorageError::Conflict { expected: 2, current } if current.revision == 3));
    let error = f.store.create(&key, object("a", 3)).await.unwrap_err();
    assert!(matches!(error, StorageError::KeyExists { .. }));
    assert!(matches!(f.store.delete(&key, 2).await, Err(StorageError::Conflict { .. })));

    let gone = f.store.delete(&key, 3).await.unwrap();
    assert_eq!((gone.revision, gone.create_revision), (4, 2));
    assert_eq!(parse(&gone.value)["metadata"]["resourceVersion"], "4");
    assert_eq!(parse(&gone.value)["n"], 2);
    assert!(f.store.get(&key).await.unwrap().is_none());
    assert!(matches!(f.store.delete(&key, 0).await, Err(StorageError::NotFound { .. })));
    assert!(matches!(f.store.update(&key, 0, object("a", 1)).await, Err(StorageError::NotFound { .. })));
    assert_eq!(f.store.revision(), 4);
}

#[tokio::test]
async fn keys_of_another_form_are_refused() {
    let f = Fixture::new().await;
    for key in ["", "/registry/core/pods/", "/registry/core/pods/a/", "/registry/core", "x/y/z/a"] {
        let error = f.store.create(key, object("a", 1)).await.unwrap_err();
        assert!(matches!(error, StorageError::InvalidKey { .. }), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_concurrent_creates_of_a_key_exactly_one_wins() {
    let f = Fixture::new().await;
    for round in 0..10 {
        let key = pod(&format!("r{round}"));
        let tries = (0..32).map(|n| {
            let (store, key) = (Arc::clone(&f.store), key.clone());
            tokio::spawn(async move { store.create(&key, object("a", n)).await.map(|o| (n, o)) })
        });
        let results = futures::future::join_all(tries).await;
        let won: Vec<_> = results.into_iter().filter_map(|result| result.unwrap().ok()).collect();
        assert_eq!(won.len(), 1);
        let stored = f.store.get(&key).await.unwrap().unwrap();
        assert_eq!(parse(&stored.value)["n"], won[0].0);
    }
    assert_eq!(f.store.revision(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_compare_and_swap_loses_no_increment() {
    let f = Fixture::new().await;
    let key = pod("counter");
    f.store.create(&key, object("counter", 0)).await.unwrap();
    let workers = (0..8).map(|_| {
        let (store, key) = (Arc::clone(&f.store), key.clone());
        tokio::spawn(async move {
            for _ in 0..25 {
                let mut current = store.get(&key).await.unwrap().unwrap();
                loop {
                    let n = parse(&current.value)["n"].as_u64().unwrap();
                    match store.update(&key, current.revision, object("counter", n + 1)).await {
                        Ok(_) => break,
                        Err(StorageError::Conflict { current: newer, .. }) => {
                            assert!(newer.revision > current.revision);
                            current = newer;
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            }
        })
    });
    for worker in futures::future::join_all(workers).await {
        worker.unwrap();
    }
    let end = f.store.get(&key).await.unwrap().unwrap();
    assert_eq!(parse(&end.value)["n"], 200);
    assert_eq!(end.revision, 202);
}

/// On one thread, where nobody commits but the writer's.
#[tokio::test]
async fn commands_that_wait_for_the_disk_share_one_entry() {
    let f = Fixture::new().await;
    // Another process holds the write lock: the first command waits in its transaction, the rest gather.
    let blocker = rusqlite::Connection::open(f.path().join("state.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = f.store.statistics();
    let write = |n| {
        let store = Arc::clone(&f.store);
        Box::pin(async move { store.create(&pod(&format!("p{n}")), object("p", n)).await })
    };
    let mut first = write(0);
    assert!(futures::poll!(&mut first).is_pending());
    while f.store.statistics().waiting > 0 {
        tokio::task::yield_now().await;
    }
    let mut rest = futures::future::join_all((1..100).map(write));
    assert!(futures::poll!(&mut rest).is_pending());
    assert_eq!(f.store.statistics().waiting, 99);
    blocker.execute_batch("COMMIT").unwrap();
    first.await.unwrap();
    for written in rest.await {
        written.unwrap();
    }
    let after = f.store.statistics();
    assert_eq!(after.commands - before.commands, 100);
    assert_eq!(after.entries - before.entries, 2);
    assert_eq!(f.store.revision(), 101);
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_revisions_go_on() {
    let f = Fixture::new().await;
    for n in 0..50 {
        f.store.create(&pod(&format!("p{n:02}")), object("p", n)).await.unwrap();
    }
    f.store.update(&pod("p07"), 0, object("p", 777)).await.unwrap();
    f.store.delete(&pod("p08"), 0).await.unwrap();
    let before = f.store.list(PODS, ListOptions::default()).await.unwrap();
    let f = f.reopen().await;
    let after = f.store.list(PODS, ListOptions::default()).await.unwrap();
    assert_eq!((before.revision, after.revision), (53, 53));
    let flat = |list: &storage::List| {
        list.items.iter().map(|o| (o.key.to_string(), o.value.clone(), o.attrs.clone())).collect::<Vec<_>>()
    };
    assert_eq!(flat(&before), flat(&after));
    assert_eq!(after.items.len(), 49);
    assert_eq!(f.store.create(&pod("p08"), object("p", 1)).await.unwrap().revision, 54);
}

#[tokio::test]
async fn a_transaction_shares_a_revision_and_shows_as_a_whole() {
    let f = Fixture::new().await;
    let made = f
        .store
        .transaction(vec![
            Operation::Create { key: pod("a").into(), object: object("a", 1) },
            Operation::Create { key: "/registry/core/nodes/n".into(), object: object("n", 1) },
        ])
        .await
        .unwrap();
    assert!(made.iter().all(|object| object.revision == 2));
    let failed = f
        .store
        .transaction(vec![
            Operation::Create { key: pod("b").into(), object: object("b", 1) },
            Operation::Delete { key: pod("none").into(), if_revision: 0 },
        ])
        .await;
    assert!(matches!(failed, Err(StorageError::NotFound { .. })));
    assert_eq!(f.store.count("/registry/").await.unwrap(), 2);
}

#[tokio::test]
async fn a_directory_is_open_once_and_free_after_shutdown() {
    let f = Fixture::new().await;
    let error = Datastore::open(f.path(), manual()).await.unwrap_err();
    assert!(matches!(&error, OpenError::Locked { pid, .. } if *pid == std::process::id().to_string()));
    f.store.shutdown().await;
    f.store.shutdown().await;
    let error = f.store.create(&pod("late"), object("late", 1)).await.unwrap_err();
    assert!(matches!(error, StorageError::Unavailable { .. }), "{error}");
    // A clean stop leaves one file for the data.
    assert!(!f.path().join("state.db-wal").exists());
    Datastore::open(f.path(), manual()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_in_memory_behaves_the_same_and_is_its_own() {
    let one = Datastore::open_in_memory(manual()).await.unwrap();
    let other = Datastore::open_in_memory(manual()).await.unwrap();
    let writers = (0..8).map(|w| {
        let store = Arc::clone(&one);
        tokio::spawn(async move {
            for n in 0..50 {
                store.create(&pod(&format!("w{w}-{n}")), object("a", n)).await.unwrap();
                let revision = store.revision().saturating_sub(3).max(1);
                let options = ListOptions {
                    revision: storage::ListRevision::Exact(revision),
                    ..ListOptions::default()
                };
                store.list(PODS, options).await.unwrap();
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    assert_eq!(one.count(PODS).await.unwrap(), 400);
    assert_eq!(other.count(PODS).await.unwrap(), 0);
    one.compact(300).await.unwrap();
    one.shutdown().await;
}
