//! The files that ConfigMaps, Secrets and the downward API become. Pure.

use crate::fields::{self, FieldContext, FieldRefError};
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};
use std::collections::BTreeMap;
use thiserror::Error;

/// The mode of files where nothing else is said (API default).
pub const DEFAULT_MODE: u32 = 0o644;

/// Files of a volume by relative path.
pub type Payload = BTreeMap<String, FileEntry>;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Contents.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner, root when absent.
    pub owner: Option<u32>,
}

impl FileEntry {
    /// A file of root's.
    pub fn new(data: impl Into<Vec<u8>>, mode: u32) -> Self {
        Self { data: data.into(), mode, owner: None }
    }
}

/// A volume's contents cannot be put together.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PayloadError {
    /// `items` names a key that is not there.
    #[error("references non-existent {kind} key: {key}")]
    MissingKey {
        /// `config` or `secret`.
        kind: &'static str,
        /// The key.
        key: String,
    },
    /// A path that would leave the volume.
    #[error("invalid path: {0}")]
    Path(String),
    /// A field that means nothing.
    #[error("{0}")]
    Field(#[from] FieldRefError),
}

/// Files of a ConfigMap; an absent one (optional) has none.
///
/// # Errors
/// When `items` name what is not there and `optional` does not excuse it.
pub fn config_map(
    map: Option<&ConfigMap>,
    items: Option<&[KeyToPath]>,
    mode: u32,
    optional: bool,
) -> Result<Payload, PayloadError> {
    let text = map.into_iter().flat_map(|map| map.data.iter().flatten());
    let binary = map.into_iter().flat_map(|map| map.binary_data.iter().flatten());
    let all: BTreeMap<&str, &[u8]> = text
        .map(|(key, value)| (key.as_str(), value.as_bytes()))
        .chain(binary.map(|(key, value)| (key.as_str(), value.0.as_slice())))
        .collect();
    select(&all, items, mode, optional, "config")
}

/// Files of a Secret; an absent one (optional) has none.
///
/// # Errors
/// When `items` name what is not there and `optional` does not excuse it.
pub fn secret(
    secret: Option<&Secret>,
    items: Option<&[KeyToPath]>,
    mode: u32,
    optional: bool,
) -> Result<Payload, PayloadError> {
    let data = secret.into_iter().flat_map(|secret| secret.data.iter().flatten());
    let all: BTreeMap<&str, &[u8]> = data.map(|(key, value)| (key.as_str(), value.0.as_slice())).collect();
    select(&all, items, mode, optional, "secret")
}

/// Files of the downward API.
///
/// # Errors
/// When a reference means nothing.
pub fn downward_api(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    mode: u32,
    context: &FieldContext<'_>,
) -> Result<Payload, PayloadError> {
    let mut payload = Payload::new();
    for item in items {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => fields::field_value(pod, &field.field_path, context)?,
            (None, Some(resource)) => fields::resource_value(pod, None, resource, context)?,
            (None, None) => continue,
        };
        insert(&mut payload, &item.path, FileEntry::new(value, mode_of(item.mode, mode)))?;
    }
    Ok(payload)
}

/// Adds a file after checking its path.
///
/// # Errors
/// When the path would leave the volume or clash with the writer's own names.
pub fn insert(payload: &mut Payload, path: &str, entry: FileEntry) -> Result<(), PayloadError> {
    let bad = path.is_empty()
        || path.starts_with('/')
        || path.starts_with("..")
        || path.split('/').any(|part| part == "..")
        || path.len() > 4096;
    if bad {
        return Err(PayloadError::Path(path.to_owned()));
    }
    payload.insert(path.to_owned(), entry);
    Ok(())
}

/// The mode of one item: its own, else the volume's.
pub fn mode_of(own: Option<i32>, default: u32) -> u32 {
    own.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default) & 0o777
}

fn select(
    all: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    mode: u32,
    optional: bool,
    kind: &'static str,
) -> Result<Payload, PayloadError> {
    let mut payload = Payload::new();
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, value) in all {
            insert(&mut payload, key, FileEntry::new(*value, mode))?;
        }
        return Ok(payload);
    };
    for item in items {
        match all.get(item.key.as_str()) {
            Some(value) => {
                insert(&mut payload, &item.path, FileEntry::new(*value, mode_of(item.mode, mode)))?
            }
            None if optional => {}
            None => return Err(PayloadError::MissingKey { kind, key: item.key.clone() }),
        }
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map() -> ConfigMap {
        serde_json::from_value(json!({"metadata": {}, "data": {"a": "1"}, "binaryData": {"b": "Mg=="}}))
            .unwrap()
    }

    #[test]
    fn all_keys_or_the_chosen_ones_become_files() {
        let all = config_map(Some(&map()), None, 0o644, false).unwrap();
        assert_eq!(all["b"], FileEntry::new("2", 0o644));
        let items = [KeyToPath { key: "a".into(), path: "x/y".into(), mode: Some(0o400) }];
        let chosen = config_map(Some(&map()), Some(&items), 0o644, false).unwrap();
        assert_eq!(chosen, BTreeMap::from([("x/y".to_owned(), FileEntry::new("1", 0o400))]));
    }

    #[test]
    fn missing_keys_are_errors_unless_optional() {
        let items = [KeyToPath { key: "z".into(), path: "z".into(), mode: None }];
        let error = config_map(Some(&map()), Some(&items), 0o644, false).unwrap_err();
        assert_eq!(error.to_string(), "references non-existent config key: z");
        assert!(config_map(Some(&map()), Some(&items), 0o644, true).unwrap().is_empty());
        assert!(config_map(None, None, 0o644, true).unwrap().is_empty());
    }

    #[test]
    fn paths_stay_inside() {
        for path in ["../x", "/x", "a/../b", "..data"] {
            assert!(insert(&mut Payload::new(), path, FileEntry::new("", 0)).is_err(), "{path}");
        }
    }
}
