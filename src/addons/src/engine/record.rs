//! What is enabled: one `addons.knarr.io` an add-on, so that every node and `kubectl get addons` see the same. The
//! cluster's settings are the ConfigMap `kube-system/knarr-cluster`.

use super::{EngineError, FIELD_MANAGER};
use crate::catalog::{CORE, Target};
use crate::render::Settings;
use apimachinery::{gvk::Gvk, meta};
use client::rest::{self, Patch};
use client::{ObjectKey, Rest};
use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// The definition of the resource.
pub const DEFINITION: &str = include_str!("../../../../addons/addons.knarr.io.yaml");
const COLLECTION: &str = "/apis/knarr.io/v1/addons";
const NAMESPACE: &str = "kube-system";
const SETTINGS: &str = "knarr-cluster";

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

/// What is written down of one add-on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its repository.
    pub repository: String,
    /// Whether it is enabled.
    pub enabled: bool,
    /// With what arguments, as `NAME=VALUE`.
    pub arguments: Vec<String>,
    /// Version that was applied last; empty when nothing is.
    pub version: String,
    /// What was applied, in order.
    pub applied: Vec<Reference>,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            repository: CORE.to_owned(),
            enabled: false,
            arguments: Vec::new(),
            version: String::new(),
            applied: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct List {
    items: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize, Serialize)]
struct Spec {
    repository: String,
    enabled: bool,
    #[serde(default)]
    arguments: Vec<String>,
}

#[derive(Default, Deserialize, Serialize)]
struct Status {
    #[serde(default)]
    version: String,
    #[serde(default)]
    applied: Vec<Reference>,
}

/// Name of the object of an add-on of somebody else's repository; those of the binary have their own.
pub fn object_name(repository: &str, addon: &str) -> String {
    format!("{repository}.{addon}")
}

/// All entries by the names of their objects; none while the resource is not served. An add-on that was never decided
/// about has no entry.
pub async fn read(rest: &Rest) -> Result<BTreeMap<String, Entry>, EngineError> {
    let failed = |source| EngineError::Api { verb: "list", what: "addons.knarr.io".to_owned(), source };
    let text = match rest.raw(http::Method::GET, COLLECTION, None).await {
        Ok(text) => text,
        Err(error) if rest::is_not_found(&error) => return Ok(BTreeMap::new()),
        Err(error) => return Err(failed(error)),
    };
    let list: List = serde_json::from_str(&text).map_err(|e| failed(kube::Error::SerdeError(e)))?;
    let entry = |Object { metadata, spec, status }| {
        let entry = Entry {
            repository: spec.repository,
            enabled: spec.enabled,
            arguments: spec.arguments,
            version: status.version,
            applied: status.applied,
        };
        (metadata.name, entry)
    };
    Ok(list.items.into_iter().map(entry).collect())
}

/// Writes the entry of one add-on.
pub async fn write(rest: &Rest, name: &str, entry: &Entry) -> Result<(), EngineError> {
    let Entry { repository, enabled, arguments, version, applied } = entry.clone();
    let config = json!({
        "apiVersion": "knarr.io/v1",
        "kind": "Addon",
        "metadata": {"name": name},
        "spec": Spec { repository, enabled, arguments },
        "status": Status { version, applied },
    });
    let patch = Patch::Apply { config, manager: FIELD_MANAGER.to_owned(), force: true };
    let written = rest.raw_patch(&rest::item_path(COLLECTION, name, ""), &patch).await;
    written.map(drop).map_err(|source| EngineError::Api {
        verb: "write",
        what: format!("Addon {name}"),
        source,
    })
}

/// Removes the entry of one add-on.
pub async fn remove(rest: &Rest, name: &str) -> Result<(), EngineError> {
    match rest.raw(http::Method::DELETE, &rest::item_path(COLLECTION, name, ""), None).await {
        Err(source) if !rest::is_not_found(&source) => {
            Err(EngineError::Api { verb: "delete", what: format!("Addon {name}"), source })
        }
        _ => Ok(()),
    }
}

/// The cluster's settings; none before the first server told them.
pub async fn settings(rest: &Rest) -> Result<Option<Settings>, EngineError> {
    let what = || format!("ConfigMap {NAMESPACE}/{SETTINGS}");
    let failed = |source| EngineError::Api { verb: "read", what: what(), source };
    let Some(map) = rest.get::<ConfigMap>(&ObjectKey::new(NAMESPACE, SETTINGS)).await.map_err(failed)? else {
        return Ok(None);
    };
    let settings = serde_json::from_value(json!(map.data.unwrap_or_default()));
    settings.map(Some).map_err(|error| EngineError::Settings(error.to_string()))
}

/// Tells everybody the cluster's settings.
pub async fn write_settings(rest: &Rest, settings: &Settings) -> Result<(), EngineError> {
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": SETTINGS, "namespace": NAMESPACE}, "data": settings});
    let patch = Patch::Apply { config, manager: FIELD_MANAGER.to_owned(), force: true };
    let written = rest.patch::<ConfigMap>(&ObjectKey::new(NAMESPACE, SETTINGS), "", &patch).await;
    written.map(drop).map_err(|source| EngineError::Api {
        verb: "write",
        what: format!("ConfigMap {NAMESPACE}/{SETTINGS}"),
        source,
    })
}
