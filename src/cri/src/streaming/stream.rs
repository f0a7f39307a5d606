//! One stream of a connection: what its users hold.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::error::StreamingError;
use super::frame::{self, Control};
use super::headers::Headers;
use super::send::Outgoing;

/// Chunks queued for the reader of one stream; then the whole connection waits for it, as TCP would.
const RECEIVE_QUEUE: usize = 32;
/// Largest data frame we send; one pipe read of the peer's usual buffer.
const MAX_DATA_BYTES: usize = 64 * 1024;

/// What arrives on a stream.
pub(super) enum Arrival {
    Data(Bytes),
    Fin,
    Reset(u32),
}

/// One bidirectional stream.
pub struct Stream {
    /// Headers the opener gave.
    pub headers: Headers,
    /// Receiving half.
    pub reader: StreamReader,
    /// Sending half.
    pub writer: StreamWriter,
}

/// Receiving half of a stream. Dropping it discards what still comes.
pub struct StreamReader {
    arrivals: mpsc::Receiver<Arrival>,
    finished: bool,
}

/// Sending half of a stream. Dropping it without [`StreamWriter::finish`] leaves the stream half open
/// until the connection ends.
#[derive(Clone)]
pub struct StreamWriter {
    stream: u32,
    sender: mpsc::Sender<Outgoing>,
}

impl Stream {
    /// A stream and where its reader's arrivals are to be sent.
    pub(super) fn new(
        id: u32,
        headers: Headers,
        sender: mpsc::Sender<Outgoing>,
    ) -> (Self, mpsc::Sender<Arrival>) {
        let (to_reader, arrivals) = mpsc::channel(RECEIVE_QUEUE);
        let reader = StreamReader { arrivals, finished: false };
        (Self { headers, reader, writer: StreamWriter { stream: id, sender } }, to_reader)
    }
}

impl StreamReader {
    /// The next piece; `Ok(None)` when the peer finished or cancelled the stream.
    ///
    /// # Errors
    /// [`StreamingError::Reset`] if the peer reset it, [`StreamingError::Closed`] if the connection ended first.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, StreamingError> {
        if self.finished {
            return Ok(None);
        }
        match self.arrivals.recv().await {
            Some(Arrival::Data(data)) => Ok(Some(data)),
            // Go's implementation cancels every stream when it closes a connection, behind all data: to its
            // own readers that is end of file.
            Some(Arrival::Fin | Arrival::Reset(frame::RESET_CANCEL)) => {
                self.finished = true;
                Ok(None)
            }
            Some(Arrival::Reset(status)) => Err(StreamingError::Reset(status)),
            None => Err(StreamingError::Closed),
        }
    }

    /// Everything until the stream ends, at most `limit` bytes; the rest is discarded.
    pub async fn collect(&mut self, limit: usize) -> Result<Vec<u8>, StreamingError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            let room = limit.saturating_sub(all.len());
            all.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
        }
        Ok(all)
    }
}

impl StreamWriter {
    /// Sends `data`, waiting while the connection is congested.
    pub async fn write(&self, mut data: Bytes) -> Result<(), StreamingError> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(MAX_DATA_BYTES));
            self.send(Outgoing::Data { stream: self.stream, fin: false, data: piece }).await?;
        }
        Ok(())
    }

    /// Half-closes the stream: the peer reads end of file, and may go on sending.
    pub async fn finish(&self) -> Result<(), StreamingError> {
        self.send(Outgoing::Data { stream: self.stream, fin: true, data: Bytes::new() }).await
    }

    /// Ends the stream in both directions.
    pub async fn reset(&self, status: u32) -> Result<(), StreamingError> {
        self.send(Outgoing::Control(Control::RstStream { stream: self.stream, status })).await
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), StreamingError> {
        self.sender.send(outgoing).await.map_err(|_| StreamingError::Closed)
    }
}
