//! A response body that decompresses as it goes, for clients that do not take gzip.

use crate::body::BoxError;
use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use flate2::bufread::GzDecoder;
use http_body::{Body, Frame};
use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes of a frame: a few frames for a document, little memory for each client.
const FRAME_BYTES: usize = 64 * 1024;

/// The content of gzip bytes.
pub(super) struct Inflate {
    decoder: GzDecoder<Reader<Bytes>>,
}

impl Inflate {
    /// The content of these bytes.
    pub(super) fn new(gzip: Bytes) -> Self {
        Self { decoder: GzDecoder::new(gzip.reader()) }
    }
}

impl Body for Inflate {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut frame = Vec::with_capacity(FRAME_BYTES);
        match (&mut self.get_mut().decoder).take(FRAME_BYTES as u64).read_to_end(&mut frame) {
            Ok(0) => Poll::Ready(None),
            Ok(_) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(frame))))),
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http_body_util::BodyExt;
    use std::io::Write;

    #[tokio::test]
    async fn what_was_compressed_comes_back_in_frames() {
        let text = "kubernetes ".repeat(20_000);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        let mut body = Inflate::new(Bytes::from(encoder.finish().unwrap()));
        let mut out = Vec::new();
        let mut frames = 0;
        while let Some(frame) = body.frame().await {
            out.extend_from_slice(&frame.unwrap().into_data().unwrap());
            frames += 1;
        }
        assert_eq!(out, text.as_bytes());
        assert!(frames > 1);
    }

    #[tokio::test]
    async fn damaged_bytes_are_an_error() {
        assert!(Inflate::new(Bytes::from_static(b"no gzip")).collect().await.is_err());
    }
}
