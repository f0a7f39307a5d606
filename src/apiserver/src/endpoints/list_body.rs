//! The body of a list: stored bytes put one after the other while they are sent.

use crate::body::BoxError;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes put together into one frame: large enough that the cost per frame vanishes, small enough to stay in
/// a processor's cache on the way to the cipher.
pub(crate) const FRAME_BYTES: usize = 64 * 1024;

/// A piece of this size goes out as it is: putting it together with others would cost more than it saves.
const LARGE_BYTES: usize = 2 * 1024;

/// A body made of many pieces. Its length is known before it is sent, and no more than a frame of it is ever
/// copied at a time.
pub(crate) struct ListBody {
    pieces: VecDeque<Bytes>,
    left: u64,
}

impl ListBody {
    /// A list: head, items with commas between them, tail.
    pub(crate) fn new(head: Bytes, items: impl ExactSizeIterator<Item = Bytes>, tail: Bytes) -> Self {
        let comma = Bytes::from_static(b",");
        let mut pieces = VecDeque::with_capacity(items.len() * 2 + 2);
        pieces.push_back(head);
        for (n, item) in items.enumerate() {
            if n > 0 {
                pieces.push_back(comma.clone());
            }
            pieces.push_back(item);
        }
        pieces.push_back(tail);
        Self::of(pieces)
    }

    /// Pieces one after the other.
    pub(crate) fn of(pieces: VecDeque<Bytes>) -> Self {
        let left = pieces.iter().map(|p| p.len() as u64).sum();
        Self { pieces, left }
    }

    /// Bytes that are still to be sent.
    pub(crate) fn len(&self) -> u64 {
        self.left
    }

    /// Everything at once, for forms that have to be read again.
    pub(crate) fn into_bytes(self) -> Bytes {
        let mut out = BytesMut::with_capacity(usize::try_from(self.left).unwrap_or(0));
        for piece in &self.pieces {
            out.extend_from_slice(piece);
        }
        out.freeze()
    }

    fn next_frame(&mut self) -> Option<Bytes> {
        let first = self.pieces.pop_front()?;
        let large = |piece: &Bytes| piece.len() >= LARGE_BYTES;
        if large(&first) || self.pieces.front().is_none_or(large) {
            return Some(first);
        }
        let capacity = usize::try_from(self.left).unwrap_or(FRAME_BYTES).min(FRAME_BYTES);
        let mut frame = BytesMut::with_capacity(capacity);
        frame.extend_from_slice(&first);
        while let Some(piece) = self.pieces.pop_front() {
            if large(&piece) || frame.len() + piece.len() > capacity {
                self.pieces.push_front(piece);
                break;
            }
            frame.extend_from_slice(&piece);
        }
        Some(frame.freeze())
    }
}

impl http_body::Body for ListBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        Poll::Ready(this.next_frame().map(|frame| {
            this.left = this.left.saturating_sub(frame.len() as u64);
            Ok(Frame::data(frame))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn pieces_come_out_in_order_with_commas() {
        let items = (0..40_000).map(|n| Bytes::from(format!("{n}"))).collect::<Vec<_>>();
        let expected: Vec<String> = (0..40_000).map(|n| n.to_string()).collect();
        let body = ListBody::new(Bytes::from_static(b"["), items.into_iter(), Bytes::from_static(b"]"));
        let length = body.len();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len() as u64, length);
        assert_eq!(bytes, format!("[{}]", expected.join(",")));
    }

    #[tokio::test]
    async fn an_empty_list_is_head_and_tail() {
        let body = ListBody::new(Bytes::from_static(b"["), std::iter::empty(), Bytes::from_static(b"]"));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "[]");
    }
}
