//! Past revisions, paging and compaction.

use crate::fixture::{Fixture, PODS, next, object, parse, pod};
use std::sync::Arc;
use storage::{Filter, List, ListOptions, ListRevision, Signature, Storage, StorageError, WatchFrom};

fn at(revision: u64) -> ListOptions {
    ListOptions { revision: ListRevision::Exact(revision), ..ListOptions::default() }
}

fn names(list: &List) -> Vec<(&str, u64)> {
    list.items
        .iter()
        .map(|o| (o.key.rsplit('/').next().unwrap(), parse(&o.value)["n"].as_u64().unwrap()))
        .collect()
}

#[tokio::test]
async fn pages_show_the_state_of_the_first_page_whatever_happens_since() {
    let f = Fixture::new().await;
    for n in 0..10 {
        f.store.create(&pod(&format!("p{n}")), object("p", n)).await.unwrap();
    }
    let limit = 4;
    let first = f.store.list(PODS, ListOptions { limit, ..ListOptions::default() }).await.unwrap();
    assert_eq!((first.items.len(), first.more, first.remaining, first.revision), (4, true, Some(6), 11));
    f.store.delete(&pod("p5"), 0).await.unwrap();
    f.store.update(&pod("p6"), 0, object("p", 66)).await.unwrap();
    f.store.create(&pod("p55"), object("p", 55)).await.unwrap();
    f.store.delete(&pod("p7"), 0).await.unwrap();
    f.store.create(&pod("p7"), object("p", 77)).await.unwrap();
    let page = |after: &str| ListOptions { limit, start_after: Some(pod(after)), ..at(11) };
    let second = f.store.list(PODS, page("p3")).await.unwrap();
    assert_eq!(names(&second), [("p4", 4), ("p5", 5), ("p6", 6), ("p7", 7)]);
    assert_eq!((second.more, second.remaining, second.revision), (true, Some(2), 11));
    let third = f.store.list(PODS, page("p7")).await.unwrap();
    assert_eq!(names(&third), [("p8", 8), ("p9", 9)]);
    assert_eq!((third.more, third.remaining), (false, Some(0)));
    // The present, from the cache.
    let now = f.store.list(PODS, ListOptions::default()).await.unwrap();
    assert_eq!(names(&now)[5..8], [("p55", 55), ("p6", 66), ("p7", 77)]);
}

#[tokio::test]
async fn filters_apply_before_limits_in_the_present_and_in_the_past() {
    let f = Fixture::new().await;
    for n in 0..10 {
        f.store.create(&pod(&format!("p{n}")), object("p", n)).await.unwrap();
    }
    let even = || ListOptions {
        limit: 3,
        filter: Some(Filter::new(Signature::default().with_label("parity", "even"), |object| {
            object.attrs.label("parity") == Some("even")
        })),
        ..at(11)
    };
    let unchanged = f.store.list(PODS, even()).await.unwrap();
    f.store.update(&pod("p0"), 0, object("p", 1)).await.unwrap();
    let from_disk = f.store.list(PODS, even()).await.unwrap();
    for list in [unchanged, from_disk] {
        assert_eq!(names(&list), [("p0", 0), ("p2", 2), ("p4", 4)]);
        assert_eq!((list.more, list.remaining), (true, None));
    }
}

#[tokio::test]
async fn lists_cover_namespaces_single_keys_and_everything() {
    let f = Fixture::new().await;
    for key in ["core/pods/a/x", "core/pods/a/y", "core/pods/ab/x", "core/nodes/n", "apps/deployments/a/d"] {
        f.store.create(&format!("/registry/{key}"), object("o", 1)).await.unwrap();
    }
    let count = async |prefix: &str| {
        let past = f.store.list(prefix, at(f.store.revision())).await.unwrap().items.len();
        let present = f.store.list(prefix, ListOptions::default()).await.unwrap().items.len();
        assert_eq!(past, present);
        assert_eq!(f.store.count(prefix).await.unwrap(), present as u64);
        present
    };
    assert_eq!(count("/registry/core/pods/a/").await, 2);
    assert_eq!(count("/registry/core/pods/").await, 3);
    assert_eq!(count("/registry/core/pods/a/x").await, 1);
    assert_eq!(count("/registry/core/").await, 4);
    assert_eq!(count("/registry/").await, 5);
    assert_eq!(count("/registry/batch/jobs/").await, 0);
    let options = ListOptions { limit: 2, ..ListOptions::default() };
    let some = f.store.list("/registry/", options).await.unwrap();
    assert_eq!((some.items.len(), some.more, some.remaining), (2, true, Some(3)));
}

#[tokio::test]
async fn compacted_revisions_are_gone_and_later_ones_whole() {
    let f = Fixture::new().await;
    let key = pod("a");
    f.store.create(&key, object("a", 0)).await.unwrap();
    for n in 1..=20 {
        f.store.update(&key, 0, object("a", n)).await.unwrap();
    }
    f.store.delete(&key, 0).await.unwrap();
    f.store.compact(12).await.unwrap();
    f.store.compact(5).await.unwrap();
    assert_eq!(f.store.compacted_revision(), 12);
    let error = f.store.list(PODS, at(11)).await.unwrap_err();
    assert!(matches!(error, StorageError::Compacted { requested: 11, oldest: 12 }));
    let error = f.store.watch(PODS, WatchFrom::Revision(11)).await.unwrap_err();
    assert!(matches!(error, StorageError::Compacted { requested: 11, oldest: 12 }));
    let f = f.reopen().await;
    assert_eq!(f.store.compacted_revision(), 12);
    assert!(matches!(f.store.list(PODS, at(11)).await, Err(StorageError::Compacted { .. })));
    assert_eq!(names(&f.store.list(PODS, at(12)).await.unwrap()), [("a", 10)]);
    assert_eq!(names(&f.store.list(PODS, at(22)).await.unwrap()), [("a", 20)]);
    let mut watch = f.store.watch(PODS, WatchFrom::Revision(12)).await.unwrap();
    for revision in 13..=23 {
        assert_eq!(next(&mut watch).await.unwrap().revision, revision);
    }
    f.store.compact(23).await.unwrap();
    assert_eq!(f.store.list(PODS, at(23)).await.unwrap().items.len(), 0);
    assert!(matches!(f.store.compact(24).await, Err(StorageError::FutureRevision { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_does_not_come_is_reported_after_a_moment() {
    let f = Fixture::new().await;
    for revision in [ListRevision::Exact(99), ListRevision::NotOlderThan(99)] {
        let error = f.store.list(PODS, ListOptions { revision, ..ListOptions::default() }).await.unwrap_err();
        assert!(matches!(error, StorageError::FutureRevision { requested: 99, current: 1 }));
    }
    let error = f.store.watch(PODS, WatchFrom::Revision(99)).await.unwrap_err();
    assert!(matches!(error, StorageError::FutureRevision { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_waits_for_a_revision_that_is_about_to_come() {
    let f = Fixture::new().await;
    let store = Arc::clone(&f.store);
    let options = ListOptions { revision: ListRevision::NotOlderThan(3), ..ListOptions::default() };
    let list = tokio::spawn(async move { store.list(PODS, options).await });
    f.store.create(&pod("a"), object("a", 1)).await.unwrap();
    f.store.create(&pod("b"), object("b", 1)).await.unwrap();
    assert_eq!(list.await.unwrap().unwrap().items.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_compacts_by_itself_and_keeps_the_latest_interval() {
    let dir = tempfile::tempdir().unwrap();
    let interval = Some(std::time::Duration::from_millis(100));
    let options = datastore::Options { compaction_interval: interval, ..datastore::Options::default() };
    let store = datastore::Datastore::open(dir.path(), options).await.unwrap();
    store.create(&pod("a"), object("a", 0)).await.unwrap();
    for n in 1..=1200 {
        store.update(&pod("a"), 0, object("a", n)).await.unwrap();
    }
    while store.compacted_revision() < 1202 {
        tokio::task::yield_now().await;
    }
    assert_eq!(names(&store.list(PODS, ListOptions::default()).await.unwrap()), [("a", 1200)]);
    store.shutdown().await;
    let connection = rusqlite::Connection::open(dir.path().join("state.db")).unwrap();
    let rows: u64 = connection.query_row("SELECT count(*) FROM revisions", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}
