//! Events posted to a webhook, many at a time (`EventList` of `audit.k8s.io/v1`), without any request waiting for it.
//!
//! Upstream counterpart: `k8s.io/apiserver/plugin/pkg/audit/{buffered,webhook}`, mode `batch`.

use crate::outbound::Outbound;
use crate::remote::{Backoff, Remote};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a post may take (upstream's).
const TIMEOUT: Duration = Duration::from_secs(30);

/// How events get to a webhook.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// A kubeconfig file that says where it is.
    pub kubeconfig: PathBuf,
    /// The first pause before a post is tried again.
    pub initial_backoff: Duration,
    /// Events that may wait; what comes then is lost.
    pub buffer_size: usize,
    /// Events of one post.
    pub max_batch_size: usize,
    /// How long the first event of a post waits for others.
    pub max_batch_wait: Duration,
    /// Posts a second, and how many at once when there were fewer before; none for no limit.
    pub throttle: Option<(f64, u32)>,
}

impl WebhookOptions {
    /// With upstream's defaults.
    pub fn new(kubeconfig: PathBuf) -> Self {
        Self {
            kubeconfig,
            initial_backoff: Duration::from_secs(10),
            buffer_size: 10_000,
            max_batch_size: 400,
            max_batch_wait: Duration::from_secs(30),
            throttle: Some((10.0, 15)),
        }
    }
}

enum Message {
    /// An event's JSON.
    Event(Bytes),
    /// Post at once what there is, and tell when all posts are done.
    Flush(oneshot::Sender<()>),
}

/// The queue before a webhook.
pub(super) struct Webhook {
    sender: mpsc::Sender<Message>,
    lost: Arc<AtomicU64>,
}

impl Webhook {
    /// Starts to post what is sent from now on.
    ///
    /// # Errors
    /// A sentence, when the kubeconfig file cannot be used.
    pub(super) fn start(options: &WebhookOptions, outbound: &Outbound) -> Result<Self, String> {
        let remote = Remote::load(outbound, &options.kubeconfig, TIMEOUT)?;
        let (sender, receiver) = mpsc::channel(options.buffer_size.max(1));
        let lost = Arc::<AtomicU64>::default();
        let poster = Poster { remote: Arc::new(remote), options: options.clone(), lost: Arc::clone(&lost) };
        tokio::spawn(poster.run(receiver));
        Ok(Self { sender, lost })
    }

    /// Queues an event's JSON; it is lost when there is no room.
    pub(super) fn send(&self, event: Bytes) {
        if self.sender.try_send(Message::Event(event)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events that did not reach the webhook.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until all that was queued before is posted or given up.
    pub(super) async fn flush(&self) {
        let (answer, answered) = oneshot::channel();
        if self.sender.send(Message::Flush(answer)).await.is_ok() {
            // An error is a task that has ended: there is nothing left to post.
            let _ = answered.await;
        }
    }
}

struct Poster {
    remote: Arc<Remote>,
    options: WebhookOptions,
    lost: Arc<AtomicU64>,
}

impl Poster {
    async fn run(self, mut receiver: mpsc::Receiver<Message>) {
        let mut posts = JoinSet::new();
        let mut throttle = self.options.throttle.map(|(rate, burst)| Throttle::new(rate, burst));
        loop {
            let (batch, flush, open) = self.collect(&mut receiver).await;
            if !batch.is_empty() {
                if let Some(throttle) = &mut throttle {
                    tokio::time::sleep(throttle.reserve(Instant::now())).await;
                }
                posts.spawn(post(
                    Arc::clone(&self.remote),
                    batch,
                    self.options.initial_backoff,
                    Arc::clone(&self.lost),
                ));
            }
            while posts.try_join_next().is_some() {}
            if flush.is_some() || !open {
                while posts.join_next().await.is_some() {}
            }
            if let Some(answer) = flush {
                // Whoever waited may have gone.
                let _ = answer.send(());
            }
            if !open {
                return;
            }
        }
    }

    /// The events of the next post, who waits for it, and whether more can come.
    async fn collect(
        &self,
        receiver: &mut mpsc::Receiver<Message>,
    ) -> (Vec<Bytes>, Option<oneshot::Sender<()>>, bool) {
        let mut batch = Vec::new();
        let mut until = None;
        while batch.len() < self.options.max_batch_size.max(1) {
            let message = match until {
                None => receiver.recv().await,
                Some(until) => match tokio::time::timeout_at(until, receiver.recv()).await {
                    Ok(message) => message,
                    Err(_) => break,
                },
            };
            match message {
                Some(Message::Event(event)) => batch.push(event),
                Some(Message::Flush(answer)) => return (batch, Some(answer), true),
                None => return (batch, None, false),
            }
            until.get_or_insert_with(|| Instant::now() + self.options.max_batch_wait);
        }
        (batch, None, true)
    }
}

async fn post(remote: Arc<Remote>, batch: Vec<Bytes>, first_pause: Duration, lost: Arc<AtomicU64>) {
    let body = list(&batch);
    if let Err(error) =
        remote.deliver(body, Backoff { first_pause, unanswered: true, ..Backoff::default() }).await
    {
        lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
        tracing::error!(%error, events = batch.len(), "the audit webhook did not take events");
    }
}

/// An `EventList` of these.
fn list(events: &[Bytes]) -> Bytes {
    const HEAD: &[u8] = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    let mut body =
        Vec::with_capacity(HEAD.len() + 2 + events.iter().map(|event| event.len() + 1).sum::<usize>());
    body.extend_from_slice(HEAD);
    for (n, event) in events.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event.trim_ascii_end());
    }
    body.extend_from_slice(b"]}");
    Bytes::from(body)
}

/// A token bucket.
struct Throttle {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Option<Instant>,
}

impl Throttle {
    fn new(rate: f64, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self { rate: rate.max(f64::MIN_POSITIVE), burst, tokens: burst, at: None }
    }

    /// Takes a token; returns how long to wait for it.
    fn reserve(&mut self, now: Instant) -> Duration {
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.rate).min(self.burst) - 1.0;
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.tokens / self.rate).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_into_a_list() {
        let events = [Bytes::from_static(b"{\"a\":1}\n"), Bytes::from_static(b"{\"b\":2}\n")];
        let value: serde_json::Value = serde_json::from_slice(&list(&events)).unwrap();
        assert_eq!(value["kind"], "EventList");
        assert_eq!(value["items"], serde_json::json!([{"a": 1}, {"b": 2}]));
    }

    #[tokio::test(start_paused = true)]
    async fn posts_are_throttled_beyond_a_burst() {
        let mut throttle = Throttle::new(10.0, 2);
        let now = Instant::now();
        let waits: Vec<u128> = (0..4).map(|_| throttle.reserve(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 100, 200]);
    }
}
