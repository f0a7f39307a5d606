//! Watches: order, completeness, from any revision, slow readers.

use crate::fixture::{Fixture, PODS, next, object, parse, pod};
use futures::{FutureExt, StreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::{EventKind, ListOptions, ListRevision, Storage, StorageError, WatchFrom, WatchItem};

#[tokio::test]
async fn a_watch_sees_additions_changes_and_deletions_with_what_was_before() {
    let f = Fixture::new().await;
    let mut watch = f.store.watch(PODS, WatchFrom::Now).await.unwrap();
    f.store.create(&pod("a"), object("a", 1)).await.unwrap();
    f.store.update(&pod("a"), 2, object("a", 2)).await.unwrap();
    f.store.delete(&pod("a"), 3).await.unwrap();
    // From memory, then the same again from the disk.
    let f2 = async {
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(next(&mut watch).await.unwrap());
        }
        (seen, f.reopen().await)
    };
    let (live, f) = f2.await;
    let mut watch = f.store.watch(PODS, WatchFrom::Revision(1)).await.unwrap();
    for event in live {
        let again = next(&mut watch).await.unwrap();
        assert_eq!((again.kind, again.revision), (event.kind, event.revision));
        assert_eq!(again.object.value, event.object.value);
        assert_eq!(again.object.attrs, event.object.attrs);
        assert_eq!(again.previous.as_ref().map(|o| &o.value), event.previous.as_ref().map(|o| &o.value));
        match event.revision {
            2 => assert!(event.kind == EventKind::Added && event.previous.is_none()),
            3 => assert_eq!(event.previous.as_ref().unwrap().attrs.label("parity"), Some("odd")),
            _ => {
                assert_eq!(event.kind, EventKind::Deleted);
                let last = parse(&event.object.value);
                assert_eq!((&last["n"], &last["metadata"]["resourceVersion"]), (&2.into(), &"4".into()));
            }
        }
    }
}

#[tokio::test]
async fn namespaces_and_single_keys_have_watches_of_their_own() {
    let f = Fixture::new().await;
    let mut namespace = f.store.watch("/registry/core/pods/a/", WatchFrom::Now).await.unwrap();
    let mut single = f.store.watch("/registry/core/pods/a/y", WatchFrom::Now).await.unwrap();
    let mut nodes = f.store.watch("/registry/core/nodes/", WatchFrom::Now).await.unwrap();
    for key in ["core/pods/a/x", "core/pods/ab/y", "core/pods/a/y", "core/nodes/a"] {
        f.store.create(&format!("/registry/{key}"), object("o", 1)).await.unwrap();
    }
    assert_eq!(&*next(&mut namespace).await.unwrap().object.key, "/registry/core/pods/a/x");
    assert_eq!(&*next(&mut namespace).await.unwrap().object.key, "/registry/core/pods/a/y");
    assert_eq!(&*next(&mut single).await.unwrap().object.key, "/registry/core/pods/a/y");
    assert_eq!(&*next(&mut nodes).await.unwrap().object.key, "/registry/core/nodes/a");
    assert!(namespace.next().now_or_never().is_none());
    assert_eq!((single.progress(), nodes.progress()), (5, 5));
    for bad in ["/registry/core/", "/registry/", "/registry/core/pods/a/b/c/", "pods"] {
        assert!(matches!(f.store.watch(bad, WatchFrom::Now).await, Err(StorageError::InvalidKey { .. })));
    }
}

/// Each watch starts from a list at some moment and has to arrive at the same end, one revision at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn list_and_watch_from_any_moment_arrive_at_the_same_state() {
    let f = Fixture::new().await;
    const WRITERS: u64 = 6;
    const WRITES: u64 = 150;
    let writers: Vec<_> = (0..WRITERS)
        .map(|w| {
            let store = Arc::clone(&f.store);
            tokio::spawn(async move {
                for n in 0..WRITES {
                    let key = pod(&format!("k{}", (n * 7 + w) % 20));
                    // Whatever fails because of another writer has no event.
                    let _ = match (n + n / 20) % 3 {
                        0 => store.create(&key, object("k", n)).await,
                        1 => store.update(&key, 0, object("k", n)).await,
                        _ => store.delete(&key, 0).await,
                    };
                }
            })
        })
        .collect();
    let watchers: Vec<_> = (0..12)
        .map(|w| {
            let store = Arc::clone(&f.store);
            tokio::spawn(async move {
                let start = ListRevision::NotOlderThan(1 + w * 10);
                store.list(PODS, ListOptions { revision: start, ..ListOptions::default() }).await.unwrap();
                let revision = if w % 2 == 0 { ListRevision::MostRecent } else { ListRevision::Exact(1 + w) };
                let list =
                    store.list(PODS, ListOptions { revision, ..ListOptions::default() }).await.unwrap();
                let mut state: BTreeMap<String, u64> =
                    list.items.iter().map(|o| (o.key.to_string(), o.revision)).collect();
                let watch = store.watch(PODS, WatchFrom::Revision(list.revision)).await.unwrap();
                (list.revision, std::mem::take(&mut state), watch)
            })
        })
        .collect();
    let mut started = Vec::new();
    for watcher in futures::future::join_all(watchers).await {
        started.push(watcher.unwrap());
    }
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    let end = f.store.list(PODS, ListOptions::default()).await.unwrap();
    let expected: BTreeMap<_, _> = end.items.iter().map(|o| (o.key.to_string(), o.revision)).collect();
    for (mut at, mut state, mut watch) in started {
        while at < end.revision {
            let event = next(&mut watch).await.unwrap();
            // All writes are in this scope: no revision is missing and none comes twice.
            assert_eq!(event.revision, at + 1);
            at = event.revision;
            let before = state.get(&*event.object.key).copied();
            assert_eq!(event.previous.as_ref().map(|o| o.revision), before);
            match event.kind {
                EventKind::Deleted => assert!(state.remove(&*event.object.key).is_some()),
                EventKind::Added => assert!(state.insert(event.object.key.to_string(), at).is_none()),
                EventKind::Modified => assert!(state.insert(event.object.key.to_string(), at).is_some()),
            }
        }
        assert_eq!(state, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_start_revision_is_served_also_after_a_restart() {
    let f = Fixture::new().await;
    f.store.create(&pod("a"), object("a", 0)).await.unwrap();
    for n in 1..=300 {
        f.store.update(&pod("a"), 0, object("a", n)).await.unwrap();
    }
    let f = f.reopen().await;
    f.store.update(&pod("a"), 0, object("a", 301)).await.unwrap();
    for start in [1, 2, 3, 130, 301, 302] {
        let mut watch = f.store.watch(PODS, WatchFrom::Revision(start)).await.unwrap();
        for revision in start + 1..=303 {
            assert_eq!(next(&mut watch).await.unwrap().revision, revision);
        }
        assert_eq!(watch.progress(), 303);
    }
}

#[tokio::test]
async fn an_event_is_shared_by_all_watches() {
    let f = Fixture::new().await;
    let mut one = f.store.watch(PODS, WatchFrom::Now).await.unwrap();
    let mut other = f.store.watch("/registry/core/pods/default/", WatchFrom::Now).await.unwrap();
    f.store.create(&pod("a"), object("a", 1)).await.unwrap();
    let (one, other) = (next(&mut one).await.unwrap(), next(&mut other).await.unwrap());
    assert!(Arc::ptr_eq(&one, &other));
    let encode = |event: &storage::Event| Ok::<_, ()>(event.object.value.slice(0..1));
    let frame = one.frame(storage::FrameForm::Json, encode).unwrap();
    let again = other.frame(storage::FrameForm::Json, |_| Err(())).unwrap();
    assert_eq!(again.as_ptr(), frame.as_ptr());
    assert_eq!(other.frame(storage::FrameForm::Protobuf, |_| Err(())), Err(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_does_not_read_is_cut_off_and_harms_nobody() {
    let f = Fixture::new().await;
    let mut slow = f.store.watch(PODS, WatchFrom::Now).await.unwrap();
    let mut idle = f.store.watch("/registry/core/pods/other/", WatchFrom::Now).await.unwrap();
    let mut quick = f.store.watch(PODS, WatchFrom::Now).await.unwrap();
    let big = "x".repeat(256 << 10);
    let large = |n: u64| {
        let value = serde_json::json!({"metadata": {"name": "a"}, "n": n, "pad": big});
        storage::Encoded::new(&value).unwrap()
    };
    f.store.create(&pod("a"), large(0)).await.unwrap();
    for n in 1..60 {
        f.store.update(&pod("a"), 0, large(n)).await.unwrap();
        assert_eq!(next(&mut quick).await.unwrap().revision, n + 1);
    }
    let error = loop {
        match slow.next().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StorageError::SlowWatcher { .. }));
    assert!(slow.next().await.is_none());
    // Nothing happened in the other namespace: that watch has lost nothing.
    f.store.create("/registry/core/pods/other/x", object("x", 1)).await.unwrap();
    assert_eq!(&*next(&mut idle).await.unwrap().object.key, "/registry/core/pods/other/x");
    // Whoever was cut off goes on from the last revision it saw.
    let mut again = f.store.watch(PODS, WatchFrom::Revision(2)).await.unwrap();
    for revision in 3..=61 {
        assert_eq!(next(&mut again).await.unwrap().revision, revision);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_tells_its_progress() {
    let f = Fixture::new().await;
    let watch = f.store.watch("/registry/core/nodes/", WatchFrom::Now).await.unwrap();
    let mut watch = watch.with_progress(Duration::from_secs(60));
    f.store.create(&pod("a"), object("a", 1)).await.unwrap();
    let item = watch.next().await.unwrap().unwrap();
    assert!(matches!(item, WatchItem::Progress(2)), "{item:?}");
    assert!(matches!(watch.next().await, Some(Ok(WatchItem::Progress(2)))));
}

#[tokio::test]
async fn watches_end_when_the_store_closes() {
    let f = Fixture::new().await;
    let mut watch = f.store.watch(PODS, WatchFrom::Now).await.unwrap();
    let waiting = tokio::spawn(async move { watch.next().await.is_none() });
    f.store.shutdown().await;
    assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap());
}
