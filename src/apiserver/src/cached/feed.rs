//! A resource followed through a watch, with read-your-writes on demand.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use parking_lot::Mutex;
use storage::{EventKind, ListOptions, Object, Storage, StorageError, Watch, WatchFrom, WatchItem};
use tokio::task::AbortHandle;

/// Between attempts to list again when the store fails: short, since decisions wait on it, yet no busy loop.
const RETRY: Duration = Duration::from_millis(200);

/// What keeps the parsed form.
pub(crate) trait Sink: Send + Sync + 'static {
    /// These are all objects; whatever else was kept is gone.
    fn reset(&self, objects: &[Arc<Object>]);
    /// An object is new or has changed.
    fn put(&self, object: &Object);
    /// An object is gone.
    fn remove(&self, key: &str);
}

/// Follows all objects below a prefix and tells a sink of them, until dropped.
///
/// # Guarantees
/// The sink holds every object as it was when [`Feed::start`] returned, or later. After
/// [`Feed::catch_up`] it holds every write that had been acknowledged before the call.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    storage: Arc<dyn Storage>,
    prefix: String,
    sink: Box<dyn Sink>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watch: Option<Watch>,
    /// Wakes the task: whoever polls the watch must leave this in it, not a waker of its own.
    waker: Option<Waker>,
}

impl Feed {
    /// Lists, tells the sink, and begins to watch.
    pub(crate) async fn start(
        storage: Arc<dyn Storage>,
        prefix: String,
        sink: impl Sink,
    ) -> Result<Self, StorageError> {
        let shared = Arc::new(Shared { storage, prefix, sink: Box::new(sink), state: Mutex::default() });
        shared.begin().await?;
        let followed = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let began = tokio::time::Instant::now();
                std::future::poll_fn(|context| followed.follow(context)).await;
                if began.elapsed() < RETRY {
                    // A store that is closing ends every watch at once.
                    tokio::time::sleep(RETRY).await;
                }
                while let Err(error) = followed.begin().await {
                    tracing::warn!(prefix = followed.prefix, %error, "cannot list");
                    tokio::time::sleep(RETRY).await;
                }
            }
        })
        .abort_handle();
        Ok(Self { shared, task })
    }

    /// Tells the sink what the task has not got to yet.
    pub(crate) fn catch_up(&self) {
        let state = &mut *self.shared.state.lock();
        let waker = state.waker.clone().unwrap_or_else(|| Waker::noop().clone());
        if self.shared.drain(&mut state.watch, &mut Context::from_waker(&waker)).is_ready() {
            // The task lists again.
            waker.wake();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn begin(&self) -> Result<(), StorageError> {
        let list = self.storage.list(&self.prefix, ListOptions::default()).await?;
        let watch = self.storage.watch(&self.prefix, WatchFrom::Revision(list.revision)).await?;
        let mut state = self.state.lock();
        self.sink.reset(&list.items);
        state.watch = Some(watch);
        Ok(())
    }

    /// Ready when the watch has ended.
    fn follow(&self, context: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.state.lock();
        state.waker = Some(context.waker().clone());
        self.drain(&mut state.watch, context)
    }

    fn drain(&self, watch: &mut Option<Watch>, context: &mut Context<'_>) -> Poll<()> {
        while let Some(stream) = watch.as_mut() {
            match Pin::new(stream).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(WatchItem::Event(event)))) => match event.kind {
                    EventKind::Deleted => self.sink.remove(&event.object.key),
                    EventKind::Added | EventKind::Modified => self.sink.put(&event.object),
                },
                Poll::Ready(Some(Ok(WatchItem::Progress(_)))) => {}
                Poll::Ready(Some(Err(error))) => {
                    tracing::info!(prefix = self.prefix, %error, "watch ended, listing again");
                    *watch = None;
                }
                Poll::Ready(None) => *watch = None,
            }
        }
        Poll::Ready(())
    }
}
