//! Sizes of directories and file systems.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;

use super::types::FilesystemStatistics;

/// Bytes per block of `st_blocks`, whatever the file system's block size (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;
/// Directories nested deeper are not measured: no honest emptyDir has them, and the walk stays bounded.
const DEEPEST: usize = 64;

/// The file system that holds `path`; `used` is what the thing measured uses of it, None = all that is used.
pub(super) fn filesystem(path: &Path, used: Option<u64>, now: Timestamp) -> FilesystemStatistics {
    let Ok(stat) = nix::sys::statvfs::statvfs(path) else {
        return FilesystemStatistics { time: now, used_bytes: used, ..Default::default() };
    };
    let unit = stat.fragment_size();
    let all_used = stat.blocks().saturating_sub(stat.blocks_free()).saturating_mul(unit);
    FilesystemStatistics {
        time: now,
        available_bytes: Some(stat.blocks_available().saturating_mul(unit)),
        capacity_bytes: Some(stat.blocks().saturating_mul(unit)),
        used_bytes: Some(used.unwrap_or(all_used)),
        inodes_free: Some(stat.files_free()),
        inodes: Some(stat.files()),
        inodes_used: used.is_none().then(|| stat.files().saturating_sub(stat.files_free())),
    }
}

/// Allocated bytes and inodes below `path`, on its own file system only; what vanishes meanwhile is skipped.
pub(super) fn usage(path: &Path) -> (u64, u64) {
    let Ok(top) = std::fs::symlink_metadata(path) else { return (0, 0) };
    let (mut bytes, mut inodes) = (top.blocks() * STAT_BLOCK_BYTES, 1);
    let mut pending = vec![(path.to_owned(), 0_usize)];
    while let Some((directory, depth)) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.dev() != top.dev() {
                continue;
            }
            bytes += metadata.blocks() * STAT_BLOCK_BYTES;
            inodes += 1;
            if metadata.is_dir() && depth < DEEPEST {
                pending.push((entry.path(), depth + 1));
            }
        }
    }
    (bytes, inodes)
}
