//! Container logs (`/containerLogs/NAMESPACE/POD/CONTAINER`).
//!
//! | module | job |
//! |---|---|
//! | [`format`] | lines of the CRI log format |
//! | [`options`] | what a request wants |
//! | [`tail`] | where the last lines of a file begin |
//! | `watch` | waits for more: inotify, or polling where there are no instances left |
//! | [`reader`] | reads, follows, survives rotation |

pub mod format;
pub mod options;
pub mod reader;
pub mod tail;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use cri::Runtime;
use cri::v1::ContainerState;
use futures::future::BoxFuture;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use jiff::Timestamp;
use tokio::sync::mpsc;

use self::options::LogOptions;
use self::reader::LogReader;
use super::pod_source::{ContainerHandle, ContainerInstance};
use super::respond::{self, Body};
use super::route::Query;
use super::serve::State;

/// Chunks read ahead of a slow client.
const CHUNKS_AHEAD: usize = 4;

/// Answers a request for logs.
pub(super) async fn serve(
    state: &Arc<State>,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &Query,
) -> Response<Body> {
    let options = match LogOptions::parse(query, Timestamp::now()) {
        Ok(options) => options,
        Err(message) => return respond::error(StatusCode::BAD_REQUEST, message),
    };
    let Some(handle) = state.source.lookup(namespace, pod, None).await else {
        return respond::error(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist"));
    };
    let Some(handle) = handle.container(container) else {
        let message = format!("container {container:?} not found in pod {pod:?}");
        return respond::error(StatusCode::NOT_FOUND, message);
    };
    let instance = match choose(handle, pod, options.previous) {
        Ok(instance) => instance,
        Err(message) => return respond::error(StatusCode::BAD_REQUEST, message),
    };
    let follow = options.follow;
    let mut reader = match LogReader::open(&instance.log_path, options).await {
        Ok(reader) => reader,
        Err(error) => {
            let message = format!("failed to open log file {:?}: {error}", instance.log_path);
            return respond::error(StatusCode::INTERNAL_SERVER_ERROR, message);
        }
    };
    let (sender, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let (id, runtime, shutdown) = (instance.id.clone(), Arc::clone(&state.runtime), state.shutdown.clone());
    state.tasks.spawn(async move {
        let running = move || -> BoxFuture<'static, bool> {
            let (id, runtime) = (id.clone(), Arc::clone(&runtime));
            Box::pin(async move { still_running(runtime.as_ref(), &id).await })
        };
        let read = reader.run(&sender, running);
        tokio::select! {
            result = read => {
                if let Err(error) = result {
                    tracing::debug!(%error, "reading a container's log ended");
                }
            }
            () = sender.closed() => {}
            () = shutdown.cancelled() => {}
        }
    });
    let chunks = futures::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    let content_type = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    if follow {
        // Proxies in between must not wait for more.
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    }
    response
}

async fn still_running(runtime: &dyn Runtime, id: &str) -> bool {
    match runtime.container_status(id, false).await {
        Ok(answer) => answer.status.is_some_and(|status| {
            matches!(status.state(), ContainerState::ContainerRunning | ContainerState::ContainerCreated)
        }),
        // One that is gone writes no more; a runtime that is being restarted says nothing about it.
        Err(error) => !error.is_not_found(),
    }
}

/// The instance whose log is meant, or why there is none (in upstream's words).
fn choose<'a>(
    handle: &'a ContainerHandle,
    pod: &str,
    previous: bool,
) -> Result<&'a ContainerInstance, String> {
    let name = &handle.name;
    if previous {
        // Of a container that waits to be started again, the newest instance is the previous one.
        let waits = handle.waiting_reason.is_some();
        return handle
            .current
            .as_ref()
            .filter(|current| waits && !current.running)
            .or(handle.previous.as_ref())
            .ok_or_else(|| format!("previous terminated container {name:?} in pod {pod:?} not found"));
    }
    match (&handle.current, &handle.waiting_reason) {
        (Some(current), _) => Ok(current),
        (None, Some(reason)) => {
            let reason = match reason.as_str() {
                "ErrImagePull" => "image can't be pulled",
                "ImagePullBackOff" => "trying and failing to pull image",
                other => other,
            };
            Err(format!("container {name:?} in pod {pod:?} is waiting to start: {reason}"))
        }
        (None, None) => Err(format!("container {name:?} in pod {pod:?} is not available")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str, running: bool) -> Option<ContainerInstance> {
        Some(ContainerInstance { id: id.into(), running, ..Default::default() })
    }

    #[test]
    fn the_instance_is_chosen_or_its_absence_explained() {
        let mut handle = ContainerHandle { name: "c".into(), ..Default::default() };
        assert_eq!(choose(&handle, "p", false).unwrap_err(), "container \"c\" in pod \"p\" is not available");
        handle.waiting_reason = Some("ContainerCreating".into());
        assert_eq!(
            choose(&handle, "p", false).unwrap_err(),
            "container \"c\" in pod \"p\" is waiting to start: ContainerCreating"
        );
        handle.waiting_reason = None;
        handle.current = instance("b", true);
        assert_eq!(choose(&handle, "p", false).unwrap().id, "b");
        assert_eq!(
            choose(&handle, "p", true).unwrap_err(),
            "previous terminated container \"c\" in pod \"p\" not found"
        );
        handle.previous = instance("a", false);
        assert_eq!(choose(&handle, "p", true).unwrap().id, "a");
    }

    #[test]
    fn in_a_crash_loop_the_log_of_the_last_crash_is_shown() {
        let handle = ContainerHandle {
            name: "c".into(),
            current: instance("b", false),
            waiting_reason: Some("CrashLoopBackOff".into()),
            ..Default::default()
        };
        assert_eq!(choose(&handle, "p", false).unwrap().id, "b");
        assert_eq!(choose(&handle, "p", true).unwrap().id, "b");
    }
}
