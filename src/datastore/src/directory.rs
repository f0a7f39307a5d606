//! The store's directory: private, and open in one process at a time.

use crate::error::OpenError;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Objects include Secrets: nobody but the owner looks in.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The database file's name in it.
pub(crate) const DATABASE: &str = "state.db";

/// A directory that this process alone has open, as long as this value lives. The kernel lets go of the
/// lock when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct Directory {
    database: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory where there is none, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(path)
            .map_err(OpenError::file("create directory", path))?;
        let lock = lock(path)?;
        let database = path.join(DATABASE);
        // SQLite gives its other files the mode of this one.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(FILE_MODE)
            .open(&database)
            .map_err(OpenError::file("open", &database))?;
        // So that the file itself survives a power cut right after the first write.
        File::open(path).and_then(|dir| dir.sync_all()).map_err(OpenError::file("sync directory", path))?;
        Ok(Self { database, _lock: lock })
    }

    /// The database file.
    pub(crate) fn database(&self) -> &Path {
        &self.database
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let mut file = OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(OpenError::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message.
            let _ = file.read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "(unknown)".to_owned() } else { pid.trim().to_owned() };
            return Err(OpenError::Locked { path: directory.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(OpenError::File { step: "lock", path, source }),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(OpenError::file("write", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_opener_is_told_who_has_it_and_the_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("datastore");
        let first = Directory::open(&path).unwrap();
        let error = Directory::open(&path).unwrap_err();
        assert!(matches!(&error, OpenError::Locked { pid, .. } if *pid == std::process::id().to_string()));
        assert!(error.to_string().contains("is in use by process"));
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(first.database())), (0o700, 0o600));
        drop(first);
        Directory::open(&path).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = Directory::open(Path::new("/proc/none/here")).unwrap_err();
        assert!(error.to_string().contains("/proc/none/here"), "{error}");
    }
}
