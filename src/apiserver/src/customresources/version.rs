//! One version of a custom resource: how its objects are read from the store and written to it.

use super::columns::Columns;
use super::convert::Converter;
use super::definition::{Definition, Version};
use super::names;
use crate::outbound::Outbound;
use crate::registry::{Served, Source};
use api::{Kind, KindRef, LazySchema, Resource, ScalePaths, Subresource};
use apiextensions::{CustomResourceValidator, ObjectMeta, StructuralSchema};
use apimachinery::gvk::{Gvk, Gvr, api_version};
use apimachinery::jsonpath::JsonPath;
use apimachinery::schema::SchemaRef;
use apimachinery::status::Status;
use serde_json::Value;
use std::sync::{Arc, LazyLock, OnceLock};
use storage::{Attrs, Encoded, Object};
use tokio_util::sync::CancellationToken;

const VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
/// What can be done while the definition is being deleted.
const TERMINATING_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];
const SUBRESOURCE_VERBS: &[&str] = &["get", "patch", "update"];

/// `ObjectMeta`, as structural schemas are told of it.
pub(super) static OBJECT_META: LazyLock<ObjectMeta> = LazyLock::new(api::meta::object_meta);

/// All versions of a custom resource, as one state of its definition tells them.
pub(crate) struct CustomResource {
    pub(super) definition: Arc<Definition>,
    converter: Converter,
    /// In the order of the definition's versions; read when first needed.
    schemas: Vec<OnceLock<Option<Arc<CustomResourceValidator>>>>,
    /// Objects of later revisions were written under these schemas: they need no pruning and no defaults.
    clean_after: u64,
    /// When this state is superseded: watches end.
    pub(super) superseded: CancellationToken,
}

impl CustomResource {
    /// A state of a definition. What was stored up to `clean_after` may be from another.
    pub(super) fn new(
        definition: Arc<Definition>,
        clean_after: u64,
        outbound: &Outbound,
        superseded: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            converter: Converter::new(&definition, outbound),
            schemas: definition.versions.iter().map(|_| OnceLock::new()).collect(),
            clean_after,
            superseded,
            definition,
        })
    }

    /// The versions that clients can ask for.
    pub(super) fn served(self: &Arc<Self>) -> Vec<Arc<Served>> {
        let versions = self.definition.versions.iter().enumerate().filter(|(_, version)| version.served);
        versions.map(|(index, _)| self.serve(index)).collect()
    }

    /// The version that is stored, whether clients can ask for it or not.
    pub(super) fn storage(self: &Arc<Self>) -> Option<Arc<Served>> {
        let index = self.definition.versions.iter().position(|version| version.storage)?;
        Some(self.serve(index))
    }

    fn serve(self: &Arc<Self>, index: usize) -> Arc<Served> {
        let version = Arc::new(CustomVersion::new(Arc::clone(self), index));
        let resource = Arc::new(version.resource());
        Arc::new(Served::custom(Source::Dynamic(resource), version))
    }

    /// The rules of a version.
    fn rules(&self, index: usize) -> Option<&Arc<CustomResourceValidator>> {
        let read = || {
            let version = self.definition.versions.get(index)?;
            let schema = self.definition.schema(&version.name).map_err(|e| e.to_string());
            let schema = schema.and_then(|json| StructuralSchema::parse(&json).map_err(|e| e.to_string()));
            match schema {
                Ok(schema) => {
                    Some(Arc::new(CustomResourceValidator::new(Arc::new(schema), OBJECT_META.clone())))
                }
                Err(error) => {
                    tracing::warn!(definition = self.definition.name, error, "a schema cannot be used");
                    None
                }
            }
        };
        self.schemas.get(index)?.get_or_init(read).as_ref()
    }

    /// The rules of the version that an object says to be of.
    fn rules_of(&self, object: &Value) -> Option<&Arc<CustomResourceValidator>> {
        let (group, version) = apimachinery::gvk::parse_api_version(api::value::text(object, "apiVersion"));
        let index = self.definition.versions.iter().position(|v| v.name == version)?;
        if group == self.definition.group { self.rules(index) } else { None }
    }

    /// Brings a stored object to what the schema of its version says now.
    fn refresh(&self, object: &mut Value) {
        if let Some(rules) = self.rules_of(object) {
            // What cannot be brought into form is shown as it is: it is there.
            let _ = rules.decode(object);
        }
    }

    fn is_clean(&self, object: &Object) -> bool {
        object.revision > self.clean_after
    }

    fn storage_api_version(&self) -> String {
        let version = self.definition.storage_version().map_or("", |version| &version.name);
        api_version(&self.definition.group, version)
    }
}

/// One version.
pub(crate) struct CustomVersion {
    pub(super) all: Arc<CustomResource>,
    index: usize,
    version: String,
    api_version: String,
    storage_api_version: String,
    /// How stored objects of this version begin: keys are sorted, so that few others come before `apiVersion`.
    beginning: Vec<u8>,
    pub(super) columns: Columns,
    pub(super) scale: Option<ScalePaths>,
    status: bool,
    selectable: Vec<(String, JsonPath)>,
}

/// A stored object as the write pipeline sees it.
pub(crate) struct Read {
    /// The object.
    pub(crate) object: Value,
    /// Whether writing it back as it is would change what is stored.
    pub(crate) outdated: bool,
}

impl std::fmt::Debug for CustomVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CustomVersion").field("api_version", &self.api_version).finish_non_exhaustive()
    }
}

impl CustomVersion {
    fn new(all: Arc<CustomResource>, index: usize) -> Self {
        let definition = &all.definition;
        let fallback = Version::default();
        let version = definition.versions.get(index).unwrap_or(&fallback);
        let api_version = api_version(&definition.group, &version.name);
        Self {
            beginning: format!("{{\"apiVersion\":\"{api_version}\",").into_bytes(),
            version: version.name.clone(),
            api_version,
            storage_api_version: all.storage_api_version(),
            columns: Columns::new(&version.columns),
            scale: version.scale.as_ref().map(|scale| ScalePaths {
                spec_replicas: scale.spec_replicas_path.clone().into(),
                status_replicas: scale.status_replicas_path.clone().into(),
                selector: scale.label_selector_path.clone().unwrap_or_default().into(),
                replicas_optional: false,
            }),
            status: version.status,
            selectable: version
                .selectable
                .iter()
                .filter_map(|path| {
                    let parsed = JsonPath::parse(path).ok()?;
                    Some((path.trim_start_matches('.').to_owned(), parsed))
                })
                .collect(),
            index,
            all,
        }
    }

    /// What clients see of it.
    fn resource(self: &Arc<Self>) -> Resource {
        let definition = &self.all.definition;
        let names = &definition.accepted;
        let gvk = Gvk::new(definition.group.as_str(), self.version.as_str(), names.kind.as_str());
        let mut subresources = Vec::new();
        if self.scale.is_some() {
            subresources.push(Subresource {
                name: "scale".to_owned(),
                gvk: Gvk::new("autoscaling", "v1", "Scale"),
                verbs: SUBRESOURCE_VERBS,
            });
        }
        if self.status {
            subresources.push(Subresource {
                name: "status".to_owned(),
                gvk: gvk.clone(),
                verbs: SUBRESOURCE_VERBS,
            });
        }
        let storage_version = definition.storage_version().map_or("", |version| &version.name);
        let plural = names::resource(definition).resource;
        Resource {
            gvr: Gvr::new(definition.group.as_str(), self.version.as_str(), plural.as_str()),
            list_kind: names.list_kind.clone(),
            singular: names.singular.clone(),
            short_names: names.short_names.clone(),
            categories: names.categories.clone(),
            namespaced: definition.namespaced,
            verbs: if definition.is(names::TERMINATING) { TERMINATING_VERBS } else { VERBS },
            subresources,
            kind: KindRef::Shared(Arc::clone(self) as Arc<dyn Kind>),
            schema: self.engine_schema(&gvk),
            storage_version: storage_version.to_owned(),
            storage: Gvr::new(definition.group.as_str(), storage_version, plural.as_str()),
            gvk,
        }
    }

    fn engine_schema(self: &Arc<Self>, gvk: &Gvk) -> LazySchema {
        let (version, gvk) = (Arc::clone(self), gvk.clone());
        LazyLock::new(Box::new(move || match version.rules() {
            Some(rules) => apiextensions::to_engine_schema(rules.schema(), &gvk, &OBJECT_META),
            None => anything(),
        }))
    }

    pub(super) fn rules(&self) -> Option<&Arc<CustomResourceValidator>> {
        self.all.rules(self.index)
    }

    /// The state of the definition that this is a part of.
    pub(crate) fn definition(&self) -> &Arc<Definition> {
        &self.all.definition
    }

    /// Name of the version.
    pub(crate) fn name(&self) -> &str {
        &self.version
    }

    /// What changes when the published schema does.
    pub(crate) fn digest(&self) -> &str {
        self.all.definition.versions.get(self.index).map_or("", |version| &version.digest)
    }

    /// What clients of a deprecated version are warned with.
    pub(crate) fn deprecation(&self) -> Option<String> {
        let text = self.all.definition.versions.get(self.index)?.deprecation.as_deref()?;
        Some(match text {
            "" => format!("{} {} is deprecated", self.api_version, self.all.definition.accepted.kind),
            text => text.to_owned(),
        })
    }

    /// What a definition that is being deleted defines can still be changed, since something may hold it.
    ///
    /// # Errors
    /// 405 for new objects.
    pub(crate) fn check_verb(&self, verb: &str) -> Result<(), Status> {
        let definition = &self.all.definition;
        if verb != "create" || !definition.is(names::TERMINATING) {
            return Ok(());
        }
        let mut status = Status::method_not_allowed(&names::resource(definition), verb);
        status.message = format!("{verb} not allowed while custom resource definition is terminating");
        Err(status)
    }

    /// Done when the definition has changed.
    pub(crate) fn superseded(&self) -> &CancellationToken {
        &self.all.superseded
    }

    /// The fields that can be selected by.
    pub(crate) fn selectable_fields(&self) -> impl Iterator<Item = &str> {
        self.selectable.iter().map(|(name, _)| name.as_str())
    }

    /// The path of a field that can be selected by.
    pub(crate) fn selectable(&self, field: &str) -> Option<&JsonPath> {
        self.selectable.iter().find(|(name, _)| name == field).map(|(_, path)| path)
    }

    /// Whether the stored bytes of an object are what clients of this version see.
    pub(crate) fn is_shown_as_stored(&self, object: &Object) -> bool {
        self.all.is_clean(object) && object.value.starts_with(&self.beginning)
    }

    /// Whether a webhook makes of stored objects what clients of this version see.
    pub(crate) fn asks_webhook(&self) -> bool {
        self.all.converter.asks_webhook()
    }

    /// A stored object in its own version.
    fn stored(&self, object: &Object) -> Result<Value, Status> {
        let mut tree = crate::registry::decode(object)?;
        if !self.all.is_clean(object) {
            self.all.refresh(&mut tree);
        }
        Ok(tree)
    }

    /// A stored object as clients of this version see it; `None` when a webhook has to be asked.
    ///
    /// # Errors
    /// 500 when it cannot be read.
    pub(crate) fn show_now(&self, object: &Arc<Object>) -> Option<Result<Arc<Object>, Status>> {
        if self.is_shown_as_stored(object) {
            return Some(Ok(Arc::clone(object)));
        }
        let mut tree = match self.stored(object) {
            Ok(tree) => tree,
            Err(e) => return Some(Err(e)),
        };
        if api::value::text(&tree, "apiVersion") != self.api_version {
            if self.all.converter.asks_webhook() {
                return None;
            }
            Converter::relabel(&mut tree, &self.api_version);
            self.prune(&mut tree);
        }
        Some(as_object(object, &tree))
    }

    /// Stored objects as clients of this version see them.
    ///
    /// # Errors
    /// 500 when one cannot be read or converted.
    pub(crate) async fn show(&self, mut objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, Status> {
        let (mut places, mut trees) = (Vec::new(), Vec::new());
        for (place, object) in objects.iter_mut().enumerate() {
            match self.show_now(object) {
                Some(shown) => *object = shown?,
                None => {
                    places.push(place);
                    trees.push(self.stored(object)?);
                }
            }
        }
        if trees.is_empty() {
            return Ok(objects);
        }
        let converted = self.all.converter.convert(trees, &self.api_version).await?;
        for (place, mut tree) in places.into_iter().zip(converted) {
            self.prune(&mut tree);
            if let Some(object) = objects.get_mut(place) {
                *object = as_object(object, &tree)?;
            }
        }
        Ok(objects)
    }

    /// A stored object in this version, to be changed.
    ///
    /// # Errors
    /// 500 when it cannot be read or converted.
    pub(crate) async fn read(&self, object: &Object) -> Result<Read, Status> {
        let mut tree = crate::registry::decode(object)?;
        let mut outdated = api::value::text(&tree, "apiVersion") != self.storage_api_version;
        if !self.all.is_clean(object) {
            let before = tree.clone();
            self.all.refresh(&mut tree);
            outdated |= tree != before;
        }
        if api::value::text(&tree, "apiVersion") != self.api_version {
            tree = self.converted(tree, &self.api_version).await?;
            self.prune(&mut tree);
        }
        Ok(Read { object: tree, outdated })
    }

    /// An object of this version as it is stored.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    pub(crate) async fn write(&self, object: &Value) -> Result<Encoded, Status> {
        if self.api_version == self.storage_api_version {
            return crate::registry::encode(object);
        }
        let mut stored = self.converted(object.clone(), &self.storage_api_version).await?;
        self.all.refresh(&mut stored);
        crate::registry::encode(&stored)
    }

    /// An object of another version, in this one.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    pub(crate) async fn take_over(&self, object: Value) -> Result<Value, Status> {
        let mut object = self.converted(object, &self.api_version).await?;
        self.prune(&mut object);
        Ok(object)
    }

    /// An object in a version of the same resource, with that version's schema; `None` where there is none such.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    pub(crate) async fn in_version(
        &self,
        object: &Value,
        to: &str,
    ) -> Result<Option<(SchemaRef, Value)>, Status> {
        let Some(rules) = self.all.rules_of(&serde_json::json!({"apiVersion": to})) else { return Ok(None) };
        let (group, version) = apimachinery::gvk::parse_api_version(to);
        let gvk = Gvk::new(group, version, self.all.definition.accepted.kind.as_str());
        let schema = apiextensions::to_engine_schema(rules.schema(), &gvk, &OBJECT_META);
        let mut object = object.clone();
        if api::value::text(&object, "apiVersion") != to {
            object = self.converted(object, to).await?;
            apiextensions::prune(rules.schema(), &mut object, true);
        }
        Ok(Some((schema, object)))
    }

    async fn converted(&self, object: Value, to: &str) -> Result<Value, Status> {
        let mut converted = self.all.converter.convert(vec![object], to).await?;
        converted.pop().ok_or_else(|| Status::internal("conversion lost an object"))
    }

    fn prune(&self, object: &mut Value) {
        if let Some(rules) = self.rules() {
            apiextensions::prune(rules.schema(), object, true);
        }
    }
}

/// Who writes the status leaves the metadata alone, but for who manages what.
pub(crate) fn keep_metadata(object: &mut Value, old: &Value) {
    let Some(mut metadata) = apimachinery::meta::metadata(old).cloned() else { return };
    if let Some(given) = apimachinery::meta::metadata(object) {
        for field in ["managedFields", "resourceVersion"] {
            match given.get(field) {
                Some(value) => metadata.insert(field.to_owned(), value.clone()),
                None => metadata.remove(field),
            };
        }
    }
    api::value::set(object, "metadata", metadata);
}

fn as_object(stored: &Object, tree: &Value) -> Result<Arc<Object>, Status> {
    let encoded = crate::registry::encode(tree)?;
    let value = encoded.spliced(stored.revision);
    let mut attrs = Attrs::builder();
    for (key, label) in apimachinery::meta::labels(tree).into_iter().flatten() {
        attrs = attrs.label(key, label.as_str().unwrap_or(""));
    }
    let attrs = stored.attrs.fields().fold(attrs, |attrs, (path, value)| attrs.field(path, value)).build();
    Ok(Arc::new(Object { value, splice_at: encoded.splice_at(), attrs, ..stored.clone() }))
}

/// The form of objects whose schema cannot be read.
fn anything() -> SchemaRef {
    use apimachinery::schema::{Any, SchemaSet, Shape, Type};
    let mut set = SchemaSet::default();
    let id = set.add(Type::new(Shape::Any(Any::RawExtension)));
    SchemaRef::new(Arc::new(set), id)
}
