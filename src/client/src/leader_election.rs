//! One active instance of a component, elected through a Lease.
//!
//! As upstream's leader election: the holder renews a `coordination.k8s.io/v1` Lease; others take it over when
//! its record has not changed for the lease duration by their own clock (clocks of machines are not compared).

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use rand::Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Event, ObjectKey, Rest, SharedInformers,
    informer::{Scope, Subscription},
    rest,
};

/// A candidate for one lease.
#[derive(Clone)]
pub struct LeaderElection {
    rest: Rest,
    key: ObjectKey,
    identity: String,
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
    informers: Option<SharedInformers>,
    gone: Option<Gone>,
}

/// Says of a holder whether it is known to be gone, so that its lease is worth nothing.
pub type Gone = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// How often that is asked: the answer is at hand.
const GONE_EVERY: Duration = Duration::from_millis(100);

/// The record of another holder, and when it was first seen as it is.
struct Observed {
    spec: LeaseSpec,
    at: Instant,
}

impl LeaderElection {
    /// A candidate called `identity` for the lease `kube-system/NAME`, with upstream's times: others may take
    /// over after 15 s, the holder gives up after failing to renew for 10 s, everybody tries every 2 s.
    pub fn new(client: kube::Client, name: &str, identity: impl Into<String>) -> Self {
        Self {
            rest: Rest::new(client),
            key: ObjectKey::new("kube-system", name),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            informers: None,
            gone: None,
        }
    }

    /// Takes the lease over, too, from a holder of which somebody else knows that it is gone. Works with
    /// [`watching`](Self::watching) only.
    pub fn unless_gone(mut self, gone: Gone) -> Self {
        self.gone = Some(gone);
        self
    }

    /// Follows the lease by a watch in place of looking at it from time to time: it is taken over the moment that it
    /// expires or is released, and those who wait ask nothing meanwhile.
    pub fn watching(mut self, informers: SharedInformers) -> Self {
        self.informers = Some(informers);
        self
    }

    /// Others may take over after `lease_duration` (whole seconds) without renewal, the holder gives up after
    /// `renew_deadline`, which has to be shorter, and everybody tries every `retry_period`.
    pub fn with_times(
        mut self,
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Self {
        self.lease_duration = lease_duration;
        self.renew_deadline = renew_deadline;
        self.retry_period = retry_period;
        self
    }

    /// Puts the lease into another namespace.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.key.namespace = namespace.to_owned();
        self
    }

    /// Runs `work` whenever this candidate holds the lease, until `cancel`.
    ///
    /// The token given to `work` is cancelled when the lease is lost or `cancel` is; `work` must end soon after.
    /// The lease is released only once `work` has ended, and not renewed beyond its deadline, so no two
    /// candidates work at the same time. Returns early when `work` ends by itself.
    pub async fn run<F, W>(&self, cancel: &CancellationToken, mut work: F)
    where
        F: FnMut(CancellationToken) -> W,
        W: Future<Output = ()>,
    {
        while !cancel.is_cancelled() {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.acquire() => {}
            }
            tracing::info!(lease = %self.key, identity = self.identity, "became leader");
            let term = cancel.child_token();
            let mut work = pin!(work(term.clone()));
            // Work that hears of `cancel` itself may be through first.
            let (lost, finished) = tokio::select! {
                () = &mut work => (false, true),
                () = self.renew_until_lost() => (true, false),
                () = cancel.cancelled() => (false, false),
            };
            term.cancel();
            if !finished {
                work.await;
            }
            if lost {
                tracing::warn!(lease = %self.key, "lost leadership");
            } else {
                self.release().await;
            }
            if finished {
                return;
            }
        }
    }

    async fn acquire(&self) {
        let mut observed = None;
        let mut news = self.news();
        loop {
            match self.try_acquire(&mut observed).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) if rest::is_conflict(&error) || rest::is_already_exists(&error) => {}
                Err(error) => tracing::warn!(lease = %self.key, "cannot acquire: {error}"),
            }
            // Jitter as upstream, so that candidates do not collide for ever.
            let jitter = rand::rng().random_range(1.0..2.2);
            let retry = tokio::time::sleep(self.retry_period.mul_f64(jitter));
            match &mut news {
                None => retry.await,
                Some(news) => {
                    if !self.vacant(news, &mut observed).await {
                        retry.await;
                    }
                }
            }
        }
    }

    /// What happens to the lease, if it is to be watched.
    fn news(&self) -> Option<Subscription<Lease>> {
        let namespace = self.key.namespace.clone();
        let scope = Scope { namespace, ..Scope::fields(format!("metadata.name={}", self.key.name)) };
        Some(self.informers.as_ref()?.scoped::<Lease>(&scope).subscribe())
    }

    /// Waits until nobody holds the lease any more, as a watch tells. False: it was so before, and nothing is new.
    async fn vacant(&self, news: &mut Subscription<Lease>, observed: &mut Option<Observed>) -> bool {
        let mut new = false;
        loop {
            let end = observed.as_ref().map_or_else(Instant::now, Observed::end);
            let gone = observed
                .as_ref()
                .is_some_and(|observed| self.is_gone(observed.spec.holder_identity.as_deref()));
            if gone || end <= Instant::now() {
                return new;
            }
            tokio::select! {
                event = news.recv() => match event {
                    Some(Event::Applied(lease, _)) => {
                        let spec = lease.spec.clone().unwrap_or_default();
                        if spec.holder_identity.as_deref().unwrap_or_default().is_empty() {
                            return true;
                        }
                        expired(&spec, observed);
                    }
                    Some(Event::Deleted(_)) => return true,
                    // The watch has ended with the process, or the informers.
                    None => return false,
                },
                () = tokio::time::sleep_until(end) => {}
                () = tokio::time::sleep(GONE_EVERY), if self.gone.is_some() => {}
            }
            new = true;
        }
    }

    fn is_gone(&self, holder: Option<&str>) -> bool {
        matches!((&self.gone, holder), (Some(gone), Some(holder)) if gone(holder))
    }

    /// Waits until a watch tells that somebody else has the lease, once it has told that this candidate had it.
    async fn taken(&self, news: &mut Option<Subscription<Lease>>) {
        let mut had = false;
        while let Some(news) = news
            && let Some(event) = news.recv().await
        {
            let mine = matches!(&event, Event::Applied(lease, _) if self.holds(lease));
            if had && !mine {
                return;
            }
            had |= mine;
        }
        std::future::pending().await
    }

    async fn renew_until_lost(&self) {
        let mut renewed = Instant::now();
        let mut mine = None;
        let mut news = self.news();
        let mut taken = pin!(self.taken(&mut news));
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.retry_period) => {}
                () = &mut taken => return,
            }
            let deadline = renewed + self.renew_deadline;
            // Others count from when it is written, which may be at once.
            let asked = Instant::now();
            match tokio::time::timeout_at(deadline, self.renew(&mut mine)).await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(lease = %self.key, "cannot renew: {error}");
                    if Instant::now() >= deadline {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Renews what this candidate wrote last, without reading it; reads when somebody else has written.
    async fn renew(&self, mine: &mut Option<Lease>) -> Result<bool, kube::Error> {
        if let Some(mut lease) = mine.take()
            && let Some(spec) = &mut lease.spec
        {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            match self.rest.replace(&lease).await {
                Ok(written) => {
                    *mine = Some(stripped(written));
                    return Ok(true);
                }
                Err(error) if rest::is_conflict(&error) || rest::is_not_found(&error) => {}
                Err(error) => {
                    *mine = Some(lease);
                    return Err(error);
                }
            }
        }
        let mut observed = None;
        let held = self.try_acquire(&mut observed).await?;
        if held {
            *mine = self.rest.get::<Lease>(&self.key).await?.map(stripped).filter(|lease| self.holds(lease));
        }
        Ok(held)
    }

    fn holds(&self, lease: &Lease) -> bool {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        holder == Some(self.identity.as_str())
    }

    /// Takes or renews the lease. False while another holds it.
    async fn try_acquire(&self, observed: &mut Option<Observed>) -> Result<bool, kube::Error> {
        let now = MicroTime(Timestamp::now());
        let Some(mut lease) = self.rest.get::<Lease>(&self.key).await? else {
            let metadata = ObjectMeta {
                name: Some(self.key.name.clone()),
                namespace: Some(self.key.namespace.clone()),
                ..ObjectMeta::default()
            };
            let spec = Some(self.record(&now, &now, 0));
            self.rest.create(&Lease { metadata, spec }).await?;
            return Ok(true);
        };
        let spec = lease.spec.unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let mine = holder == self.identity;
        let held = !mine && !holder.is_empty();
        if held && !expired(&spec, observed) && !self.is_gone(Some(holder)) {
            return Ok(false);
        }
        let transitions = spec.lease_transitions.unwrap_or(0);
        lease.spec = Some(if mine {
            self.record(spec.acquire_time.as_ref().unwrap_or(&now), &now, transitions)
        } else {
            self.record(&now, &now, transitions.saturating_add(1))
        });
        lease.metadata.managed_fields = None;
        self.rest.replace(&lease).await?;
        Ok(true)
    }

    async fn release(&self) {
        let change = |lease: &mut Lease| {
            let Some(spec) = &mut lease.spec else { return false };
            if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
                return false;
            }
            let now = MicroTime(Timestamp::now());
            spec.holder_identity = Some(String::new());
            // Upstream leaves one second, so that the record reads as expired at once.
            spec.lease_duration_seconds = Some(1);
            spec.acquire_time = Some(now.clone());
            spec.renew_time = Some(now);
            true
        };
        let update = self.rest.update::<Lease>(&self.key, "", change);
        match tokio::time::timeout(self.retry_period, update).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(lease = %self.key, "cannot release: {error}"),
            Err(_) => tracing::debug!(lease = %self.key, "cannot release: no answer"),
        }
    }

    fn record(&self, acquired: &MicroTime, renewed: &MicroTime, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.lease_duration.as_secs()).ok(),
            acquire_time: Some(acquired.clone()),
            renew_time: Some(renewed.clone()),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

// What is sent back keeps what the server has of managed fields.
fn stripped(mut lease: Lease) -> Lease {
    lease.metadata.managed_fields = None;
    lease
}

impl Observed {
    /// When it expires if it does not change.
    fn end(&self) -> Instant {
        let seconds = u64::try_from(self.spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        self.at + Duration::from_secs(seconds)
    }
}

fn expired(spec: &LeaseSpec, observed: &mut Option<Observed>) -> bool {
    let now = Instant::now();
    match observed {
        Some(known) if known.spec == *spec => now >= known.end(),
        _ => {
            *observed = Some(Observed { spec: spec.clone(), at: now });
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(holder: &str, renewed_second: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed_second).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_expires_when_it_does_not_change_for_its_duration() {
        let mut observed = None;
        assert!(!expired(&spec("other", 1), &mut observed));
        tokio::time::advance(Duration::from_secs(14)).await;
        assert!(!expired(&spec("other", 1), &mut observed));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(expired(&spec("other", 1), &mut observed));
    }

    #[tokio::test(start_paused = true)]
    async fn every_renewal_starts_the_time_again() {
        let mut observed = None;
        for second in 0..5 {
            assert!(!expired(&spec("other", second), &mut observed));
            tokio::time::advance(Duration::from_secs(14)).await;
        }
    }
}
