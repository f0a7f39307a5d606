//! `fsGroup`: making a volume readable and writable for a group.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// Gives `root` and everything below it to `group`, with read and write (and search) permission, and makes
/// directories pass the group on. With `only_on_mismatch` nothing is done when the root looks right already
/// (`fsGroupChangePolicy: OnRootMismatch`). Mounts below are not entered.
///
/// # Errors
/// Any I/O error but vanished files.
pub fn set_group(root: &Path, group: u32, only_on_mismatch: bool) -> io::Result<()> {
    let metadata = fs::symlink_metadata(root)?;
    let device = metadata.dev();
    if only_on_mismatch && metadata.gid() == group && metadata.mode() & 0o2070 == 0o2070 {
        return Ok(());
    }
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // A link's target may lie outside; its own owner and mode mean nothing.
        if metadata.is_symlink() || metadata.dev() != device {
            continue;
        }
        if metadata.gid() != group {
            chown(&path, None, Some(group))?;
        }
        let wanted = if metadata.is_dir() { metadata.mode() | 0o2770 } else { metadata.mode() | 0o660 };
        // Changing the owner drops the set-group-ID bit, so that this always comes after.
        fs::set_permissions(&path, fs::Permissions::from_mode(wanted & 0o7777))?;
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        }
    }
    Ok(())
}
