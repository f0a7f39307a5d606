//! Why the store did not open, and SQLite's errors in words that say what to do.

use rusqlite::ErrorCode;
use std::io;
use std::path::{Path, PathBuf};
use storage::StorageError;

/// Why the store could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory, its lock file or the database file could not be made or read.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was tried.
        step: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use by process {pid}; stop it, or choose another data directory", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, as far as it is known.
        pid: String,
    },
    /// It was written by a newer version.
    #[error(
        "{} has format {found}, this version knows formats up to {supported}; use the version that wrote it \
         or a newer one, or restore a backup that was made before the upgrade",
        path.display()
    )]
    NewerFormat {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that is understood.
        supported: i64,
    },
    /// The file is a database of something else.
    #[error("{} is an SQLite database, but not one of this program", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// The file is not a database any more.
    #[error("{} is damaged ({detail}); move it away and restore a backup", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// An object cannot be decrypted.
    #[error("cannot read an object of {}: {detail}; start with the encryption configuration that wrote it", path.display())]
    Sealed {
        /// The database file.
        path: PathBuf,
        /// Which object, and why not.
        detail: String,
    },
    /// SQLite failed.
    #[error("cannot {step} {}", path.display())]
    Sqlite {
        /// What was tried.
        step: &'static str,
        /// The database file.
        path: PathBuf,
        /// SQLite's answer.
        #[source]
        source: rusqlite::Error,
    },
    /// The node belongs to a cluster of several.
    #[error("{} belongs to a cluster of several nodes, and none was configured", path.display())]
    Member {
        /// The database file.
        path: PathBuf,
    },
    /// The node is to join a cluster, and has the state of another.
    #[error(
        "{} has the state of another cluster, or of another node of this one; move it away to join as a new node",
        path.display()
    )]
    OtherCluster {
        /// The database file.
        path: PathBuf,
    },
    /// The replicated log does not start.
    #[error("cannot take part in the cluster")]
    Cluster {
        /// Why.
        #[source]
        source: StorageError,
    },
    /// A thread could not be started.
    #[error("cannot start the datastore's threads")]
    Thread {
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { step, path: path.to_owned(), source }
    }

    pub(crate) fn sqlite(step: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path: path.to_owned(), detail: source.to_string() }
            }
            _ => match source {
                rusqlite::Error::FromSqlConversionFailure(_, _, why) if why.is::<StorageError>() => {
                    Self::Sealed { path: path.to_owned(), detail: why.to_string() }
                }
                source => Self::Sqlite { step, path: path.to_owned(), source },
            },
        }
    }
}

/// SQLite's error as readers and writers get it.
pub(crate) fn storage_error(step: &str, error: &rusqlite::Error) -> StorageError {
    if let rusqlite::Error::FromSqlConversionFailure(_, _, why) = error
        && let Some(why) = why.downcast_ref::<StorageError>()
    {
        return why.clone();
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StorageError::fatal(format_args!("{step}: {error}; restore a backup"))
        }
        Some(ErrorCode::DiskFull) => {
            let reason =
                format!("{step}: the disk is full; free some space, nothing that was stored is lost");
            StorageError::Full { reason: reason.into() }
        }
        Some(ErrorCode::SystemIoFailure) => {
            StorageError::unavailable(format_args!("{step}: the disk failed: {error}"))
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            StorageError::unavailable(format_args!(
                "{step}: the datastore's files cannot be written: {error}"
            ))
        }
        _ => StorageError::unavailable(format_args!("{step}: {error}")),
    }
}
