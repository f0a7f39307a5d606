//! One process at a time runs the controllers, and idles cheaply.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use client::{LeaderElection, Rest, SharedInformers};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
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
async fn a_lease_that_is_watched_is_taken_over_when_it_expires_and_when_it_is_released() {
    let server = TestServer::start().await;
    let silent = LeaseSpec {
        holder_identity: Some("silent".into()),
        lease_duration_seconds: Some(1),
        ..LeaseSpec::default()
    };
    let metadata =
        ObjectMeta { name: Some("l".into()), namespace: Some("kube-system".into()), ..ObjectMeta::default() };
    Rest::new(server.client()).create(&Lease { metadata, spec: Some(silent) }).await.unwrap();
    let active: Arc<Mutex<Vec<&str>>> = Arc::default();
    let dead = Arc::new(AtomicBool::new(false));
    let contend = |name: &'static str| {
        let stop = CancellationToken::new();
        // Nobody looks by themselves within this test.
        let hour = Duration::from_secs(3600);
        let election = LeaderElection::new(server.client(), "l", name)
            .with_times(hour, hour, hour)
            .watching(SharedInformers::new(server.client()))
            .unless_gone(Arc::new({
                let dead = Arc::clone(&dead);
                move |holder| holder == "b" && dead.load(Ordering::Relaxed)
            }));
        let (active, token) = (active.clone(), stop.clone());
        tokio::spawn(async move {
            let work = |term: CancellationToken| {
                active.lock().push(name);
                let active = active.clone();
                async move {
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
    first.cancel();
    eventually("b leads", || async { (*active.lock() == ["b"]).then_some(()) }).await;
    // B does not know that it is dead. It hears of its loss at once.
    dead.store(true, Ordering::Relaxed);
    let _third = contend("c");
    eventually("c leads", || async { (*active.lock() == ["c"]).then_some(()) }).await;
}

#[tokio::test]
async fn work_may_end_by_itself_in_the_moment_in_which_it_is_told_to() {
    let server = TestServer::start().await;
    let stop = CancellationToken::new();
    let work = |term: CancellationToken| {
        let stop = stop.clone();
        async move {
            stop.cancel();
            term.cancelled().await;
        }
    };
    LeaderElection::new(server.client(), "l", "a").run(&stop, work).await;
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
