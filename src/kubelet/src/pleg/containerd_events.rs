//! Containerd's event stream: containerd 1.6 has no CRI events, so its own are followed. Any other runtime
//! behind the socket simply has none, and relisting has to do.

use super::relist::RelistRequest;
use containerd_client::events::{TaskDelete, TaskExit};
use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use prost::Message;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause before the stream is opened again.
const RECONNECT: Duration = Duration::from_secs(1);
/// Pause when the runtime does not know the service at all.
const UNKNOWN_SERVICE: Duration = Duration::from_secs(600);
/// What concerns pods: containerd keeps them in this namespace. A task that exits is a container or an exec.
const FILTERS: [&str; 3] = [
    "namespace==k8s.io,topic==\"/tasks/exit\"",
    "namespace==k8s.io,topic==\"/tasks/delete\"",
    "namespace==k8s.io,topic==\"/containers/delete\"",
];

/// Asks for a relist for every event that may have changed a container or sandbox, until cancelled.
pub async fn follow(socket: &Path, relist: &RelistRequest, cancel: &CancellationToken) {
    loop {
        let pause = tokio::select! {
            () = cancel.cancelled() => return,
            pause = stream(socket, relist) => pause,
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Follows one stream to its end; returns the pause before the next.
async fn stream(socket: &Path, relist: &RelistRequest) -> Duration {
    let channel = match containerd_client::connect(socket).await {
        Ok(channel) => channel,
        Err(error) => {
            tracing::debug!(%error, "connecting to containerd's events failed");
            return RECONNECT;
        }
    };
    let request = SubscribeRequest { filters: FILTERS.map(str::to_owned).to_vec() };
    let mut events = match EventsClient::new(channel).subscribe(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == containerd_client::tonic::Code::Unimplemented => {
            tracing::info!("the container runtime has no containerd events: relisting only");
            return UNKNOWN_SERVICE;
        }
        Err(status) => {
            tracing::warn!(%status, "subscribing to containerd's events failed");
            return RECONNECT;
        }
    };
    tracing::debug!("following containerd's events");
    // Whatever happened before the stream was open.
    relist.changed();
    loop {
        match events.message().await {
            Ok(Some(envelope)) => {
                let payload = envelope.event.map(|event| event.value).unwrap_or_default();
                match meaning(&envelope.topic, &payload) {
                    Meaning::Exited(id) => relist.exited(&id),
                    Meaning::Changed => relist.changed(),
                    Meaning::Nothing => {}
                }
            }
            Ok(None) => return RECONNECT,
            Err(status) => {
                tracing::debug!(%status, "containerd's events ended");
                return RECONNECT;
            }
        }
    }
}

/// What an event means for pods.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// A container or sandbox has exited.
    Exited(String),
    /// Something is different.
    Changed,
    /// Nothing.
    Nothing,
}

/// Exec probes end several times a second on a busy node: an exec's id is not its container's.
fn meaning(topic: &str, payload: &[u8]) -> Meaning {
    let of = |id: String, container_id: String| {
        if id.is_empty() || id == container_id { Meaning::Exited(container_id) } else { Meaning::Nothing }
    };
    match topic {
        "/tasks/exit" => {
            TaskExit::decode(payload).map_or(Meaning::Changed, |event| of(event.id, event.container_id))
        }
        "/tasks/delete" => {
            TaskDelete::decode(payload).map_or(Meaning::Changed, |event| of(event.id, event.container_id))
        }
        _ => Meaning::Changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_exec_is_no_news() {
        let exit = |id: &str| {
            TaskExit { container_id: "c".into(), id: id.into(), ..TaskExit::default() }.encode_to_vec()
        };
        assert_eq!(meaning("/tasks/exit", &exit("c")), Meaning::Exited("c".into()));
        assert_eq!(meaning("/tasks/exit", &exit("exec-1")), Meaning::Nothing);
        assert_eq!(meaning("/containers/delete", &[]), Meaning::Changed);
    }
}
