//! Rules of lists in claims, classes and slices.

use crate::validation::Errors;
use apimachinery::field::{ErrorList, FieldError, Path};
use serde_json::Value;
use std::collections::HashSet;

/// At most `max` items, each of them right. Items of a list that is too long are not looked at.
pub fn limited(
    items: &[Value],
    max: usize,
    path: &Path,
    errors: &mut ErrorList,
    mut check: impl FnMut(&Value, &Path, &mut ErrorList),
) {
    if items.len() > max {
        return errors.push(FieldError::too_many(path, items.len(), max));
    }
    for (i, item) in items.iter().enumerate() {
        check(item, &path.index(i), errors);
    }
}

/// No two items with the same key; the whole item is shown.
pub fn unique<'a, K: std::hash::Hash + Eq>(
    items: &'a [Value],
    path: &Path,
    errors: &mut ErrorList,
    key: impl Fn(&'a Value) -> K,
) {
    let mut seen = HashSet::new();
    for (i, item) in items.iter().enumerate() {
        if !seen.insert(key(item)) {
            errors.duplicate(&path.index(i), item.clone());
        }
    }
}
