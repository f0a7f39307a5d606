//! Tracking of every write that is no apply.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::compare::{Comparison, compare, created};
use super::entry::{self, Entry, Operation};
use super::field_set::FieldSet;
use super::versions::{Alike, Elsewhere, Pending, Versions};
use crate::meta;
use crate::schema::SchemaRef;

static UNTRACKED: LazyLock<FieldSet> = LazyLock::new(|| {
    let metadata: Map<String, Value> = [
        ".",
        "f:clusterName",
        "f:creationTimestamp",
        "f:generation",
        "f:managedFields",
        "f:name",
        "f:namespace",
        "f:resourceVersion",
        "f:selfLink",
        "f:uid",
    ]
    .into_iter()
    .map(|step| (step.to_owned(), json!({})))
    .collect();
    let root = [("f:apiVersion", Map::new()), ("f:kind", Map::new()), ("f:metadata", metadata)];
    FieldSet::from_trie(
        root.into_iter().map(|(step, below)| (step.to_owned(), Value::Object(below))).collect(),
    )
});

/// The fields that nobody owns: identity, and what the server sets.
pub(super) fn untracked() -> &'static FieldSet {
    &UNTRACKED
}

/// Tracks a write that is no apply: what changed between `old` (None: the object comes to be) and `new` belongs to the
/// manager from now on, and what is gone belongs to nobody. Sets `new.metadata.managedFields`.
///
/// To be called after decoding and defaulting, before admission changes the object. Managed fields that `new` brings
/// along count if they can be read (a client may edit them; one empty entry drops them all), those of `old` otherwise.
/// An existing object without managed fields stays without.
///
/// # Cost
/// One walk over both objects; entries are only touched where fields changed.
pub fn update(
    schema: &SchemaRef,
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    api_version: &str,
    subresource: &str,
    now: &str,
) {
    // Nothing is converted, so that nothing is pending.
    let _ = update_versions(schema, old, new, manager, api_version, subresource, now, &Alike);
}

/// As [`update()`], of a kind whose versions may have other fields.
///
/// # Errors
/// [`Pending`] when a conversion has to be made first; `new` is not to be used then.
#[allow(clippy::too_many_arguments, reason = "those of `update`, and the versions")]
pub fn update_versions(
    schema: &SchemaRef,
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    api_version: &str,
    subresource: &str,
    now: &str,
    versions: &dyn Versions,
) -> Result<(), Pending> {
    let given = meta::remove(new, "managedFields");
    let stored = || old.and_then(meta::metadata).and_then(|metadata| metadata.get("managedFields"));
    let mut entries = match given {
        // Managed fields are not edited through a subresource.
        Some(_) if !subresource.is_empty() => Vec::new(),
        Some(given) if is_reset(&given) => return Ok(()),
        Some(given) => entry::decode(given).unwrap_or_default(),
        None => Vec::new(),
    };
    if entries.is_empty() {
        entries = stored().cloned().and_then(entry::decode).unwrap_or_default();
    }
    if entries.is_empty() && old.is_some() {
        return Ok(());
    }

    let node = schema.node();
    let Comparison { added, modified, removed } = match old {
        Some(old) => compare(node, old, new),
        None => Comparison { added: created(node, new), ..Comparison::default() },
    };
    let mut taken = modified;
    taken.add(added);
    taken.subtract(untracked());
    if let Some(old) = old {
        let elsewhere = Elsewhere::compare(versions, &entries, api_version, (old, new))?;
        entries.retain(|entry| elsewhere.knows(entry));
        for entry in &mut entries {
            let (taken, removed) = elsewhere.of(entry, (&taken, &removed));
            entry.fields.subtract(&taken);
            entry.fields.subtract(removed);
        }
    } else {
        entries.iter_mut().for_each(|entry| entry.fields.subtract(&taken));
    }
    if !taken.is_empty() {
        match entries.iter_mut().find(|e| e.is(Operation::Update, manager, api_version, subresource)) {
            Some(own) => {
                own.fields.add(taken);
                own.time = now.to_owned();
            }
            None => entries.push(Entry {
                manager: manager.to_owned(),
                operation: Operation::Update,
                api_version: api_version.to_owned(),
                subresource: subresource.to_owned(),
                time: now.to_owned(),
                fields: taken,
            }),
        }
    }
    entries.retain(|entry| !entry.fields.is_empty());
    entry::cap(&mut entries);
    if let Some(entries) = entry::encode(entries) {
        meta::set(new, "managedFields", entries);
    }
    Ok(())
}

/// One entry with nothing in it: the client wants no managed fields.
fn is_reset(entries: &Value) -> bool {
    matches!(entries, Value::Array(entries) if matches!(entries.as_slice(), [Value::Object(one)] if one.is_empty()))
}

#[cfg(test)]
#[path = "update_test.rs"]
mod tests;
