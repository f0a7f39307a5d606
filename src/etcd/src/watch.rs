//! Watching keys: many watches in one stream.
//!
//! A watch covers the resources of its range that have objects when it begins. Changes of one resource come in order;
//! those of several may come a little before or after each other.

use crate::grpc::{Messages, Status};
use crate::keys::{in_etcd, in_range};
use crate::kv::ALL;
use crate::messages::{Event, KeyValue, WatchCreateRequest, WatchRequest, WatchResponse};
use crate::view::{View, signed};
use bytes::Bytes;
use futures::stream::select_all;
use futures::{Stream, StreamExt as _};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{
    EventKind, ListOptions, ListRevision, Storage as _, StorageError, Watch, WatchFrom, WatchItem,
    resource_prefix,
};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Answers that wait for a slow client; a watch that falls behind further is canceled by the store.
const QUEUE: usize = 64;

/// Events of one answer.
const CHUNK: usize = 128;

/// In answers about no watch in particular.
const NO_WATCH: i64 = -1;

/// A watch that is running: up to which revision its client knows everything.
struct Running {
    task: AbortHandle,
    reached: Arc<AtomicU64>,
}

type Watches = Arc<Mutex<BTreeMap<i64, Running>>>;

/// Ends all watches of a stream.
struct Guard(Watches, Option<AbortHandle>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(reader) = &self.1 {
            reader.abort();
        }
        self.0.lock().values().for_each(|running| running.task.abort());
    }
}

impl View {
    /// Answers a stream of requests for watches.
    pub(crate) fn watch<B>(
        &self,
        mut requests: Messages<B>,
    ) -> impl Stream<Item = Result<WatchResponse, Status>> + Send + 'static + use<B>
    where
        B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (view, watches) = (self.clone(), Watches::default());
        let running = Arc::clone(&watches);
        let reader = tokio::spawn(async move {
            loop {
                let request = match requests.next::<WatchRequest>().await {
                    Ok(Some(request)) => request,
                    // It asks for nothing more, and may go on listening.
                    Ok(None) => std::future::pending().await,
                    Err(status) => {
                        let _ = sender.send(Err(status)).await;
                        return;
                    }
                };
                if !view.attend(request, &running, &sender).await {
                    return;
                }
            }
        });
        let guard = Guard(watches, Some(reader.abort_handle()));
        futures::stream::unfold(
            (receiver, guard),
            async |(mut receiver, guard): (mpsc::Receiver<_>, Guard)| {
                let answer = receiver.recv().await?;
                Some((answer, (receiver, guard)))
            },
        )
    }

    /// Does what one request asks for; false when nobody listens any more.
    async fn attend(
        &self,
        request: WatchRequest,
        watches: &Watches,
        sender: &mpsc::Sender<Result<WatchResponse, Status>>,
    ) -> bool {
        if let Some(create) = request.create_request {
            let id = {
                let known = watches.lock();
                let free = known.keys().next_back().map_or(0, |last| last + 1);
                if create.watch_id != 0 && !known.contains_key(&create.watch_id) {
                    create.watch_id
                } else {
                    free
                }
            };
            // It has begun when the client is told so.
            let now = self.store().revision();
            let start = u64::try_from(create.start_revision).unwrap_or(0);
            let after = if start == 0 { now } else { start - 1 };
            let begun = self.begin(&create, after).await;
            let created = WatchResponse { watch_id: id, created: true, ..self.answer() };
            if sender.send(Ok(created)).await.is_err() {
                return false;
            }
            let begun = match begun {
                Ok(begun) => begun,
                Err(error) => return sender.send(Ok(self.canceled(id, &error))).await.is_ok(),
            };
            let reached = Arc::new(AtomicU64::new(after));
            let (view, to, seen) = (self.clone(), sender.clone(), Arc::clone(&reached));
            let task = tokio::spawn(async move {
                if let Some(error) = view.forward(id, &create, begun, &to, &seen).await {
                    // Nobody listens any more: fine.
                    let _ = to.send(Ok(view.canceled(id, &error))).await;
                }
            });
            watches.lock().insert(id, Running { task: task.abort_handle(), reached });
        }
        if let Some(cancel) = request.cancel_request {
            let Some(running) = watches.lock().remove(&cancel.watch_id) else { return true };
            running.task.abort();
            let canceled = WatchResponse { watch_id: cancel.watch_id, canceled: true, ..self.answer() };
            return sender.send(Ok(canceled)).await.is_ok();
        }
        if request.progress_request.is_some() {
            let reached =
                watches.lock().values().map(|running| running.reached.load(Ordering::Acquire)).min();
            let header = self.header_at(reached.unwrap_or_else(|| self.store().revision()));
            let progress = WatchResponse { header, watch_id: NO_WATCH, ..WatchResponse::default() };
            return sender.send(Ok(progress)).await.is_ok();
        }
        true
    }

    fn answer(&self) -> WatchResponse {
        WatchResponse { header: self.header(), ..WatchResponse::default() }
    }

    /// The last answer of a watch.
    fn canceled(&self, id: i64, error: &StorageError) -> WatchResponse {
        let compact_revision = match error {
            StorageError::Compacted { oldest, .. } => signed(*oldest),
            _ => 0,
        };
        let cancel_reason = crate::view::status(error).message;
        WatchResponse { watch_id: id, canceled: true, compact_revision, cancel_reason, ..self.answer() }
    }

    /// Watches of every resource that is in the range after a revision: the store watches one resource at a time.
    async fn begin(&self, create: &WatchCreateRequest, after: u64) -> Result<Vec<Watch>, StorageError> {
        let options = ListOptions { revision: ListRevision::Any, ..ListOptions::default() };
        let all = self.store().list(ALL, options).await?;
        let mut resources: Vec<&str> = Vec::new();
        for object in &all.items {
            let resource = resource_prefix(&object.key)?;
            if resources.last() != Some(&resource) {
                resources.push(resource);
            }
        }
        let mut begun = Vec::new();
        for resource in resources {
            let place = in_etcd(resource);
            // Either the resource is in the range, or the range within the resource.
            let within = in_range(place.as_bytes(), &create.key, &create.range_end);
            if within || create.key.starts_with(place.as_bytes()) {
                begun.push(self.store().watch(resource, WatchFrom::Revision(after)).await?);
            }
        }
        if begun.is_empty() {
            return Err(StorageError::unavailable("there are no objects of such a resource yet"));
        }
        Ok(begun)
    }

    /// Sends what happens. Answers why it ended, unless nobody listens any more.
    async fn forward(
        &self,
        id: i64,
        create: &WatchCreateRequest,
        begun: Vec<Watch>,
        to: &mpsc::Sender<Result<WatchResponse, Status>>,
        reached: &AtomicU64,
    ) -> Option<StorageError> {
        // Of each resource, up to where everything was sent: all of them together are as far as the last.
        let mut at = vec![reached.load(Ordering::Acquire); begun.len()];
        let numbered = |(n, watch): (usize, Watch)| watch.map(move |item| (n, item)).boxed();
        let mut chunks = select_all(begun.into_iter().enumerate().map(numbered)).ready_chunks(CHUNK);
        while let Some(chunk) = chunks.next().await {
            let (mut events, mut latest, mut failed, mut progressed) = (Vec::new(), 0_u64, None, false);
            for (n, item) in chunk {
                let revision = match item {
                    Ok(WatchItem::Event(event)) => {
                        events.extend(self.event(&event, create));
                        event.revision
                    }
                    Ok(WatchItem::Progress(revision)) => {
                        progressed = true;
                        revision
                    }
                    Err(error) => {
                        failed = Some(error);
                        continue;
                    }
                };
                latest = latest.max(revision);
                if let Some(at) = at.get_mut(n) {
                    *at = revision.max(*at);
                }
            }
            events.sort_by_key(|event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision));
            let known = at.iter().copied().min().unwrap_or_default();
            if !events.is_empty() || (progressed && create.progress_notify) {
                let header = self.header_at(if events.is_empty() { known } else { latest });
                let answer = WatchResponse { header, watch_id: id, events, ..WatchResponse::default() };
                if to.send(Ok(answer)).await.is_err() {
                    return None;
                }
            }
            reached.fetch_max(known, Ordering::AcqRel);
            if failed.is_some() {
                return failed;
            }
        }
        Some(StorageError::unavailable("it is shutting down"))
    }

    fn event(&self, event: &storage::Event, create: &WatchCreateRequest) -> Option<Event> {
        let key = in_etcd(&event.object.key);
        if !in_range(key.as_bytes(), &create.key, &create.range_end) {
            return None;
        }
        let deleted = event.kind == EventKind::Deleted;
        if create.filters.contains(&i32::from(deleted)) {
            return None;
        }
        let kv = if deleted {
            KeyValue {
                key: Bytes::from(key.into_owned()),
                mod_revision: signed(event.revision),
                ..KeyValue::default()
            }
        } else {
            self.key_value(&event.object, false)
        };
        let previous = event.previous.as_ref().filter(|_| create.prev_kv);
        let prev_kv = previous.map(|object| self.key_value(object, false));
        Some(Event { kind: i32::from(deleted), kv: Some(kv), prev_kv })
    }
}
