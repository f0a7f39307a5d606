//! Sizes at which the store tidies up.

/// Sizes at which the store tidies up. The defaults are measured; a test that has no time to write gigabytes takes
/// smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pages (4 KiB) in SQLite's write-ahead log after which a checkpoint is worth its fsync, which holds up the
    /// commits beside it.
    pub checkpoint_frames: u32,
    /// Pages in it at which the writer finishes the checkpoint however much there is left to copy, so that the log
    /// does not grow for ever: 64 MiB.
    pub max_frames: u32,
    /// Entries that are kept for nodes that lag; beyond it they get a snapshot.
    pub kept_entries: u64,
    /// Bytes of the log on the disk beyond which fewer entries are kept.
    pub kept_bytes: u64,
    /// Bytes of a piece of a snapshot: a round trip each, and what the receiver holds in memory.
    pub snapshot_piece: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            checkpoint_frames: 4000,
            max_frames: 16_384,
            kept_entries: 2048,
            kept_bytes: 16 << 20,
            snapshot_piece: 1 << 20,
        }
    }
}
