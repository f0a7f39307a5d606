//! The pipeline of every write: admit, prepare, validate, encode, commit.
//!
//! Objects come in decoded, in the stored version, with the schema's defaults; see `endpoints`.

use super::core::service::{Reservation, Services};
use super::error::status;
use super::key::key;
use super::served::Served;
use super::store::{self, Registry};
use super::{admin_access, certificates, dates, extractor, meta_rules, strategy};
use crate::admission::{Chain, Operation, Request, Warnings};
use crate::audit::Annotations;
use crate::authentication::UserInfo;
use crate::customresources::{self, Read};
use crate::endpoints::scale;
use apimachinery::field::ErrorList;
use apimachinery::gvk::{Gvk, Gvr};
use apimachinery::managedfields::versions::Versions as _;
use apimachinery::status::{Result, Status};
use apimachinery::{managedfields, meta, time};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;
use storage::{Encoded, Object, StorageError};

/// How often a write that lost against another one is tried again (upstream's count for patches).
const CONFLICT_RETRIES: usize = 5;
/// How often a generated name that is taken is replaced by another (upstream's count).
const GENERATED_NAME_RETRIES: usize = 8;

/// Who writes, and how.
pub(crate) struct Writer<'a> {
    /// The objects.
    pub(crate) registry: &'a Registry,
    /// Addresses and ports of Services.
    pub(crate) services: &'a Services,
    /// What is written.
    pub(crate) served: &'a Arc<Served>,
    /// The subresource that is written; empty for the object itself.
    pub(crate) subresource: &'a str,
    /// The admission plugins.
    pub(crate) chain: &'a Chain,
    /// Who writes.
    pub(crate) user: &'a UserInfo,
    /// Who manages the fields that are set.
    pub(crate) manager: &'a str,
    /// What the client is to be warned of.
    pub(crate) warnings: &'a Warnings,
    /// Where notes for the audit log go.
    pub(crate) annotations: &'a Annotations,
    /// The options as admission plugins see them.
    pub(crate) options: &'a Value,
    /// Whether nothing is to be kept.
    pub(crate) dry_run: bool,
    /// When.
    pub(crate) now: Timestamp,
}

/// A changed object, on its way to be stored.
pub(crate) struct Change {
    /// The object, in the stored version.
    pub(crate) object: Value,
    /// Whether its managed fields are right already, as after an apply.
    pub(crate) tracked: bool,
}

impl Writer<'_> {
    /// Creates an object. Answers its bytes as stored.
    ///
    /// # Errors
    /// 409 when the name is taken, 422 when it is not valid, and whatever admission refuses with.
    pub(crate) async fn create(&self, change: Change) -> Result<Bytes> {
        let Change { mut object, tracked } = change;
        self.begin_create(&mut object)?;
        let (namespace, name) = identity(&object);
        // Before admission: what it adds is nobody's.
        if !tracked {
            self.track(None, &mut object);
        }
        self.chain.admit(&self.request(Operation::Create, &namespace, &name, None), &mut object).await?;
        if meta::namespace(&object) != namespace {
            return Err(Status::bad_request("admission must not change the namespace"));
        }
        let rules = self.served.rules();
        let generated = meta::name(&object).is_empty() && !meta::string(&object, "generateName").is_empty();
        // Another name can be tried on what was made ready under the first, unless that is written into it.
        let unnamed = (generated && rules.writes_name_on_create()).then(|| object.clone());
        let mut retries = if generated { GENERATED_NAME_RETRIES } else { 1 };
        loop {
            if generated {
                let name = meta_rules::generate_name(meta::string(&object, "generateName"));
                meta::set(&mut object, "name", name);
            }
            rules.prepare_for_create(&mut object);
            retries -= 1;
            match self.finish_create(&mut object, &namespace).await {
                Err(e) if e.is_already_exists() && retries > 0 => {}
                result => return result,
            }
            if let Some(unnamed) = &unnamed {
                object.clone_from(unnamed);
            }
        }
    }

    fn begin_create(&self, object: &mut Value) -> Result<()> {
        if !meta::resource_version(object).is_empty() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Status::internal(message));
        }
        meta_rules::prepare_for_create(object, self.now);
        certificates::name_requester(self.served, object, self.user);
        if self.served.has_status()
            && !self.served.rules().keeps_status_on_create()
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
            // In Go's types it is always there.
            if self.served.as_custom().is_none() {
                map.insert("status".to_owned(), Value::Object(Map::new()));
            }
        }
        if self.counts_generation() {
            meta::set(object, "generation", 1);
        }
        Ok(())
    }

    async fn finish_create(&self, object: &mut Value, namespace: &str) -> Result<Bytes> {
        let name = meta::name(object).to_owned();
        let rules = self.served.rules();
        dates::created(self.served, object, self.now);
        let mut errors = api::meta::validate_object_meta(object, self.served.namespaced, rules.name_rule());
        errors.extend(rules.validate(object));
        errors.extend(admin_access::check(self.registry, self.served, "", object, None).await?);
        self.check(&name, &errors)?;
        let request = self.request(Operation::Create, namespace, &name, None);
        self.chain.validate(&request, object).await?;
        self.warn(rules.warnings(object));
        self.warn(rules.warnings_on_create(object));
        let reservation = self.services.begin_create(self, object).await?;
        let result = self.commit_create(object, namespace, &name).await;
        settle(reservation, result.is_ok() && !self.dry_run).await;
        result
    }

    async fn commit_create(&self, object: &Value, namespace: &str, name: &str) -> Result<Bytes> {
        let stored_as = self.served.stored_as();
        if self.dry_run {
            if self.registry.get(stored_as, namespace, name).await?.is_some() {
                return Err(Status::already_exists(&self.served.group_resource(), name));
            }
            return bytes(object);
        }
        let encoded = self.encode(object).await?;
        match self.registry.storage().create(&key(stored_as, namespace, name), encoded).await {
            Ok(stored) => self.shown(stored).await,
            Err(e) => Err(status(e, &self.served.group_resource(), name)),
        }
    }

    /// Changes an object, again and again until nobody came between. Answers its bytes as stored.
    ///
    /// # Errors
    /// 404 when it does not exist, 409 when it is not at the revision that the change was made for, 422 when
    /// it is not valid, and whatever `change` or admission refuses with.
    pub(crate) async fn update(
        &self,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&Value) -> Result<Change> + Send,
    ) -> Result<Bytes> {
        let group_resource = self.served.group_resource();
        let not_found = || Status::not_found(&group_resource, name);
        let mut current =
            self.registry.get(self.served.stored_as(), namespace, name).await?.ok_or_else(not_found)?;
        for _ in 0..=CONFLICT_RETRIES {
            let Read { object: old, outdated } = self.read(&current).await?;
            let Change { mut object, tracked } = change(&old)?;
            self.check_revision(&mut object, &current)?;
            self.prepare_update(&mut object, &old, tracked, namespace, name).await?;
            let unchanged = !outdated && same_but_for_times(&object, &old);
            // What is stored in another way than it would be now is written again.
            if unchanged && (self.dry_run || !self.registry.storage().is_stale(&current.key).await) {
                return self.shown(current).await;
            }
            match self.commit_update(object, &old, &current, namespace, name).await {
                Ok(bytes) => return Ok(bytes),
                Err(Failure::Store(StorageError::Conflict { current: now, .. })) => current = now,
                Err(Failure::Store(StorageError::NotFound { .. })) => return Err(not_found()),
                Err(Failure::Store(e)) => return Err(status(e, &group_resource, name)),
                Err(Failure::Refused(status)) => return Err(*status),
            }
        }
        Err(Status::modified(&group_resource, name))
    }

    fn check_revision(&self, object: &mut Value, current: &Object) -> Result<()> {
        let name = current.key.rsplit('/').next().unwrap_or("");
        match meta::resource_version(object) {
            "" | "0" => {
                let gvr = &self.served.stored_as();
                if self.served.as_custom().is_some()
                    || !strategy::allows_unconditional_update(&gvr.group, &gvr.resource)
                {
                    use apimachinery::field::{FieldError, Path};
                    let at = Path::new("metadata").child("resourceVersion");
                    let errors = vec![FieldError::invalid(&at, 0, "must be specified for an update")];
                    return Err(Status::invalid(&self.served.gvk, name, &errors));
                }
            }
            text if text == current.revision.to_string() => {}
            _ => return Err(Status::modified(&self.served.group_resource(), name)),
        }
        meta::set(object, "resourceVersion", current.revision.to_string());
        Ok(())
    }

    async fn prepare_update(
        &self,
        object: &mut Value,
        old: &Value,
        tracked: bool,
        namespace: &str,
        name: &str,
    ) -> Result<()> {
        let uid = meta::uid(object);
        if !uid.is_empty() && uid != meta::uid(old) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                meta::uid(old)
            );
            return Err(Status::conflict(&self.served.group_resource(), name, why));
        }
        meta_rules::prepare_for_update(object, old);
        self.keep_other_half(object, old);
        if !tracked {
            self.track_change(old, object).await?;
        }
        let request = self.request(Operation::Update, namespace, name, Some(old));
        self.admit_update(&request, object).await?;
        self.keep_other_half(object, old);
        let rules = self.served.rules();
        match self.subresource {
            "" => rules.prepare_for_update(object, old),
            "status" => rules.prepare_for_status_update(object, old),
            other => rules.prepare_for_subresource_update(other, object, old),
        }
        dates::updated(self.served, self.subresource, object, old, self.now);
        let status_counts = self.served.as_custom().is_some() && !self.served.has_status();
        if self.counts_generation() && meta_rules::desired_state_differs(object, old, status_counts) {
            meta::set(object, "generation", meta::generation(old) + 1);
        }
        let mut errors = api::meta::validate_object_meta_update(object, old);
        errors.extend(match self.subresource {
            "" => rules.validate_update(object, old),
            "status" => rules.validate_status_update(object, old),
            other => rules.validate_subresource_update(other, object, old),
        });
        errors.extend(
            admin_access::check(self.registry, self.served, self.subresource, object, Some(old)).await?,
        );
        self.check(name, &errors)?;
        self.admit_updated(&request, object).await?;
        if self.subresource.is_empty() {
            self.warn(rules.warnings_on_update(object, old));
        }
        Ok(())
    }

    /// Lets plugins change the object; of a scale they see no more than the Scale.
    async fn admit_update(&self, request: &Request<'_>, object: &mut Value) -> Result<()> {
        let Some(paths) = self.scale_paths() else { return self.chain.admit(request, object).await };
        let (mut new, old) = (scale::of(object, &paths), request.old.map(|old| scale::of(old, &paths)));
        let kind = scale_kind();
        let request = Request { kind: &kind, old: old.as_ref(), ..*request };
        self.chain.admit(&request, &mut new).await?;
        scale::take_back(object, &new, &paths)
    }

    /// Lets plugins refuse the object, in the form in which they changed it.
    async fn admit_updated(&self, request: &Request<'_>, object: &Value) -> Result<()> {
        let Some(paths) = self.scale_paths() else { return self.chain.validate(request, object).await };
        let (new, old) = (scale::of(object, &paths), request.old.map(|old| scale::of(old, &paths)));
        let kind = scale_kind();
        self.chain.validate(&Request { kind: &kind, old: old.as_ref(), ..*request }, &new).await
    }

    fn scale_paths(&self) -> Option<api::ScalePaths> {
        if self.subresource == "scale" { self.served.rules().scale() } else { None }
    }

    /// The object's writers leave the status alone, the status's writers leave the rest alone.
    fn keep_other_half(&self, object: &mut Value, old: &Value) {
        match self.subresource {
            "" if self.served.has_status() => api::value::copy(object, old, "status"),
            "status" => {
                let whole = old;
                let (Some(new), Some(old)) = (object.as_object_mut(), old.as_object()) else { return };
                new.retain(|field, _| {
                    matches!(field.as_str(), "status" | "metadata" | "kind" | "apiVersion")
                });
                for (field, value) in old {
                    if field != "status" && field != "metadata" {
                        new.insert(field.clone(), value.clone());
                    }
                }
                if self.served.as_custom().is_some() {
                    customresources::keep_metadata(object, whole);
                }
            }
            _ => {}
        }
    }

    async fn commit_update(
        &self,
        mut object: Value,
        old: &Value,
        current: &Arc<Object>,
        namespace: &str,
        name: &str,
    ) -> std::result::Result<Bytes, Failure> {
        let storage = self.registry.storage();
        let key = key(self.served.stored_as(), namespace, name);
        // What does not change is written nevertheless when it is encrypted with a key that is to go.
        if super::deletion::is_finished(self.served, &object, old) {
            if !self.dry_run {
                storage.delete(&key, current.revision).await?;
                self.services.release(self.served, old).await;
            }
            return Ok(bytes(&object)?);
        }
        let reservation = self.services.begin_update(self, &mut object, old).await?;
        let result = if self.dry_run {
            bytes(&object).map_err(Failure::from)
        } else {
            match self.encode(&object).await {
                Ok(encoded) => match storage.update(&key, current.revision, encoded).await {
                    Ok(stored) => self.shown(stored).await.map_err(Failure::from),
                    Err(e) => Err(Failure::Store(e)),
                },
                Err(e) => Err(Failure::from(e)),
            }
        };
        settle(reservation, result.is_ok() && !self.dry_run).await;
        result
    }

    /// Notes who manages the fields that differ from the old object.
    fn track(&self, old: Option<&Value>, object: &mut Value) {
        restore_managed_fields(object, old);
        managedfields::update(
            &self.served.hub().schema,
            old,
            object,
            self.manager,
            self.served.stored_api_version(),
            self.subresource,
            &time::rfc3339(self.now),
        );
    }

    /// As `track`, of an object that is there: managers of other versions see it as a webhook converts it, if one does.
    async fn track_change(&self, old: &Value, object: &mut Value) -> Result<()> {
        let conversions = customresources::Conversions::new(self.served.as_custom());
        if !conversions.differ() {
            self.track(Some(old), object);
            return Ok(());
        }
        restore_managed_fields(object, Some(old));
        let now = time::rfc3339(self.now);
        loop {
            let mut tracked = object.clone();
            let updated = managedfields::update_versions(
                &self.served.hub().schema,
                Some(old),
                &mut tracked,
                self.manager,
                self.served.stored_api_version(),
                self.subresource,
                &now,
                &conversions,
            );
            if updated.is_ok() {
                *object = tracked;
                return Ok(());
            }
            if !conversions.settle().await? {
                return Err(Status::internal("a conversion is missing"));
            }
        }
    }

    /// A stored object as the pipeline works on it.
    pub(super) async fn read(&self, object: &Object) -> Result<Read> {
        match self.served.as_custom() {
            Some(version) => version.read(object).await,
            None => store::decode(object).map(|object| Read { object, outdated: false }),
        }
    }

    /// An object of the pipeline as it is stored.
    pub(super) async fn encode(&self, object: &Value) -> Result<Encoded> {
        match self.served.as_custom() {
            Some(version) => version.write(object).await,
            None => {
                Ok(store::encode(object)?
                    .with_attrs(extractor::attributes(Some(self.served.rules()), object)))
            }
        }
    }

    /// The bytes of a stored object as presenters take them.
    pub(super) async fn shown(&self, object: Arc<Object>) -> Result<Bytes> {
        Ok(self.served.show_one(object).await?.value.clone())
    }

    fn counts_generation(&self) -> bool {
        if self.served.as_custom().is_some() {
            return true;
        }
        let gvr = self.served.stored_as();
        let has_spec = self.served.hub().schema.field("spec").is_some();
        strategy::counts_generation(&gvr.group, &gvr.resource, has_spec)
    }

    fn check(&self, name: &str, errors: &ErrorList) -> Result<()> {
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&self.served.gvk, name, errors)) }
    }

    fn warn(&self, warnings: Vec<String>) {
        for warning in warnings {
            self.warnings.add(warning);
        }
    }

    /// The request as admission plugins see it.
    pub(crate) fn request<'b>(
        &'b self,
        operation: Operation,
        namespace: &'b str,
        name: &'b str,
        old: Option<&'b Value>,
    ) -> Request<'b> {
        let gvr: &'b Gvr = &self.served.hub().gvr;
        Request {
            user: self.user,
            operation,
            resource: gvr,
            kind: &self.served.hub().gvk,
            subresource: self.subresource,
            namespace,
            name,
            old,
            dry_run: self.dry_run,
            options: self.options,
            warnings: self.warnings,
            annotations: self.annotations,
            served: Some(self.served),
            reinvocation: None,
        }
    }
}

/// Why a commit did not happen.
enum Failure {
    /// The store did not take it.
    Store(StorageError),
    /// It was refused before it got there.
    Refused(Box<Status>),
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Store(error)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

fn scale_kind() -> Gvk {
    Gvk::new("autoscaling", "v1", "Scale")
}

async fn settle(reservation: Option<Reservation>, keep: bool) {
    if let Some(reservation) = reservation {
        if keep { reservation.commit().await } else { reservation.release().await }
    }
}

fn identity(object: &Value) -> (String, String) {
    (meta::namespace(object).to_owned(), meta::name(object).to_owned())
}

/// The bytes of an object that is not stored.
pub(crate) fn bytes(object: &Value) -> Result<Bytes> {
    serde_json::to_vec(object).map(Bytes::from).map_err(Status::internal)
}

/// A write that does not say who manages what leaves that as it was; an empty list (or one empty entry) asks
/// for it to be forgotten (KEP-555, "Clearing managedFields").
fn restore_managed_fields(object: &mut Value, old: Option<&Value>) {
    let given = meta::metadata(object).and_then(|m| m.get("managedFields")).and_then(Value::as_array);
    let reset = given.is_some_and(|entries| {
        entries.is_empty()
            || (entries.len() == 1 && entries.first().and_then(Value::as_object).is_some_and(Map::is_empty))
    });
    if reset {
        meta::remove(object, "managedFields");
        return;
    }
    if given.is_none() {
        let known = old.and_then(meta::metadata).and_then(|m| m.get("managedFields"));
        if let Some(known) = known {
            meta::set(object, "managedFields", known.clone());
        }
    }
}

/// Whether two objects are the same but for the times of their managed fields.
fn same_but_for_times(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return false };
    if !same_but_for(new, old, "metadata") {
        return false;
    }
    let (new, old) = match (new.get("metadata"), old.get("metadata")) {
        (Some(Value::Object(new)), Some(Value::Object(old))) => (new, old),
        (new, old) => return new == old,
    };
    if !same_but_for(new, old, "managedFields") {
        return false;
    }
    let (new, old) = (managed_fields(new), managed_fields(old));
    new.len() == old.len()
        && new.iter().zip(old).all(|(a, b)| match (a.as_object(), b.as_object()) {
            (Some(a), Some(b)) => same_but_for(a, b, "time"),
            _ => a == b,
        })
}

fn managed_fields(metadata: &Map<String, Value>) -> &[Value] {
    metadata.get("managedFields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether all members but one are the same.
fn same_but_for(a: &Map<String, Value>, b: &Map<String, Value>, but: &str) -> bool {
    a.iter().all(|(name, value)| name == but || b.get(name) == Some(value))
        && b.keys().all(|name| name == but || a.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_of_managed_fields_do_not_count_as_a_change() {
        let object = |time: &str, label: &str| json!({"metadata": {"labels": {"a": label}, "managedFields": [{"manager": "m", "time": time}]}});
        assert!(same_but_for_times(&object("1", "x"), &object("2", "x")));
        assert!(!same_but_for_times(&object("1", "x"), &object("1", "y")));
        assert!(!same_but_for_times(&json!({"metadata": {}}), &object("1", "y")));
    }

    #[test]
    fn managed_fields_are_kept_unless_cleared() {
        let old = json!({"metadata": {"managedFields": [{"manager": "m"}]}});
        let mut silent = json!({"metadata": {}});
        restore_managed_fields(&mut silent, Some(&old));
        assert_eq!(silent, old);
        let mut clearing = json!({"metadata": {"managedFields": [{}]}});
        restore_managed_fields(&mut clearing, Some(&old));
        assert_eq!(clearing, json!({"metadata": {}}));
    }
}
