//! What both protocols have in common: inputs and outputs.

use async_trait::async_trait;
use bytes::Bytes;
use cri::streaming::{StreamReader, StreamWriter};
use futures::future::BoxFuture;

/// Where bytes come from.
#[async_trait]
pub(super) trait Input: Send {
    /// The next piece; None at the end of file. When the peer is gone there is none either.
    async fn chunk(&mut self) -> Option<Bytes>;
}

/// Where bytes go.
#[async_trait]
pub(super) trait Output: Send {
    /// Sends a piece; false when the peer is gone.
    async fn write(&mut self, data: Bytes) -> bool;
    /// Ends it.
    async fn finish(&mut self);
}

/// A client's end of an exec or attach.
pub(super) struct ClientStreams {
    pub stdin: Option<Box<dyn Input>>,
    pub stdout: Option<Box<dyn Output>>,
    pub stderr: Option<Box<dyn Output>>,
    pub resize: Option<Box<dyn Input>>,
    pub error: Box<dyn Output>,
    /// False for protocols older than v4, whose error stream carries a message only.
    pub status: bool,
    /// Resolves when the client is gone.
    pub gone: BoxFuture<'static, ()>,
    /// Says goodbye, once everything is sent.
    pub close: BoxFuture<'static, ()>,
}

#[async_trait]
impl Input for StreamReader {
    async fn chunk(&mut self) -> Option<Bytes> {
        StreamReader::chunk(self).await.ok().flatten()
    }
}

#[async_trait]
impl Output for StreamWriter {
    async fn write(&mut self, data: Bytes) -> bool {
        StreamWriter::write(self, data).await.is_ok()
    }

    async fn finish(&mut self) {
        let _ = StreamWriter::finish(self).await;
    }
}

/// Copies until the input ends; true if it did, false if the output did.
pub(super) async fn copy(input: &mut dyn Input, output: &mut dyn Output) -> bool {
    while let Some(chunk) = input.chunk().await {
        if !output.write(chunk).await {
            return false;
        }
    }
    true
}
