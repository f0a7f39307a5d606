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

/// How long whoever sends it waits while a snapshot is installed; then it asks again.
const ANSWER: Duration = Duration::from_secs(1);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A snapshot on its way in.
pub(crate) struct Incoming {
    checksum: String,
    state: State,
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
        if slot.as_ref().is_none_or(|incoming| incoming.checksum != piece.checksum) {
            let file = SnapshotFile::new(&self.network.core.directory);
            let state = State::Receiving { file, received: 0 };
            *slot = Some(Incoming { checksum: piece.checksum.clone(), state });
        }
        let answer = match slot.as_mut() {
            Some(incoming) => self.advance(incoming, &piece).await,
            None => Err("no snapshot is being received".into()),
        };
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
