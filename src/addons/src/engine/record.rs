//! What is enabled, in the ConfigMap `kube-system/knarr-addons`: one key an add-on, and the settings.

use super::{EngineError, FIELD_MANAGER};
use crate::catalog::Target;
use crate::render::Settings;
use apimachinery::{gvk::Gvk, meta};
use client::rest::Patch;
use client::{ObjectKey, Rest};
use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "knarr-addons";
/// Key of the settings; no add-on can be called so, since names have no capitals.
const SETTINGS: &str = "SETTINGS";

/// An applied object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for the cluster's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Reference {
    /// The reference to an object.
    pub fn of(object: &Value) -> Self {
        let Gvk { kind, .. } = meta::gvk(object);
        Self {
            api_version: meta::gvk(object).api_version(),
            kind,
            namespace: meta::namespace(object).to_owned(),
            name: meta::name(object).to_owned(),
        }
    }
}

impl From<&Target> for Reference {
    fn from(target: &Target) -> Self {
        Self {
            api_version: target.api_version.clone(),
            kind: target.kind.clone(),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// One add-on's part of the record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Whether it is enabled.
    pub enabled: bool,
    /// With what arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// What was applied, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applied: Vec<Reference>,
}

/// The whole record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// By add-on. An add-on that was never decided about has no entry.
    pub entries: BTreeMap<String, Entry>,
    /// The cluster's settings; none before the first server told them.
    pub settings: Option<Settings>,
}

impl Record {
    /// Reads the record; empty when there is none.
    pub async fn read(rest: &Rest) -> Result<Self, EngineError> {
        let key = ObjectKey::new(NAMESPACE, NAME);
        let failed =
            |source| EngineError::Api { verb: "read", what: format!("ConfigMap {NAMESPACE}/{NAME}"), source };
        let Some(map) = rest.get::<ConfigMap>(&key).await.map_err(failed)? else {
            return Ok(Self::default());
        };
        let mut record = Self::default();
        for (name, text) in map.data.unwrap_or_default() {
            let damaged = |error: serde_json::Error| EngineError::Record(format!("{name}: {error}"));
            if name == SETTINGS {
                record.settings = Some(serde_json::from_str(&text).map_err(damaged)?);
            } else {
                record.entries.insert(name.clone(), serde_json::from_str(&text).map_err(damaged)?);
            }
        }
        Ok(record)
    }

    /// Writes the record.
    pub async fn write(&self, rest: &Rest) -> Result<(), EngineError> {
        let mut data = Map::new();
        for (name, entry) in &self.entries {
            data.insert(name.clone(), json!(json!(entry).to_string()));
        }
        if let Some(settings) = &self.settings {
            data.insert(SETTINGS.to_owned(), json!(json!(settings).to_string()));
        }
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data});
        let patch = Patch::Apply { config, manager: FIELD_MANAGER.to_owned(), force: true };
        let written = rest.patch::<ConfigMap>(&ObjectKey::new(NAMESPACE, NAME), "", &patch).await;
        written.map(drop).map_err(|source| EngineError::Api {
            verb: "write",
            what: format!("ConfigMap {NAMESPACE}/{NAME}"),
            source,
        })
    }
}
