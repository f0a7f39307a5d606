//! Events posted to a webhook, many at a time (`EventList` of `audit.k8s.io/v1`), or each by itself where requests wait
//! for it.
//!
//! Upstream counterpart: `k8s.io/apiserver/plugin/pkg/audit/webhook`.

use super::delivery::{Delivery, Receipt, Throttle};
use super::event::Event;
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
    /// How events get there.
    pub delivery: Delivery,
}

impl WebhookOptions {
    /// With upstream's defaults.
    pub fn new(kubeconfig: PathBuf) -> Self {
        Self { kubeconfig, initial_backoff: Duration::from_secs(10), delivery: Delivery::to_webhook() }
    }
}

/// An event's JSON, and who waits for it.
struct Entry {
    json: Bytes,
    receipt: Option<Receipt>,
}

enum Message {
    Event(Entry),
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
        let (sender, receiver) = mpsc::channel(options.delivery.buffer_size.max(1));
        let lost = Arc::<AtomicU64>::default();
        let mut options = options.clone();
        if options.delivery.blocks() {
            (options.delivery.max_batch_size, options.delivery.throttle) = (1, None);
        }
        let poster = Poster { remote: Arc::new(remote), options, lost: Arc::clone(&lost) };
        tokio::spawn(poster.run(receiver));
        Ok(Self { sender, lost })
    }

    /// Queues an event; it is lost when there is no room, or it is too large. Then the receipt is dropped.
    pub(super) fn send(&self, event: &Event, limit: Option<usize>, receipt: Option<Receipt>) {
        let mut json = Vec::new();
        let fits = event.write(&mut json, limit);
        let entry = Entry { json: Bytes::from(json), receipt };
        if !fits || self.sender.try_send(Message::Event(entry)).is_err() {
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
        let delivery = &self.options.delivery;
        let mut throttle = delivery.throttle.map(|(rate, burst)| Throttle::new(rate, burst));
        let limit = delivery.truncation.map_or(usize::MAX, |truncation| truncation.max_batch_bytes);
        loop {
            let (batch, flush, open) = self.collect(&mut receiver).await;
            for batch in split(batch, limit) {
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
    ) -> (Vec<Entry>, Option<oneshot::Sender<()>>, bool) {
        let mut batch = Vec::new();
        let mut until = None;
        while batch.len() < self.options.delivery.max_batch_size.max(1) {
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
            until.get_or_insert_with(|| Instant::now() + self.options.delivery.max_batch_wait);
        }
        (batch, None, true)
    }
}

/// Batches of at most so many bytes each, unless one event has more.
fn split(events: Vec<Entry>, limit: usize) -> Vec<Vec<Entry>> {
    let mut batches: Vec<Vec<Entry>> = Vec::new();
    let mut size = 0;
    for entry in events {
        match batches.last_mut() {
            Some(last) if size + entry.json.len() <= limit => {
                size += entry.json.len();
                last.push(entry);
            }
            _ => {
                size = entry.json.len();
                batches.push(vec![entry]);
            }
        }
    }
    batches
}

async fn post(remote: Arc<Remote>, batch: Vec<Entry>, first_pause: Duration, lost: Arc<AtomicU64>) {
    let body = list(&batch);
    let backoff = Backoff { first_pause, unanswered: true, ..Backoff::default() };
    let result = remote.deliver(body, backoff).await;
    if let Err(error) = &result {
        lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
        tracing::error!(%error, events = batch.len(), "the audit webhook did not take events");
    }
    for receipt in batch.into_iter().filter_map(|entry| entry.receipt) {
        // Whoever waited may have gone.
        let _ = receipt.send(result.is_ok());
    }
}

/// An `EventList` of these.
fn list(events: &[Entry]) -> Bytes {
    const HEAD: &[u8] = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    let mut body =
        Vec::with_capacity(HEAD.len() + 2 + events.iter().map(|event| event.json.len() + 1).sum::<usize>());
    body.extend_from_slice(HEAD);
    for (n, event) in events.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event.json.trim_ascii_end());
    }
    body.extend_from_slice(b"]}");
    Bytes::from(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &'static str) -> Entry {
        Entry { json: Bytes::from_static(json.as_bytes()), receipt: None }
    }

    #[test]
    fn events_are_put_into_a_list() {
        let value: serde_json::Value =
            serde_json::from_slice(&list(&[entry("{\"a\":1}\n"), entry("{\"b\":2}\n")])).unwrap();
        assert_eq!(value["kind"], "EventList");
        assert_eq!(value["items"], serde_json::json!([{"a": 1}, {"b": 2}]));
    }

    #[test]
    fn a_batch_that_is_too_large_is_split() {
        let lengths = |limit| {
            let all = ["1", "22", "333", "4444444", "5"].map(entry).into_iter().collect();
            split(all, limit).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(lengths(usize::MAX), [5]);
        assert_eq!(lengths(5), [2, 1, 1, 1]);
        assert_eq!(lengths(6), [3, 1, 1]);
    }
}
