//! A resource as the engine serves it: what clients see, and how it is stored.

use super::core::event;
use crate::customresources::CustomVersion;
use api::{Kind, Resource};
use apimachinery::gvk::GroupResource;
use apimachinery::jsonpath::JsonPath;
use apimachinery::status::Result;
use serde_json::Value;
use std::ops::Deref;
use std::sync::Arc;
use storage::Object;

/// A resource of the built-in table, or one that came later (a custom resource).
#[derive(Clone)]
pub enum Source {
    /// Known at build time.
    BuiltIn(&'static Resource),
    /// Registered while running.
    Dynamic(Arc<Resource>),
}

impl Deref for Source {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        match self {
            Self::BuiltIn(resource) => resource,
            Self::Dynamic(resource) => resource,
        }
    }
}

/// One group, version and resource that is served. Dereferences to the resource that clients see.
pub struct Served {
    resource: Source,
    /// The version that is stored: its schema and kind drive everything between decoding and encoding.
    hub: Source,
    stored_as: GroupResource,
    stored_api_version: String,
    group_resource: GroupResource,
    api_version: String,
    fields: Vec<&'static str>,
    custom: Option<Arc<CustomVersion>>,
}

impl Served {
    /// A resource whose objects are stored as `hub`.
    pub fn new(resource: Source, hub: Source) -> Self {
        // The names do not depend on the object.
        let fields: Vec<&'static str> =
            hub.kind.selectable_fields(&Value::Null).into_iter().map(|(name, _)| name).collect();
        Self {
            stored_as: hub.gvr.group_resource(),
            stored_api_version: hub.gvr.api_version(),
            group_resource: resource.gvr.group_resource(),
            api_version: resource.gvr.api_version(),
            fields,
            custom: None,
            resource,
            hub,
        }
    }

    /// A version of a custom resource. The write pipeline works on the version that clients see; the store's own is
    /// the affair of `version`.
    pub(crate) fn custom(resource: Source, version: Arc<CustomVersion>) -> Self {
        Self { custom: Some(version), ..Self::new(resource.clone(), resource) }
    }

    /// What is particular to a custom resource.
    pub(crate) fn as_custom(&self) -> Option<&Arc<CustomVersion>> {
        self.custom.as_ref()
    }

    /// Stored objects as presenters take them.
    ///
    /// # Errors
    /// 500 when one cannot be read or converted.
    pub(crate) async fn show(&self, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>> {
        match &self.custom {
            Some(version) => version.show(objects).await,
            None => Ok(objects),
        }
    }

    /// Whether selectors can only be applied to what clients see: what is stored may say something else.
    pub(crate) fn is_selected_when_shown(&self) -> bool {
        self.custom.as_ref().is_some_and(|version| version.asks_webhook())
    }

    /// One stored object as presenters take it.
    ///
    /// # Errors
    /// As [`Served::show`].
    pub(crate) async fn show_one(&self, object: Arc<Object>) -> Result<Arc<Object>> {
        let Some(version) = &self.custom else { return Ok(object) };
        if let Some(shown) = version.show_now(&object) {
            return shown;
        }
        let shown = version.show(vec![Arc::clone(&object)]).await?;
        Ok(shown.into_iter().next().unwrap_or(object))
    }

    /// The resource in the version that the write pipeline works on: of built-in resources, the one that is stored.
    pub fn hub(&self) -> &Resource {
        &self.hub
    }

    /// The kind's rules; they work on the stored version.
    pub fn rules(&self) -> &dyn Kind {
        &*self.hub.kind
    }

    /// Group and resource under which objects are stored.
    pub fn stored_as(&self) -> &GroupResource {
        &self.stored_as
    }

    /// Group and resource that clients see.
    pub fn group_resource(&self) -> GroupResource {
        self.group_resource.clone()
    }

    /// `group/version` that clients see.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// `group/version` that the write pipeline works on.
    pub fn stored_api_version(&self) -> &str {
        &self.stored_api_version
    }

    /// Whether what clients see differs from what is stored.
    pub fn converts(&self) -> bool {
        self.api_version != self.stored_api_version
    }

    /// The kind of its lists.
    pub fn list_kind(&self) -> String {
        self.resource.list_kind.clone()
    }

    /// Turns a stored object into what clients see.
    ///
    /// # Errors
    /// When the object cannot be told in that version.
    pub fn from_storage(&self, object: &mut Value) -> Result<()> {
        self.convert(object, &self.stored_api_version, &self.api_version)
    }

    /// Turns what a client sent into the version that is stored.
    ///
    /// # Errors
    /// When the object cannot be told in that version.
    pub fn to_storage(&self, object: &mut Value) -> Result<()> {
        self.convert(object, &self.api_version, &self.stored_api_version)
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) -> Result<()> {
        if from == to {
            return Ok(());
        }
        self.hub.kind.convert(object, from, to)
    }

    /// The stored name of a field that can be selected by; `None` for other fields.
    pub fn stored_field(&self, field: &str) -> Option<String> {
        let field = if self.converts() { event::stored_field(&self.api_version, field) } else { field };
        let known = matches!(field, "metadata.name" | "metadata.namespace") || self.fields.contains(&field);
        known.then(|| field.to_owned())
    }

    /// Where the value of a field of a custom resource is found that can be selected by.
    pub(crate) fn selectable_path(&self, field: &str) -> Option<&JsonPath> {
        self.custom.as_ref()?.selectable(field)
    }

    /// Whether its objects have a protobuf form: those of custom resources have none.
    pub fn has_protobuf(&self) -> bool {
        matches!(self.resource, Source::BuiltIn(_))
    }

    /// Whether there is such a subresource.
    pub fn has_subresource(&self, name: &str) -> bool {
        self.resource.subresources.iter().any(|s| s.name == name)
    }

    /// Whether the status is written apart from the rest.
    pub fn has_status(&self) -> bool {
        self.has_subresource("status")
    }
}

impl Deref for Served {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        &self.resource
    }
}
