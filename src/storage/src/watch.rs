//! One watch: a stream that reads the shard's ring of events at its own pace.
//!
//! A watch has no queue of its own, only a cursor: 1,000 idle ones cost next to nothing, and one that does
//! not read holds nobody up. What is older than the ring is read back from the store, page by page, until
//! the ring is reached. A watch that then falls behind the ring is cut off.

use crate::cache::{Shard, Subscription};
use crate::error::StorageError;
use crate::object::Event;
use async_trait::async_trait;
use futures::Stream;
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Events taken from the ring or from history at a time: enough to amortise the lock, little to hold.
const PAGE: usize = 128;

/// What a watch yields.
#[derive(Clone, Debug)]
pub enum WatchItem {
    /// A change.
    Event(Arc<Event>),
    /// The watch has delivered everything up to this revision (what a bookmark tells clients).
    Progress(u64),
}

/// A part of the past.
#[derive(Debug)]
pub struct HistoryPage {
    /// Changes in the order of revisions.
    pub events: Vec<Arc<Event>>,
    /// The page is complete up to this revision.
    pub up_to: u64,
}

/// Reads events that have left the cache back from the store.
#[async_trait]
pub trait History: Send + Sync {
    /// The changes of a scope (see [`crate::Scope`]) with `after < revision <= up_to`; no more than about
    /// `limit` of them, but never only some of those that share a revision.
    ///
    /// # Errors
    /// `Compacted` when `after` is older than what is kept; `Unavailable`.
    async fn events(
        &self,
        scope: &str,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<HistoryPage, StorageError>;
}

enum Mode {
    /// Not attached to the ring yet; reading history.
    Replay(Option<BoxFuture<'static, Result<HistoryPage, StorageError>>>),
    Live(Subscription),
    Ended,
}

/// A stream of changes. Ends after an error, or when the store closes.
///
/// Guarantees: every change of the scope after the start, once, in the order of revisions. It is fused.
///
/// Cancel safety: dropping it between items loses nothing but the subscription.
pub struct Watch {
    scope: Arc<str>,
    shard: Arc<Shard>,
    history: Arc<dyn History>,
    mode: Mode,
    ready: VecDeque<Arc<Event>>,
    /// Everything up to here is delivered or in `ready`.
    cursor: u64,
    progress: Option<Interval>,
}

impl Watch {
    pub(crate) fn new(scope: Arc<str>, shard: Arc<Shard>, history: Arc<dyn History>, from: u64) -> Self {
        let mut watch = Self {
            scope,
            shard,
            history,
            mode: Mode::Replay(None),
            ready: VecDeque::new(),
            cursor: from,
            progress: None,
        };
        watch.attach();
        watch
    }

    /// Also yields [`WatchItem::Progress`] at this interval while there is nothing else to deliver.
    #[must_use]
    pub fn with_progress(mut self, interval: Duration) -> Self {
        let mut timer = tokio::time::interval_at(Instant::now() + interval, interval);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.progress = Some(timer);
        self
    }

    /// The revision up to which everything has been yielded by the stream.
    pub fn progress(&self) -> u64 {
        match (self.ready.front(), &self.mode) {
            (Some(next), _) => next.revision.saturating_sub(1),
            (None, Mode::Live(subscription)) => subscription.progress(self.cursor),
            (None, _) => self.cursor,
        }
    }

    fn attach(&mut self) {
        match self.shard.subscribe(&self.scope, self.cursor) {
            Ok(subscription) => self.mode = Mode::Live(subscription),
            Err(ring_begins) => {
                let (history, scope, after) =
                    (Arc::clone(&self.history), Arc::clone(&self.scope), self.cursor);
                self.mode = Mode::Replay(Some(Box::pin(async move {
                    history.events(&scope, after, ring_begins, PAGE).await
                })));
            }
        }
    }

    fn fail(&mut self, error: StorageError) -> Poll<Option<Result<WatchItem, StorageError>>> {
        self.mode = Mode::Ended;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Watch {
    type Item = Result<WatchItem, StorageError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(WatchItem::Event(event))));
            }
            match &mut this.mode {
                Mode::Ended => return Poll::Ready(None),
                Mode::Replay(None) => this.attach(),
                Mode::Replay(Some(page)) => match page.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return this.fail(error),
                    Poll::Ready(Ok(page)) => {
                        this.ready.extend(page.events);
                        this.cursor = this.cursor.max(page.up_to);
                        this.mode = Mode::Replay(None);
                    }
                },
                Mode::Live(subscription) => {
                    if subscription.is_closed() {
                        this.mode = Mode::Ended;
                        return Poll::Ready(None);
                    }
                    // Before looking, so that an event published in between wakes us.
                    subscription.register(context.waker());
                    match subscription.take(this.cursor, PAGE, &mut this.ready) {
                        Ok(cursor) => this.cursor = cursor,
                        Err(error) => return this.fail(error),
                    }
                    if !this.ready.is_empty() {
                        continue;
                    }
                    // An idle watch keeps no buffer.
                    this.ready = VecDeque::new();
                    if let Some(timer) = &mut this.progress
                        && timer.poll_tick(context).is_ready()
                    {
                        return Poll::Ready(Some(Ok(WatchItem::Progress(this.cursor))));
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl futures::stream::FusedStream for Watch {
    fn is_terminated(&self) -> bool {
        matches!(self.mode, Mode::Ended) && self.ready.is_empty()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("scope", &self.scope).field("cursor", &self.cursor).finish()
    }
}
