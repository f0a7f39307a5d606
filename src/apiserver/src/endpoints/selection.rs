//! Which objects a list or watch selects, decided from what was extracted when they were cached.

use super::list_options::ListOptions;
use crate::registry::Served;
use apimachinery::fields::FieldSelector;
use apimachinery::labels::Selector;
use apimachinery::status::{Result, Status};
use std::sync::Arc;
use storage::{Filter, Object};

/// A selection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: Selector,
    fields: FieldSelector,
}

impl Selection {
    /// The selection of a request, in terms of the fields that are stored.
    ///
    /// # Errors
    /// 400 for a field that cannot be selected by.
    pub(crate) fn new(options: &ListOptions, served: &Served) -> Result<Self> {
        let mut fields = options.fields.clone();
        for term in &mut fields.terms {
            if let Some(stored) = served.stored_field(&term.field) {
                term.field = stored;
            } else {
                return Err(Status::bad_request(format!("field label not supported: {}", term.field)));
            }
        }
        Ok(Self { labels: options.labels.clone(), fields })
    }

    /// Whether everything is selected.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is selected.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.fields.matches(|field| object.attrs.field(field)) && self.labels.matches(&object.attrs)
    }

    /// As the store wants it; nothing when everything is selected.
    pub(crate) fn filter(&self) -> Option<Filter> {
        if self.is_everything() {
            return None;
        }
        let selection = self.clone();
        Some(Arc::new(move |object: &Object| selection.matches(object)))
    }

    /// The one name that a field selector asks for.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.exact("metadata.name").filter(|name| !name.is_empty() && !name.contains('/'))
    }
}
