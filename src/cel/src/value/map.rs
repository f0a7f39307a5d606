//! Maps and objects: JSON objects read field by field, or computed.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Text, Value};
use crate::decl::{Decl, DeclKind};
use crate::error::Answer;
use crate::types::ObjectType;

/// A map or an object.
#[derive(Clone, Debug)]
pub struct Map<'a> {
    pub(crate) entries: Entries<'a>,
    /// What is declared of the map itself.
    pub(crate) decl: &'a Decl,
}

#[derive(Clone, Debug)]
pub(crate) enum Entries<'a> {
    Json(&'a serde_json::Map<String, Json>),
    Shared(Arc<BTreeMap<Key<'a>, Value<'a>>>),
    /// An object that an expression built; its keys are names in JSON.
    Object(Arc<ObjectType>, Arc<BTreeMap<String, Value<'a>>>),
}

/// A key of a map. Numbers of both kinds are one key if they are equal.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    /// A bool.
    Bool(bool),
    /// An int.
    Int(i64),
    /// A uint.
    Uint(u64),
    /// A string.
    String(Text<'a>),
}

impl<'a> Map<'a> {
    pub(crate) fn new(entries: BTreeMap<Key<'a>, Value<'a>>) -> Self {
        Self { entries: Entries::Shared(Arc::new(entries)), decl: Decl::dynamic() }
    }

    pub(crate) fn built(of: Arc<ObjectType>, fields: BTreeMap<String, Value<'a>>) -> Self {
        Self { entries: Entries::Object(of, Arc::new(fields)), decl: Decl::dynamic() }
    }

    /// The number of entries or fields.
    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::Json(entries) => entries.len(),
            Entries::Shared(entries) => entries.len(),
            Entries::Object(_, fields) => fields.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the object's type, if this is an object.
    pub fn object_name(&self) -> Option<&str> {
        match (&self.entries, &self.decl.kind) {
            (Entries::Object(of, _), _) | (_, DeclKind::Object(of)) => Some(&of.name),
            _ => None,
        }
    }

    /// The value of a field or of a string key; fields go by their escaped names.
    pub fn field(&self, name: &str) -> Option<Answer<'a>> {
        match &self.entries {
            Entries::Json(entries) => match &self.decl.kind {
                DeclKind::Object(of) => {
                    let field = of.field(name)?;
                    entries.get(&field.name).map(|value| Value::from_json(value, &field.decl))
                }
                DeclKind::Map { values } => entries.get(name).map(|value| Value::from_json(value, values)),
                _ => entries.get(name).map(|value| Value::from_json(value, Decl::dynamic())),
            },
            Entries::Shared(entries) => lookup(entries, &Key::String(Text::Borrowed(name))).cloned().map(Ok),
            Entries::Object(of, fields) => {
                let name = of.field(name).map_or(name, |field| &field.name);
                fields.get(name).cloned().map(Ok)
            }
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &Key<'_>) -> Option<Answer<'a>> {
        match (&self.entries, key) {
            (Entries::Shared(entries), key) => lookup(entries, key).cloned().map(Ok),
            (_, Key::String(name)) => self.field(name),
            _ => None,
        }
    }

    /// The keys, in order. Of objects, the escaped names of fields that are there.
    pub fn keys(&self) -> Vec<Key<'a>> {
        match &self.entries {
            Entries::Json(entries) => match &self.decl.kind {
                DeclKind::Object(of) => of
                    .fields
                    .iter()
                    .filter(|(_, field)| entries.contains_key(&field.name))
                    .map(|(name, _)| Key::String(Text::Borrowed(name)))
                    .collect(),
                _ => entries.keys().map(|name| Key::String(Text::Borrowed(name))).collect(),
            },
            Entries::Shared(entries) => entries.keys().cloned().collect(),
            Entries::Object(_, fields) => {
                fields.keys().map(|name| Key::String(Text::Shared(name.as_str().into()))).collect()
            }
        }
    }

    /// Keys and values, in order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (Key<'a>, Answer<'a>)> + '_ {
        self.keys().into_iter().filter_map(|key| self.get(&key).map(|value| (key, value)))
    }
}

fn lookup<'m, 'k, 'a>(entries: &'m BTreeMap<Key<'a>, Value<'a>>, key: &Key<'k>) -> Option<&'m Value<'a>> {
    // A key of another lifetime cannot be compared with the map's as it is: the text is copied.
    let owned: Key<'a> = match key {
        Key::Bool(value) => Key::Bool(*value),
        Key::Int(value) => Key::Int(*value),
        Key::Uint(value) => Key::Uint(*value),
        Key::String(text) => Key::String(Text::Shared(Arc::from(&**text))),
    };
    entries.get(&owned)
}

impl<'a> Key<'a> {
    /// The key as a value.
    pub fn to_value(&self) -> Value<'a> {
        match self {
            Key::Bool(value) => Value::Bool(*value),
            Key::Int(value) => Value::Int(*value),
            Key::Uint(value) => Value::Uint(*value),
            Key::String(text) => Value::String(text.clone()),
        }
    }

    /// The value as a key; a double that is a whole number is one too.
    pub(crate) fn of(value: &Value<'a>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(*value),
            Value::Uint(value) => Key::Uint(*value),
            Value::String(text) => Key::String(text.clone()),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 => {
                Key::Int(*value as i64)
            }
            _ => return None,
        })
    }

    fn rank(&self) -> u8 {
        match self {
            Key::Bool(_) => 0,
            Key::Int(_) | Key::Uint(_) => 1,
            Key::String(_) => 2,
        }
    }

    fn number(&self) -> i128 {
        match self {
            Key::Bool(value) => i128::from(*value),
            Key::Int(value) => i128::from(*value),
            Key::Uint(value) => i128::from(*value),
            Key::String(_) => 0,
        }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Key::String(a), Key::String(b)) => (**a).cmp(b),
            _ => self.rank().cmp(&other.rank()).then_with(|| self.number().cmp(&other.number())),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}
