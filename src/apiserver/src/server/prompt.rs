//! A stream whose peer has work at once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the first write of a long answer carries: one TLS record (RFC 8446, section 5.1).
const FIRST_BYTES: usize = 16_384;
/// Slices that the first write has at most.
const FIRST_SLICES: usize = 16;
/// From this on an answer is long.
const LONG_BYTES: usize = 2 * FIRST_BYTES;

/// A stream that writes the first record of a long answer alone: while the peer awakes and decrypts it, the next ones
/// are encrypted. An answer is what is written after something was read.
pub(super) struct Prompt<S> {
    stream: S,
    /// Something was read since the last write.
    asked: bool,
}

impl<S> Prompt<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, asked: false }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.asked = true;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let stream = Pin::new(&mut this.stream);
        let long = this.asked && slices.iter().map(|slice| slice.len()).sum::<usize>() >= LONG_BYTES;
        let written = if long {
            let mut first = [IoSlice::new(&[]); FIRST_SLICES];
            let count = begin(slices, &mut first);
            stream.poll_write_vectored(context, first.get(..count).unwrap_or_default())
        } else {
            stream.poll_write_vectored(context, slices)
        };
        let written = ready!(written)?;
        this.asked = false;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// The first bytes of `slices` into `first`; how many slices these are.
fn begin<'a>(slices: &'a [IoSlice<'a>], first: &mut [IoSlice<'a>]) -> usize {
    let mut left = FIRST_BYTES;
    let mut count = 0;
    for (slot, slice) in first.iter_mut().zip(slices) {
        let taken = slice.get(..left.min(slice.len())).unwrap_or_default();
        *slot = IoSlice::new(taken);
        count += 1;
        left -= taken.len();
        if left == 0 {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::poll_fn;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// Keeps the lengths of what is written.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<usize>>>);

    impl AsyncRead for Writes {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Writes {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.poll_write(context, &slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>())
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_long_answer_begins_with_one_record() {
        let writes = Writes::default();
        let mut stream = Prompt::new(writes.clone());
        let piece = vec![0; 10_000];
        let slices = [IoSlice::new(&piece); 5];
        for _ in 0..2 {
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            for _ in 0..2 {
                poll_fn(|context| Pin::new(&mut stream).poll_write_vectored(context, &slices)).await.unwrap();
            }
        }
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        stream.write_all(&piece).await.unwrap();
        stream.write_all(&[0; 40_000]).await.unwrap();
        assert_eq!(*writes.0.lock().unwrap(), [16_384, 50_000, 16_384, 50_000, 10_000, 40_000]);
    }

    #[tokio::test]
    async fn nothing_is_lost_or_moved() {
        let (one, mut other) = duplex(1000);
        let mut stream = Prompt::new(one);
        other.write_all(b"?").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        let sent: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let mut received = vec![0; sent.len()];
        let (written, read) = tokio::join!(stream.write_all(&sent), other.read_exact(&mut received));
        assert!(written.is_ok() && read.is_ok() && received == sent);
    }
}
