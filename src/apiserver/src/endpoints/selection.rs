//! Which objects a list or watch selects, decided from what was extracted when they were cached.

use super::list_options::ListOptions;
use super::present;
use crate::registry::Served;
use apimachinery::fields::FieldSelector;
use apimachinery::jsonpath::JsonPath;
use apimachinery::labels::{Operator, Selector};
use apimachinery::status::{Result, Status};
use serde_json::Value;
use storage::{Filter, List, Object, Signature};

/// A selection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: Selector,
    fields: FieldSelector,
    /// Where fields of custom resources are found. What is cached of objects does not hold them.
    paths: Vec<(String, JsonPath)>,
}

impl Selection {
    /// The selection of a request, in terms of the fields that are stored.
    ///
    /// # Errors
    /// 400 for a field that cannot be selected by.
    pub(crate) fn new(options: &ListOptions, served: &Served) -> Result<Self> {
        let mut fields = options.fields.clone();
        let mut paths = Vec::new();
        for term in &mut fields.terms {
            if let Some(path) = served.selectable_path(&term.field) {
                paths.push((term.field.clone(), path.clone()));
            } else if let Some(stored) = served.stored_field(&term.field) {
                term.field = stored;
            } else {
                return Err(Status::bad_request(format!("field label not supported: {}", term.field)));
            }
        }
        Ok(Self { labels: options.labels.clone(), fields, paths })
    }

    /// Whether everything is selected.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is selected.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        if !self.labels.matches(&object.attrs) {
            return false;
        }
        if self.paths.is_empty() {
            return self.fields.matches(|field| object.attrs.field(field));
        }
        let tree = present::stored_tree(&object.value).unwrap_or_default();
        let found: Vec<(&str, String)> =
            self.paths.iter().map(|(field, path)| (field.as_str(), text_of(path.first(&tree)))).collect();
        self.fields.matches(|field| match found.iter().find(|(name, _)| *name == field) {
            Some((_, value)) => Some(value.as_str()),
            None => object.attrs.field(field),
        })
    }

    /// What the store can tell without looking into objects; nothing when that is everything. If the selection
    /// [looks into objects](Self::looks_into_objects), [`Selection::pick`] has to pick from what the store found.
    pub(crate) fn filter(&self) -> Option<Filter> {
        let told = self.told();
        if told.is_everything() {
            return None;
        }
        Some(Filter::new(self.signature(), move |object| told.matches(object)))
    }

    /// Whether what is cached of objects does not tell if they are selected.
    pub(crate) fn looks_into_objects(&self) -> bool {
        !self.paths.is_empty()
    }

    /// Leaves what is selected in a list of what the store found: at most `limit` objects, zero for all. Parsing objects
    /// takes too long to be done under the cache's lock.
    pub(crate) fn pick(&self, list: &mut List, limit: usize) {
        let found = std::mem::take(&mut list.items);
        let mut selected = found.into_iter().filter(|object| self.matches(object));
        list.items = selected.by_ref().take(if limit == 0 { usize::MAX } else { limit }).collect();
        list.more |= selected.next().is_some();
    }

    /// The part that what is cached of objects tells.
    fn told(&self) -> Self {
        let mut told = self.clone();
        for (path, _) in std::mem::take(&mut told.paths) {
            told.fields.terms.retain(|term| term.field != path);
        }
        told
    }

    /// What every selected object has.
    fn signature(&self) -> Signature {
        let labels =
            self.labels.requirements.iter().filter_map(|requirement| match requirement.values.as_slice() {
                [value] if matches!(requirement.operator, Operator::Equals | Operator::In) => {
                    Some((&requirement.key, value))
                }
                _ => None,
            });
        let signature = labels.fold(Signature::default(), |all, (key, value)| all.with_label(key, value));
        // A field that an object does not have is selected as an empty one, and custom ones are not cached.
        let cached = |field: &str| !self.paths.iter().any(|(path, _)| path == field);
        let terms = self.fields.terms.iter().filter(|t| t.equal && !t.value.is_empty() && cached(&t.field));
        terms.fold(signature, |all, term| all.with_field(&term.field, &term.value))
    }

    /// The one name that a field selector asks for.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.exact("metadata.name").filter(|name| !name.is_empty() && !name.contains('/'))
    }
}

/// A scalar as selectors name it; what is absent is empty.
fn text_of(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => String::new(),
    }
}
