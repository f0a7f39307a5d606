//! Streams multiplexed over one byte stream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::StreamingError;
use super::frame::{self, Control, FLAG_FIN, Head};
use super::headers::{HeaderDecoder, HeaderEncoder, Headers};

/// Frames queued towards the peer before a writer waits.
const SEND_QUEUE: usize = 16;
/// Chunks queued for the reader of one stream; then the whole connection waits for it, as TCP would.
const RECEIVE_QUEUE: usize = 32;
/// Streams that the peer opened and nobody accepted yet.
const ACCEPT_QUEUE: usize = 64;
/// Open streams per connection: port-forward of a busy page opens two per request. A bound on what a
/// hostile peer can allocate.
const MAX_STREAMS: usize = 4096;
/// Largest control frame: headers are tiny.
const MAX_CONTROL_BYTES: usize = 64 * 1024;
/// Data is handed on in pieces of this size at most, whatever the frame's length (up to 16 MiB).
const CHUNK_BYTES: usize = 32 * 1024;
/// Largest data frame we send; one pipe read of the peer's usual buffer.
const MAX_DATA_BYTES: usize = 64 * 1024;

/// Which end of the connection this is: decides the parity of stream ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opened the connection: odd ids.
    Client,
    /// Accepted the connection: even ids.
    Server,
}

/// What the writer task sends.
enum Outgoing {
    Control(Control),
    Data {
        stream: u32,
        fin: bool,
        data: Bytes,
    },
    /// The last frame: GOAWAY, then the end of the connection.
    Goodbye,
}

/// What arrives on a stream.
enum Arrival {
    Data(Bytes),
    Fin,
    Reset(u32),
}

/// Receiving ends of the open streams.
type Table = Arc<Mutex<HashMap<u32, mpsc::Sender<Arrival>>>>;

/// An SPDY/3.1 connection.
///
/// Two tasks run it; they end when the peer closes, on an I/O error, or when the `Connection` and all its
/// streams are dropped or [`Connection::say_goodbye`] is called.
pub struct Connection {
    sender: mpsc::Sender<Outgoing>,
    accepted: tokio::sync::Mutex<mpsc::Receiver<Stream>>,
    opening: tokio::sync::Mutex<()>,
    next_id: AtomicU32,
    table: Table,
    closed: CancellationToken,
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

impl Connection {
    /// Runs SPDY over `io`.
    pub fn new<T>(io: T, role: Role) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(io);
        let (sender, outgoing) = mpsc::channel(SEND_QUEUE);
        let (accept_sender, accepted) = mpsc::channel(ACCEPT_QUEUE);
        let table = Table::default();
        let closed = CancellationToken::new();
        tokio::spawn(write_frames(writer, outgoing, closed.clone()));
        let receiver = Receiver {
            role,
            table: Arc::clone(&table),
            accept: accept_sender,
            // Weak, so that the reader alone does not keep the writer alive.
            sender: sender.downgrade(),
            decoder: HeaderDecoder::new(),
            last_opened: 0,
        };
        tokio::spawn(receiver.run(reader, closed.clone()));
        Self {
            sender,
            accepted: tokio::sync::Mutex::new(accepted),
            opening: tokio::sync::Mutex::new(()),
            next_id: AtomicU32::new(if role == Role::Client { 1 } else { 2 }),
            table,
            closed,
        }
    }

    /// Opens a stream.
    pub async fn open(&self, headers: Headers) -> Result<Stream, StreamingError> {
        // Ids must rise on the wire: allocation and queueing are one step.
        let _one_at_a_time = self.opening.lock().await;
        let id = self.next_id.fetch_add(2, Ordering::Relaxed);
        let (sender, arrivals) = mpsc::channel(RECEIVE_QUEUE);
        lock(&self.table).insert(id, sender);
        if self.closed.is_cancelled() {
            lock(&self.table).clear();
            return Err(StreamingError::Closed);
        }
        let frame = Control::SynStream { stream: id, flags: 0, headers: headers.clone() };
        self.sender.send(Outgoing::Control(frame)).await.map_err(|_| StreamingError::Closed)?;
        Ok(Stream {
            headers,
            reader: StreamReader { arrivals, finished: false },
            writer: StreamWriter { stream: id, sender: self.sender.clone() },
        })
    }

    /// The next stream that the peer opens (already acknowledged); None when the connection has ended.
    pub async fn accept(&self) -> Option<Stream> {
        self.accepted.lock().await.recv().await
    }

    /// Resolves when the connection has ended, from either side.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Sends what is queued, says that no more streams are wanted, and ends the connection.
    pub async fn say_goodbye(&self) {
        let _ = self.sender.send(Outgoing::Goodbye).await;
    }

    /// Ends the connection at once.
    pub fn abort(&self) {
        self.closed.cancel();
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends frames until nobody can queue any more, flushing whenever the queue runs dry.
async fn write_frames<W: AsyncWrite + Send + Unpin>(
    mut writer: W,
    mut outgoing: mpsc::Receiver<Outgoing>,
    closed: CancellationToken,
) {
    let mut encoder = HeaderEncoder::new();
    let sent = async {
        let mut buffer = Vec::with_capacity(1024);
        while let Some(first) = outgoing.recv().await {
            let mut next = Some(first);
            while let Some(frame) = next {
                buffer.clear();
                match frame {
                    Outgoing::Control(control) => {
                        frame::encode_control(&control, &mut encoder, &mut buffer)?;
                        writer.write_all(&buffer).await?;
                    }
                    Outgoing::Data { stream, fin, data } => {
                        let flags = if fin { FLAG_FIN } else { 0 };
                        writer.write_all(&frame::data_head(stream, flags, data.len())).await?;
                        writer.write_all(&data).await?;
                    }
                    Outgoing::Goodbye => {
                        let goodbye = Control::GoAway { last_stream: 0, status: 0 };
                        frame::encode_control(&goodbye, &mut encoder, &mut buffer)?;
                        writer.write_all(&buffer).await?;
                        writer.flush().await?;
                        return Ok(());
                    }
                }
                next = outgoing.try_recv().ok();
            }
            writer.flush().await?;
        }
        Ok::<_, StreamingError>(())
    };
    tokio::select! {
        result = sent => {
            if let Err(error) = result {
                tracing::debug!(%error, "SPDY connection ended while sending");
            }
        }
        () = closed.cancelled() => {}
    }
    let _ = writer.shutdown().await;
    closed.cancel();
}

/// The receiving side of a connection.
struct Receiver {
    role: Role,
    table: Table,
    accept: mpsc::Sender<Stream>,
    sender: mpsc::WeakSender<Outgoing>,
    decoder: HeaderDecoder,
    last_opened: u32,
}

impl Receiver {
    async fn run<R: AsyncRead + Send + Unpin>(mut self, reader: R, closed: CancellationToken) {
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
        let (arrival_sender, arrivals) = mpsc::channel(RECEIVE_QUEUE);
        let full = {
            let mut table = lock(&self.table);
            let full = table.len() >= MAX_STREAMS;
            if !full {
                table.insert(stream, arrival_sender);
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
        let accepted = Stream {
            headers,
            reader: StreamReader { arrivals, finished: false },
            writer: StreamWriter { stream, sender },
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Connection, Connection) {
        let (a, b) = tokio::io::duplex(4096);
        (Connection::new(a, Role::Client), Connection::new(b, Role::Server))
    }

    fn named(name: &str) -> Headers {
        Headers::from([("streamtype".to_owned(), name.to_owned())])
    }

    #[tokio::test]
    async fn data_flows_both_ways_and_half_close_is_end_of_file() {
        let (client, server) = pair();
        let mut ours = client.open(named("stdin")).await.unwrap();
        let mut theirs = server.accept().await.unwrap();
        assert_eq!(theirs.headers, named("stdin"));
        let sent = Bytes::from(vec![7; 200_000]);
        let (written, received) = tokio::join!(
            async {
                ours.writer.write(sent.clone()).await?;
                ours.writer.finish().await
            },
            theirs.reader.collect(usize::MAX)
        );
        written.unwrap();
        assert_eq!(received.unwrap(), sent);
        theirs.writer.write(Bytes::from_static(b"answer")).await.unwrap();
        theirs.writer.finish().await.unwrap();
        assert_eq!(ours.reader.collect(4).await.unwrap(), b"answ");
        assert!(ours.reader.chunk().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn streams_are_independent_and_a_dropped_reader_discards() {
        let (client, server) = pair();
        let first = client.open(named("stdout")).await.unwrap();
        let second = client.open(named("stderr")).await.unwrap();
        let ignored = server.accept().await.unwrap();
        let mut kept = server.accept().await.unwrap();
        drop(ignored.reader);
        for _ in 0..100 {
            first.writer.write(Bytes::from_static(&[0; 1000])).await.unwrap();
        }
        second.writer.write(Bytes::from_static(b"still here")).await.unwrap();
        assert_eq!(kept.reader.chunk().await.unwrap().unwrap(), "still here");
    }

    #[tokio::test]
    async fn a_reset_and_the_end_of_the_connection_are_errors_not_end_of_file() {
        let (client, server) = pair();
        let mut first = client.open(named("a")).await.unwrap();
        let mut second = client.open(named("b")).await.unwrap();
        server.accept().await.unwrap().writer.reset(frame::RESET_REFUSED).await.unwrap();
        assert!(matches!(first.reader.chunk().await, Err(StreamingError::Reset(frame::RESET_REFUSED))));
        server.abort();
        assert!(matches!(second.reader.chunk().await, Err(StreamingError::Closed)));
        client.closed().await;
        assert!(matches!(client.open(named("c")).await, Err(StreamingError::Closed)));
        assert!(client.accept().await.is_none());
    }

    #[tokio::test]
    async fn rubbish_ends_the_connection() {
        let (a, mut b) = tokio::io::duplex(4096);
        let server = Connection::new(a, Role::Server);
        b.write_all(b"GET / HTTP/1.1\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff").await.unwrap();
        let closed = tokio::time::timeout(std::time::Duration::from_secs(5), server.closed());
        b.write_all(&[0xff; 512]).await.ok();
        drop(b);
        closed.await.unwrap();
    }
}
