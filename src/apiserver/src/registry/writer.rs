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
use apimachinery::field::ErrorList;
use apimachinery::gvk::Gvr;
use apimachinery::managedfields::versions::Versions as _;
use apimachinery::status::{Result, Status};
use apimachinery::{managedfields, meta, time};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;
use storage::{Encoded, Object};

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
    pub(super) async fn track_change(&self, old: &Value, object: &mut Value) -> Result<()> {
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

    pub(super) fn counts_generation(&self) -> bool {
        if self.served.as_custom().is_some() {
            return true;
        }
        let gvr = self.served.stored_as();
        let has_spec = self.served.hub().schema.field("spec").is_some();
        strategy::counts_generation(&gvr.group, &gvr.resource, has_spec)
    }

    pub(super) fn check(&self, name: &str, errors: &ErrorList) -> Result<()> {
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&self.served.gvk, name, errors)) }
    }

    pub(super) fn warn(&self, warnings: Vec<String>) {
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

pub(super) async fn settle(reservation: Option<Reservation>, keep: bool) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
