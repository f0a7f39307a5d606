//! Snapshots on their way in.

use crate::raft::node::Cluster;
use crate::raft::snapshot::{SnapshotFile, Source};
use crate::raft::types::Meta;
use crate::raft::wire::Reply;
use bytes::Bytes;
use openraft::{Snapshot, Vote};
use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long whoever sends it waits while a snapshot is installed; then it asks again.
const ANSWER: Duration = Duration::from_secs(1);

/// Who sends a snapshot and has been silent for so long has gone. Before that, nobody else's is taken: two that took turns
/// would both begin again with each piece.
const SILENCE: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A snapshot on its way in.
pub(crate) struct Incoming {
    checksum: String,
    vote: Vote<u64>,
    /// When the last piece came.
    heard: Instant,
    state: State,
}

impl Incoming {
    fn begin(piece: &Piece, file: SnapshotFile) -> Self {
        let state = State::Receiving { file, received: 0 };
        Self { checksum: piece.checksum.clone(), vote: piece.vote, heard: Instant::now(), state }
    }

    /// Whether a piece of another snapshot may take its place.
    fn gives_way(&self, vote: &Vote<u64>) -> bool {
        matches!(self.state, State::Installed(_)) || *vote > self.vote || self.heard.elapsed() >= SILENCE
    }
}

enum State {
    Receiving {
        file: SnapshotFile,
        received: u64,
    },
    Installing(JoinHandle<Result<Vote<u64>, Failure>>),
    /// The answer may have been lost, and is given again.
    Installed(Vote<u64>),
}

/// A piece of a snapshot, as it came.
pub(crate) struct Piece {
    pub(crate) vote: Vote<u64>,
    pub(crate) meta: Meta,
    pub(crate) checksum: String,
    pub(crate) length: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
}

impl Cluster {
    /// Takes a piece; when all are there, the snapshot is examined and installed. A piece may come twice, and one
    /// without bytes asks how far it is.
    pub(crate) async fn receive(&self, piece: Piece) -> Result<Reply, Failure> {
        let own = self.raft().metrics().borrow().vote;
        if own > piece.vote {
            return Ok(Reply::Snapshot { vote: own, received: 0, installed: false });
        }
        let mut slot = self.incoming.lock().await;
        let current = slot.take();
        let incoming = match current {
            Some(same) if same.checksum == piece.checksum => {
                slot.insert(Incoming { heard: Instant::now(), ..same })
            }
            Some(other) if !other.gives_way(&piece.vote) => {
                *slot = Some(other);
                return Err("another snapshot is on its way".into());
            }
            _ => slot.insert(Incoming::begin(&piece, SnapshotFile::new(&self.network.core.directory))),
        };
        let answer = self.advance(incoming, &piece).await;
        if answer.is_err() {
            *slot = None;
        }
        answer
    }

    async fn advance(&self, incoming: &mut Incoming, piece: &Piece) -> Result<Reply, Failure> {
        if let State::Receiving { file, received } = &mut incoming.state {
            if piece.offset == *received && !piece.bytes.is_empty() {
                let (path, offset, bytes) = (file.path.clone(), piece.offset, piece.bytes.clone());
                self.network.core.threads.run(move || write(&path, offset, &bytes)).await??;
                *received += piece.bytes.len() as u64;
            }
            let received = *received;
            if received < piece.length {
                return Ok(Reply::Snapshot { vote: piece.vote, received, installed: false });
            }
            let file = std::mem::replace(file, SnapshotFile::new(&self.network.core.directory));
            incoming.state = State::Installing(tokio::spawn(self.install(file, piece)));
        }
        if let State::Installing(installing) = &mut incoming.state {
            match tokio::time::timeout(ANSWER, installing).await {
                Ok(installed) => incoming.state = State::Installed(installed??),
                Err(_) => {
                    let (vote, received) = (piece.vote, piece.length);
                    return Ok(Reply::Snapshot { vote, received, installed: false });
                }
            }
        }
        match &incoming.state {
            State::Installed(vote) => {
                Ok(Reply::Snapshot { vote: *vote, received: piece.length, installed: true })
            }
            _ => Err("the snapshot is gone".into()),
        }
    }

    fn install(
        &self,
        file: SnapshotFile,
        piece: &Piece,
    ) -> impl Future<Output = Result<Vote<u64>, Failure>> + Send + use<> {
        let (raft, threads) = (self.raft(), self.network.core.threads.clone());
        let (checksum, length, vote) = (piece.checksum.clone(), piece.length, piece.vote);
        let announced = piece.meta.last_log_id;
        let examine = move || -> Result<_, Failure> {
            if (checksum, length) != file.checksum()? {
                return Err("the snapshot was damaged on its way".into());
            }
            let meta = file.meta()?;
            if meta.last_log_id != announced {
                return Err("the snapshot is not the one that was announced".into());
            }
            Ok((meta, file))
        };
        async move {
            let (meta, file) = threads.run(examine).await??;
            let snapshot = Snapshot { meta, snapshot: Box::new(Source::File(Arc::new(file))) };
            Ok(raft.install_full_snapshot(vote, snapshot).await?.vote)
        }
    }
}

fn write(path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    // What was there before is a part of the same snapshot, or nothing.
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_gives_way_to_another_when_it_is_done_or_nobody_sends_it_any_more() {
        let (own, newer) = (Vote::new_committed(3, 1), Vote::new_committed(4, 2));
        let meta = Meta::default();
        let piece =
            Piece { vote: own, meta, checksum: "a".into(), length: 9, offset: 0, bytes: Bytes::new() };
        let dir = tempfile::tempdir().unwrap();
        let mut incoming = Incoming::begin(&piece, SnapshotFile::new(dir.path()));
        tokio::time::advance(SILENCE / 2).await;
        assert!(!incoming.gives_way(&own) && incoming.gives_way(&newer));
        tokio::time::advance(SILENCE / 2).await;
        assert!(incoming.gives_way(&own));
        incoming.heard = Instant::now();
        assert!(!incoming.gives_way(&own));
        incoming.state = State::Installed(own);
        assert!(incoming.gives_way(&own));
    }
}
