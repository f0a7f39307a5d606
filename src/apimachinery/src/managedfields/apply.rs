//! Server-side apply.

use serde_json::{Map, Value};

use super::compare::{compare, created};
use super::conflict::{self, Conflict};
use super::entry::{self, Entry, Operation};
use super::field_set::FieldSet;
use super::update::untracked;
use super::versions::{Alike, Elsewhere, Pending, Versions};
use super::{extract, last_applied, merge};
use crate::gvk::parse_api_version;
use crate::meta;
use crate::schema::{Node, SchemaRef};
use crate::status::{Reason, Status};

/// Owner of all fields of an object that was written before anybody's fields were tracked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Who applies, and how.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
    /// The field manager; `kubectl` takes over from client-side apply.
    pub manager: &'a str,
    /// Take fields from other managers instead of failing.
    pub force: bool,
    /// The version that is applied, as `apps/v1`.
    pub api_version: &'a str,
    /// The subresource that is applied to; empty for the object itself.
    pub subresource: &'a str,
    /// Now, as RFC 3339 with whole seconds.
    pub now: &'a str,
}

/// Applies a configuration to an object (None: it comes to be), and returns the object with its managed fields.
///
/// Fields that the manager applied before, has no longer in the configuration and nobody else owns are removed. The
/// outcome is to be pruned, defaulted and validated as any write; what that changes belongs to nobody.
/// If the configuration changes nothing, the outcome equals `live`, its managed fields included.
///
/// # Errors
/// 400 for another version or given managed fields, 500 (as Kubernetes has it) for a configuration that the schema
/// does not allow, 409 for fields that another manager owns with another value.
pub fn apply(
    schema: &SchemaRef,
    live: Option<&Value>,
    config: Value,
    how: &Apply<'_>,
) -> Result<Value, Status> {
    apply_to_versions(schema, live, config, how, &Alike).map_err(|unfinished| match unfinished {
        Unfinished::Refused(status) => *status,
        // Nothing is converted.
        Unfinished::Pending => Status::internal("a conversion is pending"),
    })
}

/// Why an apply has no outcome.
#[derive(Debug)]
pub enum Unfinished {
    /// See [`apply()`].
    Refused(Box<Status>),
    /// A conversion has to be made first.
    Pending,
}

impl From<Status> for Unfinished {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl From<Pending> for Unfinished {
    fn from(Pending: Pending) -> Self {
        Self::Pending
    }
}

/// As [`apply()`], of a kind whose versions may have other fields.
///
/// # Errors
/// Those of [`apply()`], or that a conversion has to be made first.
pub fn apply_to_versions(
    schema: &SchemaRef,
    live: Option<&Value>,
    config: Value,
    how: &Apply<'_>,
    versions: &dyn Versions,
) -> Result<Value, Unfinished> {
    let ty = schema.node();
    let config = checked(ty, config, how)?;
    // The name is part of it, so an applier that gives up all other metadata does not give up metadata itself.
    let mut configured = extract::fields(ty, &config);
    drop_reset_fields(ty, &mut configured, how.subresource);
    let mut set = configured.clone();
    set.subtract(untracked());

    let none = Value::Object(Map::new());
    let mut entries = managers(ty, live, how);
    let (live, is_new) = (live.unwrap_or(&none), live.is_none());

    // The applier's own entry is taken out while the others are worked on.
    let is_own = |e: &Entry| e.is(Operation::Apply, how.manager, how.api_version, how.subresource);
    let last = entries.iter().position(is_own).map(|at| entries.swap_remove(at));

    let mut merged = live.clone();
    meta::remove(&mut merged, "managedFields");
    merge::merge(ty, &mut merged, &config);
    if let Some(last) = &last {
        let elsewhere = |entry: &Entry| entry.api_version != how.api_version;
        if versions.differ() && (elsewhere(last) || entries.iter().any(elsewhere)) {
            merged = super::versions::prune(versions, how.api_version, merged, last, &configured, &entries)?;
        } else {
            merge::remove(ty, &mut merged, &abandoned(last, &configured, &entries));
        }
    }

    let differences = compare(ty, live, &merged);
    let mut taken = differences.modified;
    taken.add(differences.added);
    // An object that comes to be has no entries.
    let elsewhere = Elsewhere::compare(versions, &entries, how.api_version, (live, &merged))?;
    entries.retain(|entry| elsewhere.knows(entry));
    let of = |entry: &Entry| elsewhere.of(entry, (&taken, &differences.removed));
    let conflicts = conflicts(&entries, |entry| entry.fields.intersection(&of(entry).0));
    if !conflicts.is_empty() && !how.force {
        let conflicts = not_from_client_side_apply(ty, live, how, conflicts);
        if !conflicts.is_empty() {
            return Err(conflict::status(conflicts).into());
        }
    }
    for entry in &mut entries {
        let (taken, removed) = of(entry);
        entry.fields.subtract(&taken);
        entry.fields.subtract(removed);
    }

    if how.manager == last_applied::MANAGER {
        last_applied::renew(&mut merged, &config);
    }
    let same_set =
        last.as_ref().is_some_and(|last| last.fields == set && last.api_version == how.api_version);
    let changed = is_new || !same_set || !same_but_managed_fields(live, &merged);
    let time = match last {
        Some(last) if !changed => last.time,
        _ => how.now.to_owned(),
    };
    entries.push(Entry {
        manager: how.manager.to_owned(),
        operation: Operation::Apply,
        api_version: how.api_version.to_owned(),
        subresource: how.subresource.to_owned(),
        time,
        fields: set,
    });
    if let Some(entries) = entry::encode(entries) {
        meta::set(&mut merged, "managedFields", entries);
    }
    Ok(merged)
}

fn text<'a>(config: &'a Value, field: &str) -> &'a str {
    config.get(field).and_then(Value::as_str).unwrap_or("")
}

/// The configuration, if it may be applied at all.
fn checked(ty: Node<'_>, mut config: Value, how: &Apply<'_>) -> Result<Value, Status> {
    let version = text(&config, "apiVersion");
    if version != how.api_version {
        return Err(Status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            how.api_version
        )));
    }
    match meta::remove(&mut config, "managedFields") {
        None | Some(Value::Null) => {}
        Some(Value::Array(entries)) if entries.is_empty() => {}
        Some(_) => return Err(Status::bad_request("metadata.managedFields must be nil")),
    }
    extract::check(ty, &mut config).map_err(|why| {
        let (group, version) = parse_api_version(how.api_version);
        let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let message = format!(
            "failed to create typed patch object ({}/{}; {group_version}, Kind={}): {why}",
            meta::namespace(&config),
            meta::name(&config),
            text(&config, "kind")
        );
        Status::failure(500, Reason::default(), message)
    })?;
    Ok(config)
}

/// What an endpoint resets cannot be owned through it: status through the object, spec through its status. The rule of
/// built-in kinds; custom ones, whose types are nameless, may have a status without a subresource.
fn drop_reset_fields(ty: Node<'_>, set: &mut FieldSet, subresource: &str) {
    match subresource {
        "" if !ty.name().is_empty() => set.remove_field("status"),
        "status" => set.remove_field("spec"),
        _ => {}
    }
}

/// The entries of the live object. If nobody's fields were tracked so far, one that owns everything.
fn managers(ty: Node<'_>, live: Option<&Value>, how: &Apply<'_>) -> Vec<Entry> {
    let Some(live) = live else { return Vec::new() };
    let stored = meta::metadata(live).and_then(|metadata| metadata.get("managedFields")).cloned();
    let entries = stored.and_then(entry::decode).unwrap_or_default();
    if !entries.is_empty() {
        return entries;
    }
    let mut fields = created(ty, live);
    fields.subtract(untracked());
    if fields.is_empty() {
        return Vec::new();
    }
    vec![Entry {
        manager: BEFORE_FIRST_APPLY.to_owned(),
        operation: Operation::Update,
        api_version: how.api_version.to_owned(),
        subresource: how.subresource.to_owned(),
        time: how.now.to_owned(),
        fields,
    }]
}

/// What the manager applied last time, does not now, and nobody else owns.
fn abandoned(last: &Entry, set: &FieldSet, others: &[Entry]) -> FieldSet {
    let mut abandoned = last.fields.clone().with_named_parents();
    abandoned.subtract(&set.clone().with_named_parents());
    for other in others {
        abandoned.subtract(&other.fields.clone().with_named_parents());
    }
    abandoned
}

fn conflicts(entries: &[Entry], lost: impl Fn(&Entry) -> FieldSet) -> Vec<Conflict> {
    let owned = entries.iter().map(|entry| (entry, lost(entry)));
    let owned = owned.filter(|(_, fields)| !fields.is_empty());
    owned.map(|(entry, fields)| Conflict { manager: entry.describe(), fields }).collect()
}

/// What is left of the conflicts when the fields are let go that client-side apply set, if kubectl applies now.
/// None left means that it may go on as if forced.
fn not_from_client_side_apply(
    ty: Node<'_>,
    live: &Value,
    how: &Apply<'_>,
    mut conflicts: Vec<Conflict>,
) -> Vec<Conflict> {
    if how.manager == last_applied::MANAGER {
        let allowed = last_applied::unchanged_fields(ty, live);
        conflicts.iter_mut().for_each(|conflict| conflict.fields.subtract(&allowed));
        conflicts.retain(|conflict| !conflict.fields.is_empty());
    }
    conflicts
}

/// Whether two objects are equal but for managed fields.
fn same_but_managed_fields(a: &Value, b: &Value) -> bool {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return a == b };
    let parts = |object: &Map<String, Value>| object.len();
    parts(a) == parts(b)
        && a.iter().all(|(key, a)| match (key.as_str(), a, b.get(key)) {
            ("metadata", Value::Object(a), Some(Value::Object(b))) => {
                let rest = |m: &Map<String, Value>| m.len() - usize::from(m.contains_key("managedFields"));
                rest(a) == rest(b)
                    && a.iter().all(|(key, value)| key == "managedFields" || b.get(key) == Some(value))
            }
            (_, a, b) => b == Some(a),
        })
}

#[cfg(test)]
#[path = "apply_test.rs"]
mod tests;
