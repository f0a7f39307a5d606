//! Changing an object that is there: a write of [`super::writer`].

use super::error::{Failure, status};
use super::key::key;
use super::writer::{Change, Writer, bytes, settle};
use super::{admin_access, dates, meta_rules, strategy};
use crate::admission::{Operation, Request};
use crate::customresources::{self, Read};
use crate::endpoints::scale;
use apimachinery::gvk::Gvk;
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::sync::Arc;
use storage::{Object, StorageError};

/// How often a write that lost against another one is tried again (upstream's count for patches).
const CONFLICT_RETRIES: usize = 5;

impl Writer<'_> {
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
        let (stored_as, group_resource) = (self.served.stored_as(), self.served.group_resource());
        let not_found = || Status::not_found(&group_resource, name);
        // A write fails when its object was outdated. Whatever else comes of it has to be of one that was not.
        let (mut most_recent, mut conflicts) = (self.dry_run, 0);
        let found = match most_recent {
            true => self.registry.get(stored_as, namespace, name).await?,
            false => self.registry.recent(stored_as, namespace, name).await?,
        };
        let mut current = found.ok_or_else(not_found)?;
        loop {
            let refused = match self.attempt(&current, &mut change, namespace, name).await {
                Ok(Some(shown)) => return shown,
                Ok(None) => None,
                Err(Failure::Refused(status)) => Some(*status),
                Err(Failure::Store(StorageError::Conflict { current: now, .. })) => {
                    if conflicts == CONFLICT_RETRIES {
                        return Err(Status::modified(&group_resource, name));
                    }
                    (current, most_recent, conflicts) = (now, true, conflicts + 1);
                    continue;
                }
                Err(Failure::Store(StorageError::NotFound { .. })) => return Err(not_found()),
                Err(Failure::Store(e)) => return Err(status(e, &group_resource, name)),
            };
            if !most_recent {
                most_recent = true;
                let now = self.registry.get(stored_as, namespace, name).await?.ok_or_else(not_found)?;
                if now.revision != current.revision {
                    current = now;
                    continue;
                }
            }
            return match refused {
                Some(status) => Err(status),
                None => self.shown(current).await,
            };
        }
    }

    /// Changes an object as it is believed to be. Answers what there is to show once it is stored; None when there is
    /// nothing to change.
    async fn attempt(
        &self,
        current: &Arc<Object>,
        change: &mut (impl FnMut(&Value) -> Result<Change> + Send),
        namespace: &str,
        name: &str,
    ) -> std::result::Result<Option<Result<Bytes>>, Failure> {
        let Read { object: old, outdated } = self.read(current).await?;
        let Change { mut object, tracked } = change(&old)?;
        self.check_revision(&mut object, current)?;
        self.prepare_update(&mut object, &old, tracked, namespace, name).await?;
        let unchanged = !outdated && same_but_for_times(&object, &old);
        // What is stored in another way than it would be now is written again.
        if unchanged && (self.dry_run || !self.registry.storage().is_stale(&current.key).await) {
            return Ok(None);
        }
        self.commit_update(object, &old, current, namespace, name).await.map(Some)
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
    ) -> std::result::Result<Result<Bytes>, Failure> {
        let storage = self.registry.storage();
        let key = key(self.served.stored_as(), namespace, name);
        // What does not change is written nevertheless when it is encrypted with a key that is to go.
        if super::deletion::is_finished(self.served, &object, old) {
            if !self.dry_run {
                storage.delete(&key, current.revision).await?;
                self.services.release(self.served, old).await;
            }
            return Ok(bytes(&object));
        }
        let reservation = self.services.begin_update(self, &mut object, old).await?;
        if self.dry_run {
            settle(reservation, false).await;
            return Ok(bytes(&object));
        }
        let stored = match self.encode(&object).await {
            Ok(encoded) => storage.update(&key, current.revision, encoded).await.map_err(Failure::from),
            Err(e) => Err(Failure::from(e)),
        };
        settle(reservation, stored.is_ok()).await;
        Ok(self.shown(stored?).await)
    }
}

fn scale_kind() -> Gvk {
    Gvk::new("autoscaling", "v1", "Scale")
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
}
