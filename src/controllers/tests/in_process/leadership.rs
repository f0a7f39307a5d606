//! One process at a time runs the controllers, and idles cheaply.

use std::{sync::Arc, time::Duration};

use client::LeaderElection;
use parking_lot::Mutex;
use testkit::{TestServer, eventually};
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;

#[tokio::test]
async fn a_released_lease_is_taken_over_and_never_shared() {
    let server = TestServer::start().await;
    let active: Arc<Mutex<Vec<&str>>> = Arc::default();
    let contend = |name: &'static str| {
        let stop = CancellationToken::new();
        let election = LeaderElection::new(server.client(), "kube-scheduler", name);
        let (active, token) = (active.clone(), stop.clone());
        tokio::spawn(async move {
            let work = |term: CancellationToken| {
                let active = active.clone();
                async move {
                    active.lock().push(name);
                    assert_eq!(*active.lock(), [name]);
                    term.cancelled().await;
                    active.lock().retain(|other| *other != name);
                }
            };
            election.run(&token, work).await;
        });
        stop
    };
    let first = contend("a");
    eventually("a leads", || async { (*active.lock() == ["a"]).then_some(()) }).await;
    let _second = contend("b");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(*active.lock(), ["a"]);
    first.cancel();
    eventually("b leads", || async { (*active.lock() == ["b"]).then_some(()) }).await;
}

#[tokio::test]
async fn an_idle_cluster_is_left_alone() {
    let cluster = Cluster::start().await;
    let revision = || storage::Storage::revision(&*cluster.server.datastore);
    // Starting up settles within seconds.
    let mut settled = revision();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = revision();
        if now - settled <= 1 {
            break;
        }
        settled = now;
    }
    let before = revision();
    tokio::time::sleep(Duration::from_secs(8)).await;
    // The lease every two seconds, and nothing else.
    let writes = revision() - before;
    assert!((1..=5).contains(&writes), "{writes} writes in 8 s");
}
