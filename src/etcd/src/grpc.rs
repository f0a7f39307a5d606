//! gRPC over HTTP/2: messages behind a flag and a length, the outcome in the trailers.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message;
use std::convert::Infallible;
use std::fmt::Write as _;

/// A request's largest message: they are all small.
const MAX_MESSAGE: usize = 1 << 20;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl Status {
    pub(crate) const INVALID_ARGUMENT: u32 = 3;
    pub(crate) const PERMISSION_DENIED: u32 = 7;
    pub(crate) const OUT_OF_RANGE: u32 = 11;
    pub(crate) const UNIMPLEMENTED: u32 = 12;
    pub(crate) const UNAVAILABLE: u32 = 14;

    pub(crate) fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(self.code));
        if !self.message.is_empty()
            && let Ok(message) = HeaderValue::from_str(&encode(&self.message))
        {
            trailers.insert("grpc-message", message);
        }
        trailers
    }
}

/// Messages on their way in.
pub(crate) struct Messages<B> {
    body: B,
    buffer: BytesMut,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> Messages<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next one; none after the last.
    pub(crate) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        loop {
            if let Some(message) = self.take()? {
                let decoded = M::decode(message);
                return decoded
                    .map(Some)
                    .map_err(|error| Status::new(Status::INVALID_ARGUMENT, error.to_string()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                // A client that has gone away needs no answer.
                Some(Err(_)) | None if self.buffer.is_empty() => return Ok(None),
                _ => return Err(Status::new(Status::INVALID_ARGUMENT, "the message is cut off")),
            }
        }
    }

    /// The only one.
    pub(crate) async fn only<M: Message + Default>(&mut self) -> Result<M, Status> {
        let missing = || Status::new(Status::INVALID_ARGUMENT, "there is no message");
        self.next().await?.ok_or_else(missing)
    }

    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let mut prefix = self.buffer.as_ref();
        let (Ok(compressed), Ok(length)) = (prefix.try_get_u8(), prefix.try_get_u32()) else {
            return Ok(None);
        };
        if compressed != 0 {
            return Err(Status::new(Status::UNIMPLEMENTED, "compressed messages are not understood"));
        }
        let length = length as usize;
        if length > MAX_MESSAGE {
            return Err(Status::new(Status::INVALID_ARGUMENT, "the message is too large"));
        }
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// An answer of one message.
pub(crate) fn unary<M: Message + 'static>(result: Result<M, Status>) -> Response<Body> {
    streaming(futures::stream::iter([result]))
}

/// An answer of many messages; an error ends it.
pub(crate) fn streaming<M: Message + 'static>(
    messages: impl Stream<Item = Result<M, Status>> + Send + 'static,
) -> Response<Body> {
    let ended = Status { code: 0, message: String::new() };
    let frames = messages
        .map(|message| message.map(|message| encoded(&message)))
        .chain(futures::stream::iter([Err(ended)]))
        .scan(false, |done, message| {
            if *done {
                return std::future::ready(None);
            }
            let frame = match message {
                Ok(message) => Frame::data(message),
                Err(status) => {
                    *done = true;
                    Frame::trailers(status.trailers())
                }
            };
            std::future::ready(Some(Ok::<_, Infallible>(frame)))
        });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A message with its prefix.
pub(crate) fn encoded(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX + length);
    out.put_u8(0);
    // Answers are far below 4 GiB: the state is in memory.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.extend_from_slice(&message.encode_to_vec());
    out.freeze()
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{RangeRequest, RangeResponse};
    use http_body_util::Full;

    #[tokio::test]
    async fn messages_are_read_whole_and_damaged_ones_refused() {
        let request = RangeRequest { key: "a".into(), limit: 3, ..RangeRequest::default() };
        let good = encoded(&request);
        let twice = Bytes::from([good.clone(), good.clone()].concat());
        let mut messages = Messages::new(Full::new(twice));
        assert_eq!(messages.next::<RangeRequest>().await.unwrap().unwrap(), request);
        assert_eq!(messages.only::<RangeRequest>().await.unwrap(), request);
        assert_eq!(messages.next::<RangeRequest>().await.unwrap(), None);
        for end in 1..good.len() {
            let cut = Messages::new(Full::new(good.slice(..end))).next::<RangeRequest>().await;
            assert_eq!(cut.unwrap_err().code, Status::INVALID_ARGUMENT, "{end}");
        }
        for (bad, code) in [
            (&[1, 0, 0, 0, 0][..], Status::UNIMPLEMENTED),
            (&[0, 255, 255, 255, 255], Status::INVALID_ARGUMENT),
            (&[0, 0, 0, 0, 1, 0xff], Status::INVALID_ARGUMENT),
        ] {
            let read = Messages::new(Full::new(Bytes::copy_from_slice(bad))).next::<RangeRequest>().await;
            assert_eq!(read.unwrap_err().code, code, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn an_error_ends_the_answer_with_its_words() {
        let stream = futures::stream::iter([
            Ok(RangeResponse { count: 1, ..RangeResponse::default() }),
            Err(Status::new(Status::OUT_OF_RANGE, "50% ü")),
            Ok(RangeResponse::default()),
        ]);
        let collected = streaming(stream).into_body().collect().await.unwrap();
        let trailers = collected.trailers().unwrap().clone();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"11".parse().unwrap(), &"50%25 %C3%BC".parse().unwrap())
        );
        let mut messages = Messages::new(Full::new(collected.to_bytes()));
        assert_eq!(messages.only::<RangeResponse>().await.unwrap().count, 1);
        assert_eq!(messages.next::<RangeResponse>().await.unwrap(), None);
    }
}
