//! A watch over a WebSocket (RFC 6455), as browsers have it: an event a message, as text where it is JSON.
//!
//! Upstream counterpart: `HandleWS` of `k8s.io/apiserver/pkg/endpoints/handlers/watch.go`.

use super::connect::tunnel::is_upgrade;
use crate::authentication::WEBSOCKET_TOKEN_PREFIX;
use crate::body::{self, Body};
use crate::server::Endless;
use apimachinery::status::{Result, Status};
use bytes::{Buf, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Whoever watches has nothing to say but pings and the end.
const INCOMING_MAX_BYTES: usize = 64 * 1024;
/// Begins the media type of watches whose events follow their lengths.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A WebSocket that was asked for.
pub(crate) struct WatchSocket {
    accept: String,
    protocol: Option<HeaderValue>,
    client: OnUpgrade,
}

impl WatchSocket {
    /// What a request asks for, if it asks for a WebSocket.
    ///
    /// # Errors
    /// 400 when the handshake is incomplete, or the connection is none of HTTP/1.1.
    pub(crate) fn asked(headers: &HeaderMap, client: Option<OnUpgrade>) -> Result<Option<Self>> {
        let wanted = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if !is_upgrade(headers) || !wanted.eq_ignore_ascii_case("websocket") {
            return Ok(None);
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY);
        let key = key.ok_or_else(|| Status::bad_request("Sec-WebSocket-Key is missing"))?;
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(Status::bad_request("Sec-WebSocket-Version must be 13"));
        }
        let client =
            client.ok_or_else(|| Status::bad_request("this connection cannot be upgraded: use HTTP/1.1"))?;
        Ok(Some(Self { accept: derive_accept_key(key.as_bytes()), protocol: protocol(headers), client }))
    }

    /// Carries the body of a watch's answer; an answer that is none stays as it is.
    pub(crate) fn carry(self, response: Response<Body>) -> Response<Body> {
        if response.status() != StatusCode::OK {
            return response;
        }
        let (mut head, events) = response.into_parts();
        head.extensions.remove::<Endless>();
        let media = head.headers.remove(header::CONTENT_TYPE);
        let binary = media.is_some_and(|media| media.as_bytes().starts_with(PROTOBUF.as_bytes()));
        let client = self.client;
        tokio::spawn(async move {
            if let Ok(upgraded) = client.await {
                send(TokioIo::new(upgraded), events, Messages { binary, rest: BytesMut::new() }).await;
            }
        });
        head.status = StatusCode::SWITCHING_PROTOCOLS;
        let headers = &mut head.headers;
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = self.protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        Response::from_parts(head, body::empty())
    }
}

/// The first protocol that is offered: events have the same form in all. One that holds the caller's token is none.
fn protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let first = names
        .find(|name| !name.trim().is_empty() && !name.trim().starts_with(WEBSOCKET_TOKEN_PREFIX))?
        .trim();
    HeaderValue::from_str(first).ok()
}

/// Sends what a watch tells until it or its client ends.
async fn send<T>(connection: T, mut events: Body, mut messages: Messages)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(INCOMING_MAX_BYTES))
        .max_frame_size(Some(INCOMING_MAX_BYTES));
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
    loop {
        tokio::select! {
            frame = events.frame() => {
                let Some(Ok(frame)) = frame else { break };
                let Ok(data) = frame.into_data() else { continue };
                messages.rest.extend_from_slice(&data);
                for message in messages.by_ref() {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
            }
            // Pings are answered by the socket itself.
            said = socket.next() => match said {
                Some(Ok(message)) if !message.is_close() => {}
                _ => return,
            }
        }
    }
    // A client that is gone already need not be told.
    let _ = socket.close(None).await;
}

/// Takes events apart again, which a watch puts one after another.
struct Messages {
    /// After their lengths (four bytes, the highest first), instead of a line each.
    binary: bool,
    rest: BytesMut,
}

impl Iterator for Messages {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        if !self.binary {
            let end = self.rest.iter().position(|byte| *byte == b'\n')?;
            let line = self.rest.split_to(end + 1).freeze();
            return Some(match Utf8Bytes::try_from(line.clone()) {
                Ok(text) => Message::Text(text),
                Err(_) => Message::Binary(line),
            });
        }
        let length = u32::from_be_bytes(*self.rest.first_chunk()?) as usize;
        if self.rest.len() - 4 < length {
            return None;
        }
        self.rest.advance(4);
        Some(Message::Binary(Bytes::from(self.rest.split_to(length))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(binary: bool, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut messages = Messages { binary, rest: BytesMut::new() };
        let mut all = Vec::new();
        for piece in pieces {
            messages.rest.extend_from_slice(piece);
            all.extend(messages.by_ref().map(|message| message.into_data().to_vec()));
        }
        all
    }

    #[test]
    fn events_come_apart_wherever_they_are_cut() {
        assert_eq!(taken(false, &[b"{1}\n{2}\n{", b"3}", b"\n"]), [&b"{1}\n"[..], b"{2}\n", b"{3}\n"]);
        let framed = b"\0\0\0\x02ab\0\0\0\x00\0\0\0\x01c";
        for cut in 0..framed.len() {
            let (first, second) = framed.split_at(cut);
            assert_eq!(taken(true, &[first, second]), [&b"ab"[..], b"", b"c"], "{cut}");
        }
    }

    #[test]
    fn the_first_protocol_that_is_no_token_is_agreed_on() {
        let offered = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(text));
            protocol(&headers)
        };
        assert_eq!(offered("base64url.bearer.authorization.k8s.io.YWJj, a, b").unwrap(), "a");
        assert_eq!(offered("base64url.bearer.authorization.k8s.io.YWJj"), None);
    }
}
