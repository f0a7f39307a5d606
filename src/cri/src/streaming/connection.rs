//! Streams multiplexed over one byte stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::StreamingError;
use super::frame::Control;
use super::headers::Headers;
use super::receive::{Receiver, Table, lock};
use super::send::{Outgoing, write_frames};
use super::stream::Stream;

/// Frames queued towards the peer before a writer waits.
const SEND_QUEUE: usize = 16;
/// Streams that the peer opened and nobody accepted yet.
const ACCEPT_QUEUE: usize = 64;

/// Which end of the connection this is: decides the parity of stream ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Opened the connection: odd ids.
    Client,
    /// Accepted the connection: even ids.
    Server,
}

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
        let receiver = Receiver::new(role, Arc::clone(&table), accept_sender, &sender);
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
        let (stream, to_reader) = Stream::new(id, headers.clone(), self.sender.clone());
        lock(&self.table).insert(id, to_reader);
        if self.closed.is_cancelled() {
            lock(&self.table).clear();
            return Err(StreamingError::Closed);
        }
        let frame = Control::SynStream { stream: id, flags: 0, headers };
        self.sender.send(Outgoing::Control(frame)).await.map_err(|_| StreamingError::Closed)?;
        Ok(stream)
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

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::*;
    use bytes::Bytes;
    use tokio::io::AsyncWriteExt as _;

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
