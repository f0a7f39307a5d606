//! Controllers, scheduler and add-on engine act on one node at a time.
//!
//! A node that is alone needs to ask nobody, and writes no lease. In a cluster the holder of one lease acts. A node that
//! dies is followed within two seconds, which includes the choice of a new leader of the datastore: that one hears of
//! every node many times a second, and takes the lease of one that is silent. Its time itself is longer, so that it is not
//! lost to a busy machine or a slow disk. Whoever cannot renew in time stops before anybody else begins; nobody without a
//! majority of the datastore can do any harm meanwhile.

use client::{LeaderElection, SharedInformers};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The lease, in `kube-system`.
const LEASE: &str = "knarr-control-plane";
/// After this time without renewal others take over. Leases count whole seconds.
const LEASE_DURATION: Duration = Duration::from_secs(5);
/// After this time without renewal the holder stops.
const RENEW_DEADLINE: Duration = Duration::from_secs(4);
/// Between renewals. Those who wait follow the lease by a watch.
const RETRY: Duration = Duration::from_millis(500);

/// A candidate. `gone` says whether a node is known to be gone.
pub fn election(
    client: kube::Client,
    informers: SharedInformers,
    node: &str,
    gone: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> LeaderElection {
    // Another start is another candidate.
    let identity = format!("{node}_{:08x}", rand::random::<u32>());
    LeaderElection::new(client, LEASE, identity)
        .with_times(LEASE_DURATION, RENEW_DEADLINE, RETRY)
        .watching(informers)
        .unless_gone(Arc::new(move |holder| holder.rsplit_once('_').is_some_and(|(node, _)| gone(node))))
}

/// Runs `work` while this node is the one to act, until `stop` or until the work ends by itself. `work` has to end soon
/// after its token is cancelled.
pub async fn run<W: Future<Output = ()>>(
    mut clustered: watch::Receiver<bool>,
    election: &LeaderElection,
    stop: &CancellationToken,
    work: impl Fn(CancellationToken) -> W,
) {
    while !stop.is_cancelled() {
        let with_others = *clustered.borrow_and_update();
        let term = stop.child_token();
        let mut acting = pin!(async {
            if with_others {
                election.run(&term, &work).await;
            } else {
                work(term.clone()).await;
            }
        });
        let changed = async {
            if clustered.wait_for(|now| *now != with_others).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = &mut acting => return,
            () = changed => {}
        }
        term.cancel();
        acting.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn unreachable_election() -> LeaderElection {
        let tls = pki::tls::client_config(&[], None, &[]).unwrap();
        let client = client::connect::with_tls("https://127.0.0.1:1", tls, "test").unwrap();
        election(client.clone(), SharedInformers::new(client), "n1", |_| false)
    }

    #[tokio::test]
    async fn a_node_that_is_alone_acts_at_once_and_asks_when_others_come() {
        let (others, clustered) = watch::channel(false);
        let (stop, begun, acting) =
            (CancellationToken::new(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn({
            let (stop, begun, acting) = (stop.clone(), Arc::clone(&begun), Arc::clone(&acting));
            async move {
                let work = |term: CancellationToken| {
                    let (begun, acting) = (Arc::clone(&begun), Arc::clone(&acting));
                    async move {
                        begun.fetch_add(1, Ordering::SeqCst);
                        acting.fetch_add(1, Ordering::SeqCst);
                        term.cancelled().await;
                        acting.fetch_sub(1, Ordering::SeqCst);
                    }
                };
                run(clustered, &unreachable_election(), &stop, work).await;
            }
        });
        let until = async |wanted: usize| {
            while acting.load(Ordering::SeqCst) != wanted {
                tokio::task::yield_now().await;
            }
        };
        until(1).await;
        others.send_replace(true);
        // Nobody grants it the lease.
        until(0).await;
        others.send_replace(false);
        until(1).await;
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        stop.cancel();
        task.await.unwrap();
        assert_eq!(acting.load(Ordering::SeqCst), 0);
    }
}
