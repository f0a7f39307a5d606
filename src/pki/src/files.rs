//! Files that are either as they were or as they shall be, whenever the process or the machine dies.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::PkiError;

/// Tells temporary files of one process apart; the process id tells processes apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Replaces a file by one with this content that only its owner may read (mode 0600).
///
/// # Guarantees
/// Readers, and the next start after a SIGKILL or power cut at any instant, see the old content or the new
/// one, never a part. The new content is on disk when this returns.
///
/// # Errors
/// [`PkiError::Write`]; the old content is then still there.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), PkiError> {
    let failed = |source| PkiError::Write { path: path.to_owned(), source };
    let temporary = temporary_name(path);
    let written = write_and_rename(&temporary, path, content);
    if written.is_err() {
        // Nothing else to do about a leftover; the next start removes it.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

fn write_and_rename(temporary: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    match path.parent() {
        // The rename itself is durable once the directory is.
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()))
}

/// The content of a file, `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read(path) {
        // What is not UTF-8 is no PEM either: the parser will say so.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::Read { path: path.to_owned(), source }),
    }
}

/// Makes the directory (mode 0700) and removes what writes that were cut short left in it.
pub(crate) fn prepare(directory: &Path) -> Result<(), PkiError> {
    let failed = |source| PkiError::Write { path: directory.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    for entry in fs::read_dir(directory).map_err(failed)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_written_file_is_whole_and_private_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_of_a_killed_write_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(".ca.key.1-0.tmp"), "half").unwrap();
        fs::write(directory.path().join("ca.key"), "whole").unwrap();
        prepare(directory.path()).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
