//! How the protocols over WebSocket messages write their channels: a byte, or a character behind `0` where the rest is
//! base64 text.
//!
//! Upstream counterpart: `k8s.io/apimachinery/pkg/util/httpstream/wsstream`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// How a version of the protocol writes its channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    /// Its name as a subprotocol.
    pub name: &'static str,
    /// Text messages with base64 behind the channel's digit.
    pub base64: bool,
    /// The error channel carries a `Status` (v4 and later).
    pub status: bool,
    /// Clients can end a channel (v5).
    pub close: bool,
    /// No channels at all: the messages are pieces of an SPDY connection.
    pub spdy: bool,
}

impl Channels {
    /// True if the messages are pieces of an SPDY connection.
    pub(super) const fn tunnels_spdy(self) -> bool {
        self.spdy
    }

    /// The channel and the data of a message; `None` for what carries none.
    #[must_use]
    pub fn decode(self, message: Message) -> Option<(u8, Bytes)> {
        match message {
            Message::Binary(mut data) if !self.base64 => {
                let channel = *data.first()?;
                Some((channel, data.split_off(1)))
            }
            Message::Text(text) if self.base64 => {
                let (channel, data) = text.as_bytes().split_first()?;
                Some((channel.checked_sub(b'0')?, STANDARD.decode(data).ok()?.into()))
            }
            // Some clients of binary protocols send key strokes as text.
            Message::Text(text) => {
                let mut data = Bytes::from(text);
                let channel = *data.first()?;
                let channel = if channel >= b'0' { channel - b'0' } else { channel };
                Some((channel, data.split_off(1)))
            }
            _ => None,
        }
    }

    /// A message with data of a channel.
    #[must_use]
    pub fn encode(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            return Message::Text(Utf8Bytes::from(format!(
                "{}{}",
                char::from(b'0'.saturating_add(channel)),
                STANDARD.encode(data)
            )));
        }
        let mut message = BytesMut::with_capacity(1 + data.len());
        message.put_u8(channel);
        message.put_slice(data);
        Message::Binary(message.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_beyond_the_ninth_are_one_character() {
        let base64 = Channels { name: "", base64: true, status: false, close: false, spdy: false };
        let message = base64.encode(11, b"hi");
        assert_eq!(message, Message::Text(";aGk=".into()));
        assert_eq!(base64.decode(message), Some((11, Bytes::from_static(b"hi"))));
    }
}
