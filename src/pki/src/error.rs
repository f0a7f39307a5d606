//! What can go wrong with certificates and keys.

use std::path::PathBuf;

/// A failure to load, create or use certificates and keys.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be written, or its directory made.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file that must not be replaced does not hold what it should.
    #[error("{} does not hold what it should: {reason}; restore it from a backup, or remove it to have it made anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate could not be made or signed.
    #[error("cannot issue the certificate {name}: {reason}")]
    Issue {
        /// Whose certificate.
        name: String,
        /// Why.
        reason: String,
    },
    /// A profile in `certs/` does not say what it must.
    #[error("the certificate profile {name} is not usable: {reason}")]
    Profile {
        /// Which profile.
        name: String,
        /// Why.
        reason: String,
    },
    /// A certificate or key cannot be parsed.
    #[error("not a usable certificate or key: {reason}")]
    Parse {
        /// Why.
        reason: String,
    },
    /// A TLS configuration could not be built.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// A certificate was not signed by an accepted authority, is expired, or is not meant for this use.
    #[error("the certificate is not accepted: {0}")]
    Untrusted(rustls::Error),
}

impl PkiError {
    pub(crate) fn parse(reason: impl std::fmt::Display) -> Self {
        Self::Parse { reason: reason.to_string() }
    }
}
