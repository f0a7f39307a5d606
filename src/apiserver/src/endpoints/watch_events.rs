//! The events of a watch as clients of one version see their objects: those of custom resources may have to be
//! converted, one after the other, by a webhook.

use crate::registry::{Failure, Served};
use apimachinery::status::Result;
use futures::StreamExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::task::{Context, Poll};
use storage::{Event, WatchItem};

/// A watch whose objects are shown in a version.
pub(crate) struct Converted {
    watch: storage::Watch,
    served: Arc<Served>,
    /// The event that is being converted; those after it wait.
    pending: Option<BoxFuture<'static, Result<Arc<Event>>>>,
}

impl Converted {
    /// A watch, as clients of `served` see it.
    pub(crate) fn new(watch: storage::Watch, served: &Arc<Served>) -> Self {
        Self { watch, served: Arc::clone(served), pending: None }
    }

    /// The revision up to which everything has been yielded.
    pub(crate) fn progress(&self) -> u64 {
        self.watch.progress()
    }

    /// The next change or bookmark.
    pub(crate) fn poll_next(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<WatchItem, Failure>>> {
        loop {
            if let Some(pending) = &mut self.pending {
                let converted = std::task::ready!(pending.as_mut().poll(task));
                self.pending = None;
                return Poll::Ready(Some(converted.map(WatchItem::Event).map_err(Failure::from)));
            }
            let event = match std::task::ready!(self.watch.poll_next_unpin(task)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(WatchItem::Event(event))) => event,
                Some(Ok(item)) => return Poll::Ready(Some(Ok(item))),
            };
            if !needs_conversion(&self.served, &event) {
                return Poll::Ready(Some(Ok(WatchItem::Event(event))));
            }
            self.pending = Some(Box::pin(convert(Arc::clone(&self.served), event)));
        }
    }
}

fn needs_conversion(served: &Served, event: &Event) -> bool {
    let Some(version) = served.as_custom() else { return false };
    let objects = [Some(&event.object), event.previous.as_ref()];
    !objects.into_iter().flatten().all(|object| version.is_shown_as_stored(object))
}

async fn convert(served: Arc<Served>, event: Arc<Event>) -> Result<Arc<Event>> {
    let object = served.show_one(Arc::clone(&event.object)).await?;
    let previous = match &event.previous {
        Some(previous) => Some(served.show_one(Arc::clone(previous)).await?),
        None => None,
    };
    Ok(Arc::new(Event::new(event.kind, object, previous)))
}
