//! Port-forward over SPDY: each connection of a client is a pair of streams, one for data, one for an error,
//! tied together by their request id.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cri::streaming::port_forward::PortForward;
use cri::streaming::{Connection, PORT, REQUEST_ID, STREAM_TYPE, Stream, frame};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::streams::{Input, Output, copy};

/// How long the second stream of a pair may take (upstream's `DefaultStreamCreationTimeout`).
const PAIR_TIMEOUT: Duration = Duration::from_secs(30);
/// Pairs of which only one stream has come.
const MAX_HALF_PAIRS: usize = 256;
/// What of an error is passed on.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// One stream of a pair, waiting for the other.
struct Half {
    stream: Stream,
    since: Instant,
}

/// Serves a client's connection until it ends.
pub(super) async fn serve(client: Connection, runtime: Arc<PortForward>) {
    let mut halves: HashMap<String, Half> = HashMap::new();
    let mut forwarding = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = client.accept() => stream,
            () = runtime.closed() => None,
            // Finished ones are taken off the set as they come.
            Some(_) = forwarding.join_next() => continue,
        };
        let Some(stream) = stream else { return };
        let Some((key, port)) = identify(&stream) else {
            let _ = stream.writer.reset(frame::RESET_REFUSED).await;
            continue;
        };
        halves.retain(|_, half| half.since.elapsed() < PAIR_TIMEOUT);
        match halves.remove(&key) {
            Some(other) => {
                let runtime = Arc::clone(&runtime);
                if let Some((data, error)) = pair(stream, other.stream) {
                    forwarding.spawn(forward(runtime, port, data, error));
                }
            }
            None if halves.len() < MAX_HALF_PAIRS => {
                halves.insert(key, Half { stream, since: Instant::now() });
            }
            None => {
                let _ = stream.writer.reset(frame::RESET_REFUSED).await;
            }
        }
    }
}

/// The pair a stream belongs to, and its port. Clients of before Kubernetes 1.3 give no request id; they
/// open the two streams one right after the other.
fn identify(stream: &Stream) -> Option<(String, u16)> {
    let port: u16 = stream.headers.get(PORT)?.parse().ok().filter(|port| *port != 0)?;
    let known = matches!(stream.headers.get(STREAM_TYPE).map(String::as_str), Some("data" | "error"));
    let key = stream.headers.get(REQUEST_ID).map_or_else(|| format!("port {port}"), |id| format!("id {id}"));
    known.then_some((key, port))
}

/// Data and error stream, in this order, out of any order.
fn pair(one: Stream, other: Stream) -> Option<(Stream, Stream)> {
    let is_data = |stream: &Stream| stream.headers.get(STREAM_TYPE).is_some_and(|kind| kind == "data");
    match (is_data(&one), is_data(&other)) {
        (true, false) => Some((one, other)),
        (false, true) => Some((other, one)),
        _ => None,
    }
}

/// Forwards one connection.
async fn forward(runtime: Arc<PortForward>, port: u16, data: Stream, error: Stream) {
    let Stream { reader: mut from_client, writer: mut to_client, .. } = data;
    let mut problem = error.writer;
    let opened = match runtime.open(port).await {
        Ok(opened) => opened,
        Err(failure) => {
            Output::write(&mut problem, Bytes::from(failure.to_string())).await;
            Output::finish(&mut problem).await;
            Output::finish(&mut to_client).await;
            return;
        }
    };
    let Stream { reader: mut from_pod, writer: mut to_pod, .. } = opened.data;
    let mut failures = opened.error;
    let inbound = async {
        copy(&mut from_client as &mut dyn Input, &mut to_pod).await;
        Output::finish(&mut to_pod).await;
        std::future::pending::<()>().await;
    };
    let outbound = async {
        copy(&mut from_pod as &mut dyn Input, &mut to_client).await;
        let message = failures.collect(MAX_ERROR_BYTES).await.unwrap_or_default();
        if !message.is_empty() {
            Output::write(&mut problem, Bytes::from(message)).await;
        }
        Output::finish(&mut problem).await;
        Output::finish(&mut to_client).await;
    };
    tokio::select! {
        () = inbound => {}
        () = outbound => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri::streaming::{Headers, Role};

    fn headers(kind: &str, port: &str, id: Option<&str>) -> Headers {
        let mut headers = Headers::from([(STREAM_TYPE.into(), kind.into()), (PORT.into(), port.into())]);
        headers.extend(id.map(|id| (REQUEST_ID.to_owned(), id.to_owned())));
        headers
    }

    #[tokio::test]
    async fn streams_are_paired_by_their_request_id() {
        let (a, b) = tokio::io::duplex(1 << 16);
        let (client, server) = (Connection::new(a, Role::Client), Connection::new(b, Role::Server));
        let mut opened = Vec::new();
        for (kind, port, id) in [
            ("error", "80", Some("1")),
            ("data", "80", Some("1")),
            ("data", "0", None),
            ("other", "80", None),
        ] {
            opened.push(client.open(headers(kind, port, id)).await.unwrap());
        }
        let (error, data) = (server.accept().await.unwrap(), server.accept().await.unwrap());
        assert_eq!(identify(&error), Some(("id 1".into(), 80)));
        assert_eq!(identify(&error), identify(&data));
        let (data, error) = pair(error, data).unwrap();
        assert_eq!(
            (data.headers[STREAM_TYPE].as_str(), error.headers[STREAM_TYPE].as_str()),
            ("data", "error")
        );
        assert_eq!(identify(&server.accept().await.unwrap()), None);
        assert_eq!(identify(&server.accept().await.unwrap()), None);
    }
}
