//! Why an image could not be packed, imported or exported.

use std::path::PathBuf;

use crate::CriError;

/// Error of packing, importing or exporting images.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// containerd refused or did not answer.
    #[error("containerd: {call}: {source}")]
    Containerd {
        /// Service and method.
        call: &'static str,
        /// What it said.
        #[source]
        source: CriError,
    },
    /// Reading or writing a file failed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The archive is not an image archive, or is damaged.
    #[error("not a valid image archive: {0}")]
    Archive(String),
    /// No image of that name.
    #[error("image {0:?} not found")]
    NotFound(String),
    /// The name of an image cannot be understood.
    #[error("invalid image name {0:?}")]
    Name(String),
    /// Content does not have the digest it should have.
    #[error("content has digest {actual}, not {expected}")]
    Digest {
        /// What the manifest says.
        expected: String,
        /// What was read.
        actual: String,
    },
}

impl ImageError {
    /// For `map_err` on gRPC calls.
    pub(super) fn call(call: &'static str) -> impl FnOnce(tonic::Status) -> Self {
        move |status| Self::Containerd { call, source: status.into() }
    }

    /// For `map_err` on file operations.
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
