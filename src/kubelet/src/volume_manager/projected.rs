//! `projected`: several sources in one directory.

use super::payload::{self, FileEntry, Payload, PayloadError};
use super::tokens::Token;
use crate::fields::FieldContext;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ProjectedVolumeSource, Secret};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that the sources of one volume refer to. What is absent is only so because it is optional.
#[derive(Debug, Default)]
pub struct Sources {
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Arc<Secret>>,
    /// Tokens by the index of their source.
    pub tokens: BTreeMap<usize, Token>,
}

/// The files of all sources; of two with the same path the later wins.
///
/// `owner` is the one user that all containers run as, if there is one: tokens are then his alone.
///
/// # Errors
/// When a source refers to what is not there.
pub fn payload(
    pod: &Pod,
    volume: &ProjectedVolumeSource,
    sources: &Sources,
    context: &FieldContext<'_>,
    owner: Option<u32>,
    group: Option<u32>,
) -> Result<Payload, PayloadError> {
    let mode = payload::mode_of(volume.default_mode, payload::DEFAULT_MODE);
    let mut files = Payload::new();
    for (index, source) in volume.sources.iter().flatten().enumerate() {
        if let Some(wanted) = &source.config_map {
            let map = sources.config_maps.get(&wanted.name).map(AsRef::as_ref);
            let optional = wanted.optional.unwrap_or(false);
            files.extend(payload::config_map(map, wanted.items.as_deref(), mode, optional)?);
        } else if let Some(wanted) = &source.secret {
            let secret = sources.secrets.get(&wanted.name).map(AsRef::as_ref);
            let optional = wanted.optional.unwrap_or(false);
            files.extend(payload::secret(secret, wanted.items.as_deref(), mode, optional)?);
        } else if let Some(wanted) = &source.downward_api {
            files.extend(payload::downward_api(pod, wanted.items.as_deref().unwrap_or(&[]), mode, context)?);
        } else if let (Some(wanted), Some(token)) =
            (&source.service_account_token, sources.tokens.get(&index))
        {
            // Nobody else may read a token where it is known who has to.
            let mode = if owner.is_some() || group.is_some() { 0o600 } else { mode };
            let entry = FileEntry { data: token.text.clone().into_bytes(), mode, owner };
            payload::insert(&mut files, &wanted.path, entry)?;
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sources_share_a_directory() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}})).unwrap();
        let volume: ProjectedVolumeSource = serde_json::from_value(json!({"sources": [
            {"configMap": {"name": "m", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"configMap": {"name": "none", "optional": true}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}))
        .unwrap();
        let map = serde_json::from_value(json!({"metadata": {}, "data": {"ca.crt": "pem"}})).unwrap();
        let sources =
            Sources { config_maps: BTreeMap::from([("m".into(), Arc::new(map))]), ..Sources::default() };
        let files = payload(&pod, &volume, &sources, &FieldContext::default(), None, None).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["ca.crt", "namespace"]);
        assert_eq!(files["namespace"].data, b"n");
    }
}
