//! A CustomResourceDefinition as serving needs it: everything but the schemas, which stay in its stored bytes until
//! somebody asks for them.

use apimachinery::status::{Result, Status};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use storage::Object;

/// The finalizer that is on a definition until its objects are gone.
pub(super) const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Says who allowed a group of `k8s.io` (upstream's `KubeAPIApprovedAnnotation`).
const APPROVED: &str = "api-approved.kubernetes.io";

/// A definition.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    /// As it is stored.
    pub(crate) object: Arc<Object>,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Counts changes of the spec.
    pub(crate) generation: i64,
    /// Value of the annotation that protected groups need.
    pub(crate) approved: Option<String>,
    pub(crate) deleting: bool,
    /// Whether its objects have to be deleted before it.
    pub(crate) cleans_up: bool,
    pub(crate) group: String,
    pub(crate) namespaced: bool,
    /// The names that it asks for.
    pub(crate) names: Names,
    /// The names that it has.
    pub(crate) accepted: Names,
    pub(crate) versions: Vec<Version>,
    pub(crate) conversion: Conversion,
    pub(crate) conditions: Vec<Condition>,
}

/// The names of a custom resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Names {
    pub(crate) plural: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) singular: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) short_names: Vec<String>,
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) list_kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) categories: Vec<String>,
}

/// One of `spec.versions`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) served: bool,
    pub(crate) storage: bool,
    /// What clients of the version are warned with.
    pub(crate) deprecation: Option<String>,
    pub(crate) status: bool,
    pub(crate) scale: Option<Scale>,
    pub(crate) columns: Vec<PrinterColumn>,
    /// JSON paths of the fields that can be selected by.
    pub(crate) selectable: Vec<String>,
    /// SHA-256 of the schema and what else OpenAPI tells, in hexadecimal.
    pub(crate) digest: String,
}

/// `subresources.scale`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scale {
    pub(crate) spec_replicas_path: String,
    pub(crate) status_replicas_path: String,
    #[serde(default)]
    pub(crate) label_selector_path: Option<String>,
}

/// One of `additionalPrinterColumns`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PrinterColumn {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) description: String,
    pub(crate) priority: i32,
    pub(crate) json_path: String,
}

impl Default for PrinterColumn {
    fn default() -> Self {
        Self {
            name: String::new(),
            kind: "string".to_owned(),
            format: String::new(),
            description: String::new(),
            priority: 0,
            json_path: String::new(),
        }
    }
}

/// `spec.conversion`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Conversion {
    pub(crate) strategy: String,
    pub(crate) webhook: Option<ConversionWebhook>,
}

/// `spec.conversion.webhook`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConversionWebhook {
    pub(crate) client_config: Value,
    #[serde(default)]
    pub(crate) conversion_review_versions: Vec<String>,
}

/// One of `status.conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Condition {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_transition_time: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    pub(crate) status: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

impl Condition {
    /// A condition without a time.
    pub(crate) fn new(kind: &str, status: bool, reason: &str, message: impl Into<String>) -> Self {
        Self {
            last_transition_time: None,
            message: message.into(),
            reason: reason.to_owned(),
            status: if status { "True" } else { "False" }.to_owned(),
            kind: kind.to_owned(),
        }
    }
}

impl Definition {
    /// Reads a stored definition.
    ///
    /// # Errors
    /// 500 when it is none.
    pub(crate) fn parse(object: Arc<Object>) -> Result<Self> {
        let stored: Stored<'_> = serde_json::from_slice(&object.value).map_err(Status::internal)?;
        let Stored { metadata, spec, status } = stored;
        Ok(Self {
            name: metadata.name,
            uid: metadata.uid,
            generation: metadata.generation,
            approved: metadata.annotations.and_then(|mut annotations| {
                annotations.as_object_mut()?.remove(APPROVED)?.as_str().map(str::to_owned)
            }),
            deleting: metadata.deletion_timestamp.is_some(),
            cleans_up: metadata.finalizers.iter().any(|finalizer| finalizer == CLEANUP_FINALIZER),
            group: spec.group,
            namespaced: spec.scope == "Namespaced",
            names: spec.names,
            accepted: status.accepted_names,
            versions: spec.versions.into_iter().map(Version::from).collect(),
            conversion: spec.conversion,
            conditions: status.conditions,
            object: Arc::clone(&object),
        })
    }

    /// Whether a condition is true.
    pub(crate) fn is(&self, condition: &str) -> bool {
        self.conditions.iter().any(|c| c.kind == condition && c.status == "True")
    }

    /// The version that objects are stored in.
    pub(crate) fn storage_version(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.storage)
    }

    /// `openAPIV3Schema` of a version.
    ///
    /// # Errors
    /// 500 when there is none.
    pub(crate) fn schema(&self, version: &str) -> Result<Value> {
        let stored: StoredSchemas<'_> =
            serde_json::from_slice(&self.object.value).map_err(Status::internal)?;
        let found = stored.spec.versions.into_iter().find(|v| v.name == version).and_then(|v| v.schema);
        let Some(schema) = found.and_then(|schema| schema.schema) else {
            return Err(Status::internal(format!("{} has no schema for version {version}", self.name)));
        };
        serde_json::from_str(schema.get()).map_err(Status::internal)
    }
}

#[derive(Deserialize)]
struct Stored<'a> {
    metadata: StoredMeta,
    #[serde(borrow)]
    spec: StoredSpec<'a>,
    #[serde(default)]
    status: StoredStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredMeta {
    name: String,
    uid: String,
    #[serde(default)]
    generation: i64,
    #[serde(default)]
    annotations: Option<Value>,
    #[serde(default)]
    deletion_timestamp: Option<String>,
    #[serde(default)]
    finalizers: Vec<String>,
}

#[derive(Deserialize)]
struct StoredSpec<'a> {
    group: String,
    scope: String,
    names: Names,
    #[serde(borrow)]
    versions: Vec<StoredVersion<'a>>,
    #[serde(default)]
    conversion: Conversion,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredVersion<'a> {
    name: String,
    #[serde(default)]
    served: bool,
    #[serde(default)]
    storage: bool,
    #[serde(default)]
    deprecated: bool,
    #[serde(default)]
    deprecation_warning: Option<String>,
    #[serde(default, borrow)]
    schema: Option<&'a RawValue>,
    #[serde(default)]
    subresources: StoredSubresources,
    #[serde(default)]
    additional_printer_columns: Vec<PrinterColumn>,
    #[serde(default)]
    selectable_fields: Vec<StoredSelectable>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StoredSubresources {
    status: Option<Value>,
    scale: Option<Scale>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSelectable {
    json_path: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StoredStatus {
    accepted_names: Names,
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct StoredSchemas<'a> {
    #[serde(borrow)]
    spec: StoredSchemaVersions<'a>,
}

#[derive(Deserialize)]
struct StoredSchemaVersions<'a> {
    #[serde(borrow)]
    versions: Vec<StoredSchema<'a>>,
}

#[derive(Deserialize)]
struct StoredSchema<'a> {
    name: String,
    #[serde(default, borrow)]
    schema: Option<StoredValidation<'a>>,
}

#[derive(Deserialize)]
struct StoredValidation<'a> {
    #[serde(rename = "openAPIV3Schema", default, borrow)]
    schema: Option<&'a RawValue>,
}

impl From<StoredVersion<'_>> for Version {
    fn from(version: StoredVersion<'_>) -> Self {
        let mut digest = Sha256::new();
        digest.update(version.schema.map_or("", RawValue::get));
        for field in &version.selectable_fields {
            digest.update(&field.json_path);
            digest.update([0]);
        }
        Self {
            name: version.name,
            served: version.served,
            storage: version.storage,
            deprecation: version.deprecated.then(|| version.deprecation_warning.unwrap_or_default()),
            status: version.subresources.status.is_some(),
            scale: version.subresources.scale,
            columns: version.additional_printer_columns,
            selectable: version.selectable_fields.into_iter().map(|field| field.json_path).collect(),
            digest: digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}
