//! gRPC probes: `grpc.health.v1.Health/Check` over plain HTTP/2, its one small message encoded by hand.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// Asks whether `service` is serving.
///
/// # Errors
/// What to tell in the event.
pub async fn grpc_check(address: SocketAddr, service: &str, timeout: Duration) -> Result<(), String> {
    match tokio::time::timeout(timeout, check(address, service)).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "timeout: failed to connect service {:?} within {}: context deadline exceeded",
            address.to_string(),
            crate::backoff::show(timeout)
        )),
    }
}

async fn check(address: SocketAddr, service: &str) -> Result<(), String> {
    let no_connection =
        |error: &dyn std::fmt::Display| format!("error: failed to connect service {address}: {error}");
    let stream =
        TcpStream::connect(address).await.map_err(|error| no_connection(&super::tcp::lower(&error)))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| no_connection(&error))?;
    tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(request_frame(service)))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| no_connection(&error))?;
    let code_of = |headers: &http::HeaderMap| {
        headers.get("grpc-status").and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let early = code_of(response.headers());
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
    let code = early.or_else(|| body.trailers().and_then(code_of)).unwrap_or_default();
    match code.as_str() {
        "0" => {}
        "12" => {
            return Err(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                    .into(),
            );
        }
        other => return Err(format!("error: health rpc probe failed: rpc error: code = {other}")),
    }
    match serving_status(&body.to_bytes()) {
        Some(SERVING) => Ok(()),
        status => Err(format!("service unhealthy (responded with {:?})", name(status))),
    }
}

fn name(status: Option<u64>) -> &'static str {
    match status {
        Some(1) => "SERVING",
        Some(2) => "NOT_SERVING",
        Some(3) => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

/// A gRPC frame with `HealthCheckRequest{service}` (field 1, string).
fn request_frame(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(0));
    frame.put_slice(&message);
    frame.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// `HealthCheckResponse.status` (field 1, enum) of a framed, uncompressed answer.
fn serving_status(frame: &[u8]) -> Option<u64> {
    let message = frame.get(5..)?;
    match message {
        [] => Some(0),
        [0x08, rest @ ..] => rest.first().map(|value| u64::from(*value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_protobuf() {
        assert_eq!(request_frame("a").as_ref(), [0, 0, 0, 0, 3, 0x0a, 1, b'a']);
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 0x08, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
    }
}
