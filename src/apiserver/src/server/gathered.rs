//! What a body has ready, sent in one go.
//!
//! A list is made of stored objects that are not copied, and of the commas between them. hyper writes when sixteen pieces
//! wait, HTTP/2 makes a frame of each: half the writes would be short, and end with a short TLS record.

use crate::body::{Body, BoxError};
use bytes::{Buf, Bytes};
use http_body::{Body as _, Frame, SizeHint};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What is gathered at least, if that much is ready, and what a connection encrypts before it writes: four TLS records
/// (RFC 8446, section 5.2: 22 bytes more than they carry) that are one packet of the loopback, and not the first of two:
/// 65,535 bytes, 52 of which are the headers of IP and TCP.
pub(super) const ENOUGH_BYTES: usize = 65_535 - 52 - 4 * 22;

/// A body whose frames are made of all that is ready.
pub(super) struct Gathered {
    body: Body,
    /// What came after the last piece: trailers, or an error.
    next: Option<Result<Frame<Bytes>, BoxError>>,
    ended: bool,
}

impl Gathered {
    pub(super) fn new(body: Body) -> Self {
        Self { body, next: None, ended: false }
    }

    /// Gathers what is ready. Pending when that is nothing.
    fn gather(&mut self, context: &mut Context<'_>) -> Poll<Pieces> {
        let mut pieces = Pieces::default();
        while pieces.left < ENOUGH_BYTES && self.next.is_none() && !self.is_end_stream() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(frame)) => match frame.map(Frame::into_data) {
                    Ok(Ok(piece)) => pieces.push(piece),
                    Ok(Err(trailers)) => self.next = Some(Ok(trailers)),
                    Err(error) => self.next = Some(Err(error)),
                },
                Poll::Ready(None) => self.ended = true,
                Poll::Pending if pieces.left == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(pieces)
    }
}

impl http_body::Body for Gathered {
    type Data = Pieces;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Pieces>, BoxError>>> {
        let this = self.get_mut();
        if this.next.is_none() {
            let pieces = ready!(this.gather(context));
            if pieces.left > 0 {
                return Poll::Ready(Some(Ok(Frame::data(pieces))));
            }
        }
        Poll::Ready(this.next.take().map(|next| next.map(|frame| frame.map_data(Pieces::from))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes in pieces, none of which is empty.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    left: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.left += piece.len();
            self.pieces.push_back(piece);
        }
    }
}

impl From<Bytes> for Pieces {
    fn from(piece: Bytes) -> Self {
        let mut pieces = Self::default();
        pieces.push(piece);
        pieces
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.pieces);
        filled.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.pieces.front_mut().filter(|_| count > 0) {
            let step = count.min(first.len());
            first.advance(step);
            if first.is_empty() {
                self.pieces.pop_front();
            }
            self.left -= step;
            count -= step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream::poll_fn;
    use http::HeaderMap;
    use http_body_util::{BodyExt, StreamBody};

    type Polled = Poll<Result<Frame<Bytes>, BoxError>>;

    fn data(bytes: impl Into<Bytes>) -> Polled {
        Poll::Ready(Ok(Frame::data(bytes.into())))
    }

    /// What comes of a body that is polled with these answers: the lengths of pieces, or what else it is.
    async fn gathered(answers: Vec<Polled>) -> Vec<String> {
        let mut answers = answers.into_iter();
        let stream = poll_fn(move |context| {
            let answer = answers.next().map(|answer| answer.map(Some)).unwrap_or(Poll::Ready(None));
            if answer.is_pending() {
                context.waker().wake_by_ref();
            }
            answer
        });
        let mut body = Gathered::new(StreamBody::new(stream).boxed_unsync());
        let mut told = Vec::new();
        while let Some(frame) = body.frame().await {
            told.push(match frame.map(Frame::into_data) {
                Ok(Ok(data)) => format!("{:?}", data.pieces.iter().map(Bytes::len).collect::<Vec<_>>()),
                Ok(Err(_)) => "trailers".to_owned(),
                Err(error) => error.to_string(),
            });
        }
        assert!(body.is_end_stream());
        told
    }

    #[tokio::test]
    async fn what_is_ready_is_one_frame_until_it_is_enough() {
        let large = || data(vec![0; ENOUGH_BYTES - 1]);
        let told =
            gathered(vec![data("a"), data(""), data("bc"), Poll::Pending, data("d"), large(), data("e")]);
        assert_eq!(told.await, ["[1, 2]", &format!("[1, {}]", ENOUGH_BYTES - 1), "[1]"]);
        assert_eq!(gathered(vec![Poll::Pending, data("")]).await, [""; 0]);
    }

    #[tokio::test]
    async fn trailers_and_errors_come_after_the_data_before_them() {
        let trailers = || Poll::Ready(Ok(Frame::trailers(HeaderMap::new())));
        assert_eq!(gathered(vec![data("a"), trailers()]).await, ["[1]", "trailers"]);
        assert_eq!(gathered(vec![trailers()]).await, ["trailers"]);
        let broken = Poll::Ready(Err("broken".into()));
        assert_eq!(gathered(vec![data("a"), data("b"), broken]).await, ["[1, 1]", "broken"]);
    }

    #[test]
    fn pieces_are_read_across_their_ends() {
        let mut pieces = Pieces::default();
        for piece in ["ab", "", "cde", "f"] {
            pieces.push(Bytes::from_static(piece.as_bytes()));
        }
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!((pieces.chunks_vectored(&mut slices), &*slices[1]), (2, &b"cde"[..]));
        pieces.advance(3);
        assert_eq!((pieces.remaining(), pieces.chunk()), (3, &b"de"[..]));
        assert_eq!(pieces.copy_to_bytes(3), "def");
        assert_eq!(pieces.chunk(), b"");
    }
}
