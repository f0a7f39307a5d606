//! Which part of the old value a part of the new one is compared with.

use std::collections::HashMap;

use serde_json::Value;

use crate::list_type::key;
use crate::schema::{ListType, StructuralSchema};

/// The old items of a list, as far as new ones can be compared with them.
pub(crate) enum Items<'a> {
    /// By position: the schema does not say how items are told apart.
    Index(&'a [Value]),
    /// By key.
    Key(&'a [Box<str>], HashMap<String, &'a Value>),
    /// Not at all: sets and atomic lists.
    None,
}

impl<'a> Items<'a> {
    pub(crate) fn of(schema: &'a StructuralSchema, old: &'a Value) -> Self {
        let Value::Array(items) = old else { return Self::None };
        match schema.list_type {
            None => Self::Index(items),
            Some(ListType::Map) => {
                let keys = &schema.list_map_keys;
                let mut by_key = HashMap::with_capacity(items.len());
                for item in items {
                    // Of items with the same key, the first counts.
                    by_key.entry(key(keys, item).to_string()).or_insert(item);
                }
                Self::Key(keys, by_key)
            }
            Some(ListType::Atomic | ListType::Set) => Self::None,
        }
    }

    /// What the new item at an index is compared with.
    pub(crate) fn get(&self, index: usize, item: &Value) -> Option<&'a Value> {
        match self {
            Self::Index(items) => items.get(index),
            Self::Key(keys, by_key) => by_key.get(&key(keys, item).to_string()).copied(),
            Self::None => None,
        }
    }
}

/// Whether a value is as it was. The order of a list with keys does not matter.
pub(crate) fn equal(schema: &StructuralSchema, value: &Value, old: &Value) -> bool {
    match (value, old) {
        (Value::Object(new), Value::Object(before)) => {
            new.len() == before.len()
                && new.iter().all(|(name, value)| {
                    before.get(name).is_some_and(|old| match schema.child(name) {
                        Some(schema) => equal(schema, value, old),
                        None => value == old,
                    })
                })
        }
        (Value::Array(new), Value::Array(before)) => match &schema.items {
            Some(item) if schema.list_type == Some(ListType::Map) => {
                let old = Items::of(schema, old);
                new.len() == before.len()
                    && new.iter().enumerate().all(|(index, value)| {
                        old.get(index, value).is_some_and(|old| equal(item, value, old))
                    })
            }
            Some(item) => {
                new.len() == before.len() && new.iter().zip(before).all(|(new, old)| equal(item, new, old))
            }
            None => new == before,
        },
        (new, before) => new == before,
    }
}
