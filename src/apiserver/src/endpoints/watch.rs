//! `watch`: changes as they happen, to as many clients as like to know.

use super::context::Context;
use super::list;
use super::list_options::ListOptions;
use super::negotiation::{Media, STREAM_TYPES};
use super::present::Presenter;
use super::response;
use super::selection::Selection;
use super::watch_events::Converted;
use super::watch_frame::{self, Encoder};
use crate::ApiServer;
use crate::body::{Body, BoxError};
use crate::registry::{self, Failure, Served};
use crate::server::Endless;
use apimachinery::status::{Result, Status};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rand::Rng;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;
use storage::{Event, EventKind, ListRevision, Object, StorageError, WatchFrom, WatchItem};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Upstream's `--min-request-timeout`: a watch without `timeoutSeconds` lasts this long to twice as long,
/// spread so that a restart's herd of watches does not end at one instant.
const MINIMUM_LIFETIME_SECONDS: u64 = 1800;
/// How often a silent watch tells where it is (upstream's bookmark frequency).
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// Initial events put into one frame.
const INITIAL_FRAME_BYTES: usize = 64 * 1024;

/// Answers a watch.
pub(crate) async fn watch(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
) -> Result<Response<Body>> {
    let mut presenter = Presenter::new(context, served)?;
    match presenter.form.media {
        Media::Yaml => return Err(Status::not_acceptable(&STREAM_TYPES)),
        // Events are a line each.
        Media::Json | Media::PrettyJson => presenter.form.media = Media::Json,
        Media::Protobuf => {}
    }
    let media = presenter.form.media;
    let options = ListOptions::parse(&context.query, true)?;
    let selection = Selection::new(&options, served)?;
    let scope = list::scope(context, served, &selection);
    let stream = match start(server, &options, &scope, presenter, selection, served).await {
        Ok(stream) => stream.left_stream(),
        Err(e) => {
            // Clients look for these in the stream, whatever the reason.
            let status = match e {
                Failure::Refused(status) => *status,
                Failure::Store(StorageError::Compacted { requested, oldest }) => {
                    Status::expired(format!("too old resource version: {requested} ({oldest})"))
                }
                Failure::Store(other) => registry::status_of(other, served.stored_as(), ""),
            };
            if status.code != 410 && status.code != 504 {
                return Err(status);
            }
            futures::stream::iter([watch_frame::error(&status, media)]).right_stream()
        }
    };
    let frames = stream.map(|bytes| Ok::<_, BoxError>(Frame::data(bytes)));
    let mut response = response::with_body(200, media.stream_type(), StreamBody::new(frames).boxed_unsync());
    response.extensions_mut().insert(Endless);
    Ok(response)
}

async fn start(
    server: &ApiServer,
    options: &ListOptions,
    scope: &str,
    presenter: Presenter,
    selection: Selection,
    served: &Arc<Served>,
) -> std::result::Result<WatchStream, Failure> {
    let storage = server.registry().storage();
    let revision = options.resource_version.filter(|rv| *rv > 0);
    // A watch from nowhere in particular begins with the state, as clients have always known it.
    let with_state = options.send_initial_events.unwrap_or(revision.is_none());
    // A revision that is not there yet is waited for: what happens until then is not told.
    let ahead = revision.filter(|rv| !with_state && *rv > storage.revision());
    let (initial, from) = if with_state {
        let recent = match (options.resource_version, revision) {
            (_, Some(rv)) => ListRevision::NotOlderThan(rv),
            (Some(_), None) => ListRevision::Any,
            (None, None) => ListRevision::MostRecent,
        };
        let shown = served.is_selected_when_shown() && !selection.is_everything();
        let request = storage::ListOptions {
            revision: recent,
            filter: selection.filter().filter(|_| !shown),
            ..storage::ListOptions::default()
        };
        let mut list = storage.list(scope, request).await?;
        if shown {
            list.items = served.show(std::mem::take(&mut list.items)).await?;
        }
        if shown || selection.looks_into_objects() {
            selection.pick(&mut list, 0);
        }
        let items = if shown { list.items } else { served.show(list.items).await? };
        (items, WatchFrom::Revision(list.revision))
    } else {
        (Vec::new(), revision.filter(|_| ahead.is_none()).map_or(WatchFrom::Now, WatchFrom::Revision))
    };
    let mut watch = storage.watch(scope, from).await?;
    if options.allow_bookmarks {
        watch = watch.with_progress(BOOKMARK_INTERVAL);
    }
    let mark_end = options.allow_bookmarks && with_state;
    let state_revision = match from {
        WatchFrom::Revision(rv) => rv,
        WatchFrom::Now => 0,
    };
    let (gvr, kind) = (&served.gvr, &served.gvk.kind);
    let sent = server.metrics().watch_events(&gvr.group, &gvr.version, &gvr.resource, kind);
    Ok(WatchStream {
        encoder: Encoder::new(presenter, sent),
        selection,
        initial: initial.into_iter(),
        mark_initial_end: mark_end.then_some(state_revision),
        seen_until: ahead.unwrap_or(0),
        watch: Converted::new(watch, served),
        deadline: Box::pin(tokio::time::sleep(lifetime(options.timeout_seconds))),
        end: Box::pin(match served.as_custom() {
            // Ends with the server too.
            Some(version) => version.superseded().clone().cancelled_owned(),
            None => server.ended(),
        }),
        bookmarks: options.allow_bookmarks,
        ended: false,
    })
}

fn lifetime(asked_seconds: Option<u64>) -> Duration {
    Duration::from_secs(match asked_seconds {
        Some(seconds) if seconds > 0 => seconds,
        _ => rand::rng().random_range(MINIMUM_LIFETIME_SECONDS..2 * MINIMUM_LIFETIME_SECONDS),
    })
}

/// The frames of one watch.
struct WatchStream {
    encoder: Encoder,
    selection: Selection,
    initial: std::vec::IntoIter<Arc<Object>>,
    /// The revision to tell when the initial events are through.
    mark_initial_end: Option<u64>,
    /// Events up to here are none of this watch's.
    seen_until: u64,
    watch: Converted,
    deadline: Pin<Box<Sleep>>,
    /// The server shuts down, or what is watched is served otherwise from now on.
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    bookmarks: bool,
    ended: bool,
}

impl WatchStream {
    /// The state as events, many to a frame.
    fn initial_frame(&mut self) -> Result<Option<Bytes>> {
        let mut frame = BytesMut::new();
        while frame.len() < INITIAL_FRAME_BYTES {
            let Some(object) = self.initial.next() else { break };
            frame.extend_from_slice(&self.encoder.object(EventKind::Added, &object)?);
        }
        if self.initial.len() == 0 {
            // The list was large, the watch lasts long.
            self.initial = Vec::new().into_iter();
            if let Some(revision) = self.mark_initial_end.take() {
                frame.extend_from_slice(&self.encoder.bookmark(revision, true)?);
            }
        }
        Ok((!frame.is_empty()).then(|| frame.freeze()))
    }

    /// A change as this watch sees it, if it does.
    fn live_frame(&mut self, event: &Event) -> Result<Option<Bytes>> {
        match (self.seen_as(event), &event.previous) {
            (None, _) => Ok(None),
            // It left the selection: what is told is what the client knew, at the revision of the change.
            (Some(EventKind::Deleted), Some(previous)) if event.kind == EventKind::Modified => {
                self.encoder.object(EventKind::Deleted, &previous.restamped(event.revision)).map(Some)
            }
            (Some(kind), _) => self.encoder.event(kind, event).map(Some),
        }
    }

    /// What a change is to somebody who sees only what is selected.
    fn seen_as(&self, event: &Event) -> Option<EventKind> {
        if self.selection.is_everything() {
            return Some(event.kind);
        }
        let before = match event.kind {
            EventKind::Added => false,
            _ => self.selection.matches(event.previous.as_deref().unwrap_or(&event.object)),
        };
        let after = event.kind != EventKind::Deleted && self.selection.matches(&event.object);
        match (before, after) {
            (false, true) => Some(EventKind::Added),
            (true, true) => Some(EventKind::Modified),
            (true, false) => Some(EventKind::Deleted),
            (false, false) => None,
        }
    }

    fn end_with(&mut self, status: &Status) -> Poll<Option<Bytes>> {
        self.ended = true;
        Poll::Ready(Some(watch_frame::error(status, self.encoder.media())))
    }
}

impl Stream for WatchStream {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Bytes>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if this.initial.len() > 0 || this.mark_initial_end.is_some() {
            match this.initial_frame() {
                Ok(Some(frame)) => return Poll::Ready(Some(frame)),
                Ok(None) => {}
                Err(status) => return this.end_with(&status),
            }
        }
        loop {
            match this.watch.poll_next(task) {
                Poll::Ready(Some(Err(Failure::Refused(status)))) => return this.end_with(&status),
                Poll::Ready(Some(Ok(WatchItem::Event(event)))) if event.revision <= this.seen_until => {}
                Poll::Ready(Some(Ok(WatchItem::Event(event)))) => match this.live_frame(&event) {
                    Ok(Some(frame)) => return Poll::Ready(Some(frame)),
                    Ok(None) => {}
                    Err(status) => return this.end_with(&status),
                },
                Poll::Ready(Some(Ok(WatchItem::Progress(revision)))) => {
                    if this.bookmarks
                        && revision >= this.seen_until
                        && let Ok(frame) = this.encoder.bookmark(revision, false)
                    {
                        return Poll::Ready(Some(frame));
                    }
                }
                Poll::Ready(Some(Err(Failure::Store(StorageError::Compacted { requested, oldest })))) => {
                    let text = format!("too old resource version: {requested} ({oldest})");
                    return this.end_with(&Status::expired(text));
                }
                // A client that was too slow, or a store that closes: it comes back from where it was.
                Poll::Ready(Some(Err(_)) | None) => {
                    this.ended = true;
                    return Poll::Ready(None);
                }
                Poll::Pending => break,
            }
        }
        // Only now: who watches what is deleted wants to see it go.
        if this.end.as_mut().poll(task).is_ready() {
            this.ended = true;
            return Poll::Ready(None);
        }
        if this.deadline.as_mut().poll(task).is_ready() {
            this.ended = true;
            // A last word, so that the next watch need not begin further back.
            let progress = this.watch.progress();
            let tells = this.bookmarks && progress >= this.seen_until;
            return Poll::Ready(tells.then(|| this.encoder.bookmark(progress, false).ok()).flatten());
        }
        Poll::Pending
    }
}
