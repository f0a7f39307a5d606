//! Looking after an open store.

use crate::fixture::{Fixture, object, parse, pod};
use datastore::Datastore;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use storage::{Encoded, Storage, StorageError};

fn large(n: u64) -> Encoded {
    let value = serde_json::json!({"metadata": {"name": "a"}, "n": n, "pad": "x".repeat(32 << 10)});
    Encoded::new(&value).unwrap()
}

#[tokio::test]
async fn the_condition_tells_what_is_there_and_what_is_damaged() {
    let f = Fixture::new().await;
    for n in 0..20 {
        f.store.create(&pod(&format!("p{n}")), object("p", n)).await.unwrap();
    }
    f.store.delete(&pod("p3"), 0).await.unwrap();
    f.store.compact(5).await.unwrap();
    let now = f.store.condition(true).await.unwrap();
    assert_eq!((now.revision, now.compacted_revision, now.objects), (22, 5, 19));
    assert_eq!(now.cluster, f.store.cluster_id());
    assert!(now.wal_bytes > 0 && now.file_bytes > 0 && now.used_bytes > 0);
    assert_eq!(now.faults, Some(Vec::new()));
    assert_eq!(f.store.condition(false).await.unwrap().faults, None);
    let other = rusqlite::Connection::open(f.path().join("state.db")).unwrap();
    other.execute("DELETE FROM revisions WHERE key = ?1", [pod("p9")]).unwrap();
    let faults = f.store.condition(true).await.unwrap().faults.unwrap();
    assert_eq!(faults, ["1 keys lead to no object"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_becomes_smaller_while_writes_go_on() {
    let f = Fixture::new().await;
    let fill = async || {
        for n in 0..300 {
            f.store.create(&pod(&format!("p{n}")), large(n)).await.unwrap();
        }
        for n in 0..300 {
            f.store.delete(&pod(&format!("p{n}")), 0).await.unwrap();
        }
        f.store.compact(f.store.revision()).await.unwrap();
    };
    for whole in [false, true] {
        fill().await;
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writer = {
            let (store, stop, count): (Arc<Datastore>, _, _) = (f.store.clone(), stop.clone(), count.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let n = count.fetch_add(1, Ordering::Relaxed);
                    let name = pod(&format!("w{whole}{n}"));
                    store.create(&name, object("w", n)).await.unwrap();
                }
            })
        };
        crate::cluster::until(|| count.load(Ordering::Relaxed) > 3).await;
        let done = f.store.defragment(whole).await.unwrap();
        stop.store(true, Ordering::Relaxed);
        writer.await.unwrap();
        assert!(done.before_bytes > 8 << 20, "{done:?}");
        let after = f.store.condition(true).await.unwrap();
        assert!(after.file_bytes < 2 << 20, "{whole}: {done:?} {after:?}");
        assert_eq!(after.faults, Some(Vec::new()));
        for n in 0..count.load(Ordering::Relaxed) {
            assert!(f.store.get(&pod(&format!("w{whole}{n}"))).await.unwrap().is_some());
        }
    }
    let count = f.store.count(crate::fixture::PODS).await.unwrap();
    let f = f.reopen().await;
    assert_eq!(f.store.count(crate::fixture::PODS).await.unwrap(), count);
}

#[tokio::test]
async fn the_history_of_a_key_reaches_back_to_the_compaction() {
    let f = Fixture::new().await;
    let key = pod("a");
    assert!(f.store.history(&key).await.unwrap().is_empty());
    f.store.create(&key, object("a", 1)).await.unwrap();
    f.store.update(&key, 0, object("a", 2)).await.unwrap();
    f.store.delete(&key, 0).await.unwrap();
    f.store.create(&key, object("a", 3)).await.unwrap();
    let told = |versions: &[datastore::maintenance::Version]| -> Vec<(u64, u64, Option<u64>)> {
        let n = |bytes: &bytes::Bytes| parse(bytes)["n"].as_u64().unwrap();
        versions.iter().map(|v| (v.revision, v.create_revision, v.value.as_ref().map(n))).collect()
    };
    let all = f.store.history(&key).await.unwrap();
    assert_eq!(told(&all), [(5, 5, Some(3)), (4, 0, None), (3, 2, Some(2)), (2, 2, Some(1))]);
    f.store.compact(3).await.unwrap();
    assert_eq!(told(&f.store.history(&key).await.unwrap()).len(), 3);
    assert!(matches!(f.store.history("nonsense").await, Err(StorageError::InvalidKey { .. })));
}
