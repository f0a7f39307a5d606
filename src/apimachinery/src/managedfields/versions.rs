//! Managers of other versions: what they own is compared, and taken away, in their own version.
//!
//! Upstream counterpart: the `Converter` of `sigs.k8s.io/structured-merge-diff/v6/merge`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::entry::Entry;
use super::field_set::FieldSet;
use super::{extract, merge};
use crate::schema::SchemaRef;

/// A conversion has to be made before it can go on: have it made, and call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending;

/// The versions of a kind.
pub trait Versions {
    /// Whether they differ in more than their name. If not, nothing is ever converted.
    fn differ(&self) -> bool;

    /// An object in a version (`group/version`, maybe its own), with the schema of that; `None` where there is no such
    /// version.
    ///
    /// # Errors
    /// [`Pending`] when that has to be found out first.
    fn convert(&self, object: &Value, to: &str) -> Result<Option<(SchemaRef, Value)>, Pending>;
}

/// Versions that have the same fields.
#[derive(Clone, Copy, Debug)]
pub struct Alike;

impl Versions for Alike {
    fn differ(&self) -> bool {
        false
    }

    fn convert(&self, _: &Value, _: &str) -> Result<Option<(SchemaRef, Value)>, Pending> {
        Ok(None)
    }
}

/// What a write changed, as the managers of other versions see it.
pub(super) struct Elsewhere(BTreeMap<String, Option<Comparison>>);

impl Elsewhere {
    /// Compares two objects of version `own` in the versions of the entries.
    pub(super) fn compare(
        versions: &dyn Versions,
        entries: &[Entry],
        own: &str,
        (old, new): (&Value, &Value),
    ) -> Result<Self, Pending> {
        let mut all = BTreeMap::new();
        for entry in entries.iter().filter(|entry| versions.differ() && entry.api_version != own) {
            if all.contains_key(&entry.api_version) {
                continue;
            }
            let version = &entry.api_version;
            let comparison = match (versions.convert(old, version)?, versions.convert(new, version)?) {
                (Some((schema, old)), Some((_, new))) => Some(compare(schema.node(), &old, &new)),
                _ => None,
            };
            all.insert(version.clone(), comparison);
        }
        Ok(Self(all))
    }

    /// Whether the version of an entry is still there: what was owned in one that is gone is nobody's.
    pub(super) fn knows(&self, entry: &Entry) -> bool {
        self.0.get(&entry.api_version).is_none_or(Option::is_some)
    }

    /// What was set, and what was removed, in the version of an entry; `here` is that in the version of the write.
    pub(super) fn of<'a>(
        &'a self,
        entry: &Entry,
        here: (&'a FieldSet, &'a FieldSet),
    ) -> (std::borrow::Cow<'a, FieldSet>, &'a FieldSet) {
        use std::borrow::Cow;
        match self.0.get(&entry.api_version) {
            Some(Some(comparison)) => {
                let mut taken = comparison.modified.clone();
                taken.add(comparison.added.clone());
                (Cow::Owned(taken), &comparison.removed)
            }
            _ => (Cow::Borrowed(here.0), here.1),
        }
    }
}

/// Takes out of a merged object of version `own` what its applier owned by its last configuration, does not by `set`
/// now, and nobody else owns; each owner is asked in its own version.
pub(super) fn prune(
    versions: &dyn Versions,
    own: &str,
    merged: Value,
    last: &Entry,
    set: &FieldSet,
    others: &[Entry],
) -> Result<Value, Pending> {
    let mut owned: BTreeMap<&str, FieldSet> = BTreeMap::new();
    owned.insert(own, set.clone().with_named_parents());
    for other in others {
        owned.entry(other.api_version.as_str()).or_default().add(other.fields.clone().with_named_parents());
    }
    let Some((schema, whole)) = versions.convert(&merged, &last.api_version)? else { return Ok(merged) };
    let applied = last.fields.clone().with_named_parents();
    let mut gone = applied.clone();
    if let Some(owned) = owned.remove(last.api_version.as_str()) {
        gone.subtract(&owned);
    }
    let mut pruned = whole.clone();
    merge::remove(schema.node(), &mut pruned, &gone);
    // What others own in other versions comes back.
    for (version, owned) in owned {
        let (Some((schema, all)), Some((_, left))) =
            (versions.convert(&merged, version)?, versions.convert(&pruned, version)?)
        else {
            continue;
        };
        let mut gone = missing(&schema, &all, &left);
        gone.subtract(&owned);
        pruned = all;
        merge::remove(schema.node(), &mut pruned, &gone);
    }
    // And so does what only the way through other versions has lost.
    let Some((_, left)) = versions.convert(&pruned, &last.api_version)? else { return Ok(merged) };
    let gone = missing(&schema, &whole, &left).intersection(&applied);
    let mut pruned = whole;
    merge::remove(schema.node(), &mut pruned, &gone);
    Ok(versions.convert(&pruned, own)?.map_or(merged, |(_, pruned)| pruned))
}

/// The fields that one object has and another has not.
fn missing(schema: &SchemaRef, from: &Value, than: &Value) -> FieldSet {
    let fields = |object| extract::fields(schema.node(), object).with_named_parents();
    let mut missing = fields(from);
    missing.subtract(&fields(than));
    missing
}
