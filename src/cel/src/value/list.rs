//! Lists: JSON arrays read item by item, or computed.

use std::sync::Arc;

use serde_json::Value as Json;

use super::Value;
use crate::decl::{Decl, DeclKind, ListKind};
use crate::error::Answer;

/// A list.
#[derive(Clone, Debug)]
pub struct List<'a> {
    pub(crate) items: Items<'a>,
    /// What is declared of the list itself.
    pub(crate) decl: &'a Decl,
}

#[derive(Clone, Debug)]
pub(crate) enum Items<'a> {
    Json(&'a [Json]),
    Shared(Arc<Vec<Value<'a>>>),
}

impl<'a> List<'a> {
    pub(crate) fn new(items: Vec<Value<'a>>) -> Self {
        Self { items: Items::Shared(Arc::new(items)), decl: Decl::dynamic() }
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        match &self.items {
            Items::Json(items) => items.len(),
            Items::Shared(items) => items.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An item; `None` beyond the end. Reading JSON as its declared type may fail.
    pub fn get(&self, index: usize) -> Option<Answer<'a>> {
        match &self.items {
            Items::Json(items) => items.get(index).map(|item| Value::from_json(item, self.item_decl())),
            Items::Shared(items) => items.get(index).cloned().map(Ok),
        }
    }

    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = Answer<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    fn item_decl(&self) -> &'a Decl {
        match &self.decl.kind {
            DeclKind::List { items, .. } => items,
            _ => Decl::dynamic(),
        }
    }

    pub(crate) fn kind(&self) -> &'a ListKind {
        match &self.decl.kind {
            DeclKind::List { list, .. } => list,
            _ => &ListKind::Atomic,
        }
    }
}
