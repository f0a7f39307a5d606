//! NetworkPolicies (networking.k8s.io/v1) as nftables rules for the pods of this node.
//!
//! ```text
//!   forward: established ─> accept
//!            from a pod to itself ─> accept
//!            ip saddr vmap @pods-out ─> group-4: ip daddr @pods-2 tcp dport 5432 return
//!                                                drop
//!            ip daddr vmap @pods-in  ─> group-1: ip saddr @pods-3 return
//!                                                drop
//! ```
//!
//! A pod that some policy is about is an element of `pods-in` or `pods-out`. Pods that the same policies are about share
//! a chain, in which what one of them lets through returns and all else is dropped. Peers are sets of addresses, shared
//! by all rules that speak of the same pods: a pod that comes or goes is an element more or less.
//!
//! - A node reaches its own pods always: kubelets probe them.
//! - Connections that were let through go on when policies change.
//! - A pod is protected from when its address is known; before that nobody can know where it is.
//! - Without any policy nothing is in the kernel, and pods are not watched.
//!
//! | module | what |
//! |---|---|
//! | `spec` | a policy, as far as rules are made of it |
//! | `tracker` | policies, pods and namespaces, and what follows from them |
//! | `table` | the shadow of the kernel's table |

#[cfg(test)]
mod kernel_tests;
mod spec;
mod table;
#[cfg(test)]
mod tests;
mod tracker;

pub(crate) use table::remove;

use crate::nftables::{self, NftError, NftFamily as _};
use crate::proxier::{Config, GARBAGE_AFTER, LOOK_INTERVAL, ProxyError, RETRY_FROM, RETRY_TO};
use apimachinery::family::Family;
use client::informer::Subscription;
use client::{Event, ObjectKey, SharedInformers};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use table::TABLE;
use tokio::task::unconstrained;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracker::Tracker;

/// Keeps the node's rules in step with the policies until it is cancelled. Rules stay when it ends. A kernel or `nft`
/// that refuses is tried again for ever; what is wrong is logged.
///
/// # Errors
/// When the informers end.
pub async fn run(config: Config, cancel: CancellationToken) -> Result<(), ProxyError> {
    cancel.run_until_cancelled(work(config)).await.unwrap_or(Ok(()))
}

/// The events of what policies speak of.
struct Others {
    pods: Subscription<Pod>,
    namespaces: Subscription<Namespace>,
}

impl Others {
    async fn begin(informers: &SharedInformers) -> Self {
        let (pods, namespaces) = (informers.pods(), informers.get::<Namespace>());
        tokio::join!(pods.synced(), namespaces.synced());
        Self { pods: pods.subscribe(), namespaces: namespaces.subscribe() }
    }

    /// Takes in what has come.
    fn drain(&mut self, tracker: &mut Tracker) -> Result<(), ProxyError> {
        // Unconstrained, or tokio's budget would end it before everything that waits is in.
        while let Some(event) = unconstrained(self.namespaces.recv()).now_or_never() {
            namespace(tracker, &event.ok_or(ProxyError::WatchEnded)?);
        }
        while let Some(event) = unconstrained(self.pods.recv()).now_or_never() {
            pod(tracker, &event.ok_or(ProxyError::WatchEnded)?);
        }
        Ok(())
    }

    /// Waits for one and takes it in.
    async fn next(&mut self, tracker: &mut Tracker) -> Result<(), ProxyError> {
        tokio::select! {
            event = self.namespaces.recv() => namespace(tracker, &event.ok_or(ProxyError::WatchEnded)?),
            event = self.pods.recv() => pod(tracker, &event.ok_or(ProxyError::WatchEnded)?),
        }
        Ok(())
    }
}

fn namespace(tracker: &mut Tracker, event: &Event<Namespace>) {
    tracker.namespace(event.object(), matches!(event, Event::Deleted(_)));
}

fn pod(tracker: &mut Tracker, event: &Event<Pod>) {
    tracker.pod(event.object(), matches!(event, Event::Deleted(_)));
}

fn policy(tracker: &mut Tracker, event: &Event<NetworkPolicy>) {
    let object = event.object();
    let gone = matches!(event, Event::Deleted(_));
    tracker.policy(&ObjectKey::of(&**object), (!gone).then_some(&**object));
}

async fn work(config: Config) -> Result<(), ProxyError> {
    let policies = config.informers.get::<NetworkPolicy>();
    policies.synced().await;
    let mut events = policies.subscribe();
    let served = |family: &Family| config.cluster_cidrs.iter().any(|net| family.has(&net.addr()));
    let mut tracker = Tracker::new(&config.node_name, Family::ALL.into_iter().filter(served));
    let mut others: Option<Others> = None;
    let mut intact = false;
    let mut retry = RETRY_FROM;
    let mut look = interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while let Some(event) = unconstrained(events.recv()).now_or_never() {
            policy(&mut tracker, &event.ok_or(ProxyError::WatchEnded)?);
        }
        if others.is_none() && tracker.has_policies() {
            others = Some(Others::begin(&config.informers).await);
            // What the process before us left serves till now.
            intact = false;
        }
        if let Some(others) = &mut others {
            others.drain(&mut tracker)?;
        }
        match sync(&mut tracker, others.is_some(), intact).await {
            Ok(()) => (intact, retry) = (true, RETRY_FROM),
            Err(error) => {
                tracing::error!(%error, "the rules of network policies are not in place; trying again");
                intact = false;
                sleep(retry).await;
                retry = RETRY_TO.min(retry * 2);
                continue;
            }
        }
        let garbage = tracker.tables.iter().any(table::Table::has_garbage);
        let enforced = others.is_some();
        tokio::select! {
            event = events.recv() => policy(&mut tracker, &event.ok_or(ProxyError::WatchEnded)?),
            outcome = async {
                match &mut others {
                    Some(others) => others.next(&mut tracker).await,
                    None => std::future::pending().await,
                }
            } => outcome?,
            () = sleep(GARBAGE_AFTER), if garbage => {}
            _ = look.tick(), if enforced => intact = is_there(&tracker).await,
        }
    }
}

/// Brings the kernel to what is known.
async fn sync(tracker: &mut Tracker, enforced: bool, intact: bool) -> Result<(), NftError> {
    for table in &mut tracker.tables {
        let script = match (enforced, intact) {
            (true, true) => table.transaction(),
            (true, false) => table.rebuild(),
            (false, true) => String::new(),
            (false, false) => remove(table.family()),
        };
        if !script.is_empty() {
            nftables::apply(&script).await?;
            tracing::debug!(bytes = script.len(), "rules of network policies applied");
        }
    }
    Ok(())
}

async fn is_there(tracker: &Tracker) -> bool {
    for table in &tracker.tables {
        if !nftables::chain_exists(&format!("{} {TABLE}", table.family().ip()), "forward").await {
            tracing::warn!("somebody has removed the rules of network policies; putting them back");
            return false;
        }
    }
    true
}
