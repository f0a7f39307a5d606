//! The receiving task of a connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::connection::Role;
use super::error::StreamingError;
use super::frame::{self, Control, FLAG_FIN, Head};
use super::headers::{HeaderDecoder, Headers};
use super::send::Outgoing;
use super::stream::{Arrival, Stream};

/// Open streams per connection: port-forward of a busy page opens two per request. A bound on what a
/// hostile peer can allocate.
const MAX_STREAMS: usize = 4096;
/// Largest control frame: headers are tiny.
const MAX_CONTROL_BYTES: usize = 64 * 1024;
/// Data is handed on in pieces of this size at most, whatever the frame's length (up to 16 MiB).
const CHUNK_BYTES: usize = 32 * 1024;

/// Receiving ends of the open streams.
pub(super) type Table = Arc<Mutex<HashMap<u32, mpsc::Sender<Arrival>>>>;

/// The receiving side of a connection.
pub(super) struct Receiver {
    role: Role,
    table: Table,
    accept: mpsc::Sender<Stream>,
    // Weak, so that the reader alone does not keep the writer alive.
    sender: mpsc::WeakSender<Outgoing>,
    decoder: HeaderDecoder,
    last_opened: u32,
}

impl Receiver {
    /// Answers through `sender`, and hands on what the peer opens to `accept`.
    pub(super) fn new(
        role: Role,
        table: Table,
        accept: mpsc::Sender<Stream>,
        sender: &mpsc::Sender<Outgoing>,
    ) -> Self {
        Self {
            role,
            table,
            accept,
            sender: sender.downgrade(),
            decoder: HeaderDecoder::new(),
            last_opened: 0,
        }
    }

    /// Receives until the connection ends.
    pub(super) async fn run<R: AsyncRead + Send + Unpin>(mut self, reader: R, closed: CancellationToken) {
        tokio::select! {
            result = self.receive(BufReader::with_capacity(CHUNK_BYTES, reader)) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "SPDY connection ended while receiving");
                }
            }
            () = closed.cancelled() => {}
        }
        // First the token, then the table: `open` looks at them the other way round.
        closed.cancel();
        lock(&self.table).clear();
    }

    async fn receive<R: AsyncRead + Send + Unpin>(&mut self, mut reader: R) -> Result<(), StreamingError> {
        let mut head = [0; frame::HEAD_BYTES];
        loop {
            if let Err(error) = reader.read_exact(&mut head).await {
                return match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => Ok(()),
                    _ => Err(error.into()),
                };
            }
            match frame::decode_head(head)? {
                Head::Data { stream, flags, length } => {
                    self.receive_data(&mut reader, stream, flags, length).await?;
                }
                Head::Control { kind, flags, length } => {
                    if length > MAX_CONTROL_BYTES {
                        return Err(StreamingError::Protocol("control frame too large"));
                    }
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).await?;
                    let control = frame::decode_control(kind, flags, &body, &mut self.decoder)?;
                    self.receive_control(control).await?;
                }
            }
        }
    }

    async fn receive_data<R: AsyncRead + Send + Unpin>(
        &mut self,
        reader: &mut R,
        stream: u32,
        flags: u8,
        length: usize,
    ) -> Result<(), StreamingError> {
        let target = lock(&self.table).get(&stream).cloned();
        let mut left = length;
        while left > 0 {
            let mut chunk = vec![0; left.min(CHUNK_BYTES)];
            reader.read_exact(&mut chunk).await?;
            left -= chunk.len();
            if let Some(target) = &target {
                // An error means that the reader was dropped: discard.
                let _ = target.send(Arrival::Data(Bytes::from(chunk))).await;
            }
        }
        if flags & FLAG_FIN != 0 {
            self.finish(stream).await;
        }
        Ok(())
    }

    async fn receive_control(&mut self, control: Control) -> Result<(), StreamingError> {
        match control {
            Control::SynStream { stream, flags, headers } => self.opened(stream, flags, headers).await?,
            Control::SynReply { stream, flags, .. } | Control::Headers { stream, flags, .. } => {
                if flags & FLAG_FIN != 0 {
                    self.finish(stream).await;
                }
            }
            Control::RstStream { stream, status } => {
                let target = lock(&self.table).remove(&stream);
                if let Some(target) = target {
                    let _ = target.send(Arrival::Reset(status)).await;
                }
            }
            Control::Ping { id } => {
                // Ours would be answered with our parity, and we send none. Dropping an answer while the
                // queue is full is better than to stop reading.
                if let Some(sender) = self.sender.upgrade() {
                    let _ = sender.try_send(Outgoing::Control(Control::Ping { id }));
                }
            }
            Control::GoAway { .. } | Control::Ignored => {}
        }
        Ok(())
    }

    async fn opened(&mut self, stream: u32, flags: u8, headers: Headers) -> Result<(), StreamingError> {
        let from_client = stream % 2 == 1;
        if stream == 0 || from_client != (self.role == Role::Server) || stream <= self.last_opened {
            return Err(StreamingError::Protocol("wrong stream id"));
        }
        self.last_opened = stream;
        let Some(sender) = self.sender.upgrade() else { return Err(StreamingError::Closed) };
        let (accepted, to_reader) = Stream::new(stream, headers, sender.clone());
        let full = {
            let mut table = lock(&self.table);
            let full = table.len() >= MAX_STREAMS;
            if !full {
                table.insert(stream, to_reader);
            }
            full
        };
        if full {
            let refusal = Control::RstStream { stream, status: frame::RESET_REFUSED };
            return sender.send(Outgoing::Control(refusal)).await.map_err(|_| StreamingError::Closed);
        }
        if flags & FLAG_FIN != 0 {
            self.finish(stream).await;
        }
        let reply = Control::SynReply { stream, flags: 0, headers: Headers::new() };
        sender.send(Outgoing::Control(reply)).await.map_err(|_| StreamingError::Closed)?;
        self.accept.send(accepted).await.map_err(|_| StreamingError::Closed)
    }

    /// The peer will send nothing more on the stream: nothing of it needs to be looked up again.
    async fn finish(&self, stream: u32) {
        let target = lock(&self.table).remove(&stream);
        if let Some(target) = target {
            let _ = target.send(Arrival::Fin).await;
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
