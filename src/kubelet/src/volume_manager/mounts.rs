//! Mounting and the mount table.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// This process' mount table.
const TABLE: &str = "/proc/self/mountinfo";

/// Mount points at or below `prefix`, the deepest and latest first: the order in which to unmount them.
///
/// # Errors
/// When the kernel's table cannot be read.
pub fn mounts_below(prefix: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(parse(&std::fs::read_to_string(TABLE)?, prefix))
}

fn parse(table: &str, prefix: &Path) -> Vec<PathBuf> {
    let points =
        table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point)));
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(prefix)).collect();
    // The table lists a mount after the one that it covers.
    found.reverse();
    found.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    found
}

/// The kernel writes space, tab, newline and backslash as `\ooo`.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let digits: Vec<u8> = bytes.by_ref().take(3).collect();
        let value = std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(value) => out.push(value),
            None => {
                out.push(byte);
                out.extend(digits);
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether something of another file system is mounted at `path`.
pub fn is_mount_point(path: &Path) -> bool {
    let device = |path: &Path| std::fs::symlink_metadata(path).map(|metadata| metadata.dev()).ok();
    path.parent().is_some_and(|parent| device(path) != device(parent))
}

/// Mounts an empty file system in memory, bounded by `size_bytes`.
///
/// # Errors
/// When the kernel refuses.
pub fn mount_tmpfs(path: &Path, size_bytes: Option<u64>) -> io::Result<()> {
    let options = size_bytes.map(|size| format!("size={size}"));
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), options.as_deref()).map_err(io::Error::from)
}

/// Mounts huge pages of a size (`2M`, `1G`).
///
/// # Errors
/// When the kernel refuses.
pub fn mount_hugetlbfs(path: &Path, page_size: &str) -> io::Result<()> {
    let options = format!("pagesize={page_size}");
    mount(Some("nodev"), path, Some("hugetlbfs"), MsFlags::empty(), Some(options.as_str()))
        .map_err(io::Error::from)
}

/// Shows `source` also at `target`, with what is mounted below it.
///
/// # Errors
/// When the kernel refuses.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>).map_err(io::Error::from)
}

/// Unmounts, at once even when somebody still has files open there. What is not mounted is no error.
///
/// # Errors
/// When the kernel refuses.
pub fn unmount(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mounts_come_first() {
        let table = "1 0 8:1 / / rw - ext4 x rw\n2 1 0:5 / /p/a rw - tmpfs t rw\n\
                     3 2 0:6 / /p/a/b\\040c rw - tmpfs t rw\n4 1 0:7 / /pp rw - tmpfs t rw\n";
        assert_eq!(parse(table, Path::new("/p")), [PathBuf::from("/p/a/b c"), PathBuf::from("/p/a")]);
    }
}
