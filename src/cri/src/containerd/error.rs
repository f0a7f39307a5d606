//! Why containerd could not be configured or started.

use std::path::PathBuf;
use std::time::Duration;

use crate::CriError;

/// Error of configuring, starting or stopping containerd.
#[derive(Debug, thiserror::Error)]
pub enum ContainerdError {
    /// A program is not installed.
    #[error("{program} is not installed (looked in PATH and the usual directories)")]
    NotInstalled {
        /// Its name.
        program: &'static str,
    },
    /// `containerd --version` did not run or said something unexpected.
    #[error("cannot tell the version of {}: {message}", program.display())]
    Version {
        /// The executable.
        program: PathBuf,
        /// What went wrong.
        message: String,
    },
    /// Writing or reading one of our files failed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// `registries.yaml` is not valid.
    #[error("{}: {message}", path.display())]
    Registries {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        message: String,
    },
    /// The path of a unix socket exceeds what the kernel takes (107 bytes).
    #[error("socket path {} is too long: choose a shorter run directory", path.display())]
    SocketPath {
        /// The path.
        path: PathBuf,
    },
    /// Executing containerd failed.
    #[error("cannot start {}: {source}", program.display())]
    Spawn {
        /// The executable.
        program: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// containerd ended before it was ready.
    #[error("containerd ended during start ({status}); last lines of {}:\n{tail}", log.display())]
    Died {
        /// Exit status, as text.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
    /// containerd runs but its CRI service does not answer.
    #[error("containerd is not ready after {after:?} ({last}); see {}", log.display())]
    NotReady {
        /// How long was waited.
        after: Duration,
        /// The last answer.
        last: CriError,
        /// Its log.
        log: PathBuf,
    },
}

impl ContainerdError {
    /// For `map_err` on file operations.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
