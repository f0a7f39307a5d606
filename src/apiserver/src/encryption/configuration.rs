//! The configuration file.

use apimachinery::decode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read the encryption provider configuration file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// It is no YAML of the right form.
    #[error("the encryption provider configuration is not valid: {reason}")]
    Format {
        /// What was found.
        reason: String,
    },
    /// A field has a value that cannot be used.
    #[error("{field}: {reason}")]
    Invalid {
        /// Where.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A plugin does not answer as it should.
    #[error("KMS plugin {name:?}: {reason}")]
    Plugin {
        /// Its name.
        name: String,
        /// What it did.
        reason: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EncryptionConfiguration {
    api_version: String,
    kind: String,
    #[serde(default)]
    pub(super) resources: Vec<ResourceConfiguration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceConfiguration {
    #[serde(default)]
    pub(super) resources: Vec<String>,
    #[serde(default)]
    pub(super) providers: Vec<ProviderConfiguration>,
}

/// Exactly one of them is there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderConfiguration {
    pub(super) aesgcm: Option<Keys>,
    pub(super) aescbc: Option<Keys>,
    pub(super) secretbox: Option<Keys>,
    pub(super) identity: Option<Nothing>,
    pub(super) kms: Option<KmsConfiguration>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    #[serde(default)]
    pub(super) keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) secret: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct KmsConfiguration {
    #[serde(rename = "apiVersion", default)]
    pub(super) api_version: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) endpoint: String,
    pub(super) timeout: Option<String>,
    /// Of version 1 only; allowed so that a file for both can be read.
    #[serde(rename = "cachesize")]
    _cache_size: Option<i64>,
}

/// Reads a configuration.
///
/// # Errors
/// When it is none.
pub(super) fn parse(text: &str) -> Result<EncryptionConfiguration, ConfigurationError> {
    let format = |reason: String| ConfigurationError::Format { reason };
    let parsed: EncryptionConfiguration = decode::from_yaml(text).map_err(|e| format(e.to_string()))?;
    if parsed.api_version != "apiserver.config.k8s.io/v1" || parsed.kind != "EncryptionConfiguration" {
        return Err(format(format!(
            "it is {} {}, not apiserver.config.k8s.io/v1 EncryptionConfiguration",
            parsed.api_version, parsed.kind
        )));
    }
    if parsed.resources.is_empty() {
        return Err(invalid("resources", "Required value: at least one resource is needed"));
    }
    Ok(parsed)
}

/// Reads the file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(path: &Path) -> Result<String, ConfigurationError> {
    std::fs::read_to_string(path).map_err(|source| ConfigurationError::File { path: path.to_owned(), source })
}

/// Says what is wrong where.
pub(super) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> ConfigurationError {
    ConfigurationError::Invalid { field: field.into(), reason: reason.into() }
}

/// A configuration that encrypts Secrets with a new random key, as k3s' `--secrets-encryption` has it.
pub fn new_configuration() -> String {
    let secret = STANDARD.encode(rand::random::<[u8; 32]>());
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources:\n  - secrets\n  \
         providers:\n  - aescbc:\n      keys:\n      - name: aescbckey\n        secret: {secret}\n  - identity: {{}}\n"
    )
}
