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

/// A snapshot on its way in.
pub(crate) struct Incoming {
    checksum: String,
    file: SnapshotFile,
    received: u64,
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
    /// Takes a piece; the last one has the snapshot examined and installed.
    pub(crate) async fn receive(
        &self,
        piece: Piece,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let (raft, threads) = (self.raft(), &self.network.core.threads);
        let own = raft.metrics().borrow().vote;
        if own > piece.vote {
            return Ok(Reply::Snapshot { vote: own, received: 0 });
        }
        let mut slot = self.incoming.lock().await;
        if piece.offset == 0 || slot.as_ref().is_none_or(|incoming| incoming.checksum != piece.checksum) {
            let file = SnapshotFile::new(&self.network.core.directory);
            *slot = Some(Incoming { checksum: piece.checksum.clone(), file, received: 0 });
        }
        let Some(incoming) = slot.as_mut() else { return Err("no snapshot is being received".into()) };
        if piece.offset == incoming.received {
            let (path, offset, bytes) = (incoming.file.path.clone(), piece.offset, piece.bytes.clone());
            threads.run(move || write(&path, offset, &bytes)).await??;
            incoming.received += piece.bytes.len() as u64;
        }
        let received = incoming.received;
        if received < piece.length {
            return Ok(Reply::Snapshot { vote: piece.vote, received });
        }
        let Some(Incoming { file, .. }) = slot.take() else { return Err("it is gone".into()) };
        let examine = move || -> Result<_, Box<dyn std::error::Error + Send + Sync>> {
            let (checksum, length) = file.checksum()?;
            if (&checksum, length) != (&piece.checksum, piece.length) {
                return Err("the snapshot was damaged on its way".into());
            }
            let meta = file.meta()?;
            if meta.last_log_id != piece.meta.last_log_id {
                return Err("the snapshot is not the one that was announced".into());
            }
            Ok((meta, file))
        };
        let (meta, file) = threads.run(examine).await??;
        let snapshot = Snapshot { meta, snapshot: Box::new(Source::File(Arc::new(file))) };
        let response = raft.install_full_snapshot(piece.vote, snapshot).await?;
        Ok(Reply::Snapshot { vote: response.vote, received })
    }
}

fn write(path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    // What was there before is a part of the same snapshot, or nothing.
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}
