//! Commits by whoever writes, when nobody else does.
//!
//! A write that is alone gains nothing from the writer's thread: it would wait for two changes of threads, which take
//! as long as a third of the fsync between them. So it borrows the writer and commits where it is. As soon as writes
//! come together the thread takes over, and commits them in groups.

use crate::writer::{Proposal, Shared};
use std::sync::atomic::Ordering;
use tokio::runtime::{Handle, RuntimeFlavor};

/// Commits the proposal, unless it is one for the writer's thread; then it is given back.
///
/// Blocks the thread for as long as the disk takes, of which tokio is told.
pub(crate) fn commit(shared: &Shared, proposal: Proposal) -> Option<Proposal> {
    let told = Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
    let Some(mut writer) = shared.try_lock().filter(|_| told) else { return Some(proposal) };
    let Some(writer) = writer.as_mut().filter(|writer| writer.lonely && writer.successor.is_none()) else {
        return Some(proposal);
    };
    writer.counters.direct.fetch_add(1, Ordering::Relaxed);
    tokio::task::block_in_place(|| writer.commit(vec![proposal]));
    None
}

#[cfg(test)]
mod tests {
    use crate::options::Options;
    use crate::store::Datastore;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use storage::{Encoded, ListOptions, Storage};

    fn object(number: usize) -> Encoded {
        Encoded::new(&serde_json::json!({"metadata": {"name": format!("c{number}")}})).unwrap()
    }

    fn key(number: usize) -> String {
        format!("/registry/configmaps/default/c{number}")
    }

    async fn listed(store: &Datastore) -> Vec<u64> {
        let list = store.list("/registry/configmaps/", ListOptions::default()).await.unwrap();
        let mut revisions: Vec<_> = list.items.iter().map(|object| object.revision).collect();
        revisions.sort_unstable();
        revisions
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_after_the_other_they_do_without_the_thread_and_are_as_durable() {
        let dir = tempfile::tempdir().unwrap();
        let store = Datastore::open(dir.path(), Options::default()).await.unwrap();
        for number in 0..20 {
            store.create(&key(number), object(number)).await.unwrap();
        }
        assert!(store.counters().direct.load(Ordering::Relaxed) >= 19);
        let before = listed(&store).await;
        assert_eq!(before.len(), 20);
        store.shutdown().await;
        assert!(store.create(&key(20), object(20)).await.is_err(), "it is closed");
        drop(store);
        let store = Datastore::open(dir.path(), Options::default()).await.unwrap();
        assert_eq!(listed(&store).await, before);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn together_they_go_through_the_thread_and_none_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let store = Datastore::open(dir.path(), Options::default()).await.unwrap();
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for number in 0..25 {
                        let number = writer * 25 + number;
                        store.create(&key(number), object(number)).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let mut revisions = listed(&store).await;
        revisions.dedup();
        assert_eq!(revisions.len(), 200);
        assert!(store.counters().direct.load(Ordering::Relaxed) < 200);
    }
}
