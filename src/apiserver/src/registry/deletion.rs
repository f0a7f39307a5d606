//! Deletion: preconditions, grace, finalizers, and the end.

use super::error::status;
use super::key::key;
use super::served::Served;
use super::strategy;
use super::writer::{Writer, bytes};
use crate::admission::Operation;
use crate::customresources;
use apimachinery::status::{Result, Status};
use apimachinery::{meta, time};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::sync::Arc;
use storage::StorageError;

/// Set when dependents are to be orphaned; the garbage collector takes it off.
const ORPHAN_FINALIZER: &str = "orphan";
/// Set when dependents are to go first; the garbage collector takes it off.
const FOREGROUND_FINALIZER: &str = "foregroundDeletion";

/// What happens to an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They stay, without an owner.
    Orphan,
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    /// Seconds to leave the object for whoever has to wind it up.
    pub(crate) grace_seconds: Option<i64>,
    /// Delete only the object with this uid.
    pub(crate) uid: Option<String>,
    /// Delete only the object at this revision.
    pub(crate) resource_version: Option<String>,
    /// What happens to its dependents.
    pub(crate) propagation: Option<Propagation>,
}

/// What became of the object.
pub(crate) enum Deleted {
    /// It is gone; this was its last state.
    Gone(Bytes),
    /// It waits for its grace period or its finalizers.
    Pending(Bytes),
}

impl Writer<'_> {
    /// Deletes an object, or begins to.
    ///
    /// # Errors
    /// 404 when it does not exist, 409 when a precondition does not hold, and whatever admission refuses with.
    pub(crate) async fn delete(
        &self,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted> {
        let group_resource = self.served.group_resource();
        let not_found = || Status::not_found(&group_resource, name);
        let stored_as = self.served.stored_as();
        let key = key(stored_as, namespace, name);
        let mut current = self.registry.get(stored_as, namespace, name).await?.ok_or_else(not_found)?;
        let mut admitted = false;
        loop {
            let old = self.read(&current).await?.object;
            self.check_preconditions(&old, options, name)?;
            if !admitted {
                let request = self.request(Operation::Delete, namespace, name, Some(&old));
                self.chain.admit(&request, &mut Value::Null).await?;
                self.chain.validate(&request, &Value::Null).await?;
                admitted = true;
            }
            let result = match self.plan(&old, options) {
                Plan::Nothing => return Ok(Deleted::Pending(self.shown(current).await?)),
                Plan::Remove if self.dry_run => return Ok(Deleted::Gone(self.shown(current).await?)),
                Plan::Mark(object) if self.dry_run => return Ok(Deleted::Pending(bytes(&object)?)),
                Plan::Remove => {
                    self.registry.storage().delete(&key, current.revision).await.map(|last| (true, last))
                }
                Plan::Mark(object) => {
                    let encoded = self.encode(&object).await?;
                    let stored = self.registry.storage().update(&key, current.revision, encoded).await;
                    stored.map(|stored| (false, stored))
                }
            };
            match result {
                Ok((true, last)) => {
                    self.services.release(self.served, &old).await;
                    // It is gone, whether it can be shown or not.
                    let shown = self.shown(Arc::clone(&last)).await;
                    return Ok(Deleted::Gone(shown.unwrap_or_else(|_| last.value.clone())));
                }
                Ok((false, now)) => return Ok(Deleted::Pending(self.shown(now).await?)),
                Err(StorageError::Conflict { current: now, .. }) => current = now,
                Err(StorageError::NotFound { .. }) => return Err(not_found()),
                Err(e) => return Err(status(e, &group_resource, name)),
            }
        }
    }

    fn check_preconditions(&self, old: &Value, options: &DeleteOptions, name: &str) -> Result<()> {
        let conflict = |why: String| Err(Status::conflict(&self.served.group_resource(), name, why));
        if let Some(uid) = &options.uid
            && uid != meta::uid(old)
        {
            return conflict(format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                meta::uid(old)
            ));
        }
        if let Some(revision) = &options.resource_version
            && revision != meta::resource_version(old)
        {
            return conflict(format!(
                "Precondition failed: ResourceVersion in precondition: {revision}, ResourceVersion in object meta: {}",
                meta::resource_version(old)
            ));
        }
        Ok(())
    }

    fn plan(&self, old: &Value, options: &DeleteOptions) -> Plan {
        let mut object = old.clone();
        set_finalizers(&mut object, finalizers(self.served, old, options));
        let grace = grace_seconds(self.served, old, options);
        let pending = meta::metadata(old)
            .and_then(|m| m.get("deletionGracePeriodSeconds"))
            .and_then(Value::as_i64)
            .unwrap_or(0);
        if meta::is_terminating(old) {
            // Grace can only become shorter.
            if pending > 0 && grace < pending {
                shorten(&mut object, pending, grace);
            }
        } else {
            if is_definition(self.served) {
                customresources::begin_deletion(&mut object, self.now);
            }
            mark(&mut object, grace, self.now);
        }
        let left = meta::metadata(&object)
            .and_then(|m| m.get("deletionGracePeriodSeconds"))
            .and_then(Value::as_i64)
            .unwrap_or(0);
        let held = meta::finalizers(&object).next().is_some() || is_held_by_spec(self.served, &object);
        if !held && left == 0 {
            return Plan::Remove;
        }
        if is_namespace(self.served)
            && let Some(status) = api::value::ensure_object(&mut object, "status")
        {
            api::value::set(status, "phase", "Terminating");
        }
        if object == *old { Plan::Nothing } else { Plan::Mark(object) }
    }
}

enum Plan {
    /// It is on its way already.
    Nothing,
    /// Away with it.
    Remove,
    /// Store this, which says that it is to go.
    Mark(Value),
}

fn is_namespace(served: &Served) -> bool {
    served.stored_as().group.is_empty() && served.stored_as().resource == "namespaces"
}

fn is_definition(served: &Served) -> bool {
    let stored_as = served.stored_as();
    stored_as.group == "apiextensions.k8s.io" && stored_as.resource == "customresourcedefinitions"
}

/// Namespaces have finalizers of their own in `spec`.
fn is_held_by_spec(served: &Served, object: &Value) -> bool {
    is_namespace(served)
        && object.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|f| !f.is_empty())
}

/// Whether an update leaves an object that nothing holds any longer.
pub(crate) fn is_finished(served: &Served, object: &Value, old: &Value) -> bool {
    let grace = meta::metadata(old).and_then(|m| m.get("deletionGracePeriodSeconds")).and_then(Value::as_i64);
    meta::is_terminating(old)
        && grace.unwrap_or(0) == 0
        && meta::finalizers(object).next().is_none()
        && !is_held_by_spec(served, object)
}

fn mark(object: &mut Value, grace: i64, now: Timestamp) {
    let at = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
    meta::set(object, "deletionTimestamp", time::rfc3339(at));
    meta::set(object, "deletionGracePeriodSeconds", grace);
    let generation = meta::generation(object);
    if generation > 0 {
        meta::set(object, "generation", generation + 1);
    }
}

fn shorten(object: &mut Value, pending: i64, grace: i64) {
    let before = time::parse(meta::string(object, "deletionTimestamp"));
    if let Some(at) = before.and_then(|at| at.checked_add(SignedDuration::from_secs(grace - pending)).ok()) {
        meta::set(object, "deletionTimestamp", time::rfc3339(at));
    }
    meta::set(object, "deletionGracePeriodSeconds", grace);
}

/// Seconds that are left to the object. Only pods have somebody (the kubelet) who uses them.
fn grace_seconds(served: &Served, old: &Value, options: &DeleteOptions) -> i64 {
    /// Upstream's `DefaultTerminationGracePeriodSeconds`, for pods from before there was a default.
    const POD_DEFAULT: i64 = 30;
    if !(served.stored_as().group.is_empty() && served.stored_as().resource == "pods") {
        return 0;
    }
    let own = old.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    let mut grace = options.grace_seconds.or(own).unwrap_or(POD_DEFAULT);
    if grace < 0 {
        grace = 1;
    }
    let phase = old.pointer("/status/phase").and_then(Value::as_str).unwrap_or("");
    let node = old.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or("");
    if node.is_empty() || matches!(phase, "Succeeded" | "Failed") { 0 } else { grace }
}

/// The finalizers of an object that is deleted: the garbage collector's are decided here.
fn finalizers(served: &Served, old: &Value, options: &DeleteOptions) -> Vec<String> {
    let mut all: Vec<String> = meta::finalizers(old).map(str::to_owned).collect();
    let has = |name: &str| all.iter().any(|f| f == name);
    let stored_as = served.stored_as();
    let policy = match options.propagation {
        Some(policy) => policy,
        // What an earlier request wished for still counts.
        None if has(ORPHAN_FINALIZER) => Propagation::Orphan,
        None if has(FOREGROUND_FINALIZER) => Propagation::Foreground,
        None if strategy::orphans_by_default(&stored_as.group, &stored_as.resource) => Propagation::Orphan,
        None => Propagation::Background,
    };
    all.retain(|f| f != ORPHAN_FINALIZER && f != FOREGROUND_FINALIZER);
    match policy {
        Propagation::Orphan => all.push(ORPHAN_FINALIZER.to_owned()),
        Propagation::Foreground => all.push(FOREGROUND_FINALIZER.to_owned()),
        Propagation::Background => {}
    }
    all
}

fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        meta::remove(object, "finalizers");
    } else {
        meta::set(object, "finalizers", finalizers);
    }
}
