//! One version of a custom resource as a [`Kind`].

use super::version::{CustomVersion, OBJECT_META};
use api::{Kind, NameRule, ScalePaths};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::jsonpath::JsonPath;
use apimachinery::schema;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

impl Kind for CustomVersion {
    fn group_kind(&self) -> (&str, &str) {
        (&self.all.definition.group, &self.all.definition.accepted.kind)
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Dns1123Subdomain
    }

    fn conform(&self, object: &mut Value) -> Option<Result<Vec<String>, String>> {
        let mut unknown = match conform_metadata(object) {
            Ok(unknown) => unknown,
            Err(e) => return Some(Err(e)),
        };
        let Some(rules) = self.rules() else { return Some(Ok(unknown)) };
        Some(rules.decode(object).map_err(|e| e.to_string()).map(|more| {
            unknown.extend(more);
            unknown
        }))
    }

    fn default(&self, object: &mut Value) {
        if let Some(rules) = self.rules() {
            apiextensions::default(rules.schema(), object);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = self.rules().map(|rules| rules.validate_create(object)).unwrap_or_default();
        errors.extend(self.scale_errors(object));
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.rules().map(|rules| rules.validate_update(object, old)).unwrap_or_default();
        errors.extend(self.scale_errors(object));
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        let rules = self.rules();
        let mut errors = rules.map(|rules| rules.validate_status_update(object, old)).unwrap_or_default();
        errors.extend(self.scale_errors(object));
        errors
    }

    fn columns(&self) -> Vec<Column> {
        self.columns.columns()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        self.columns.row(object, now)
    }

    fn scale(&self) -> Option<ScalePaths> {
        self.scale.clone()
    }
}

/// Metadata has its own form, whatever the schema says. Answers the paths of unknown fields.
fn conform_metadata(object: &mut Value) -> Result<Vec<String>, String> {
    let Some(metadata) = object.get_mut("metadata") else { return Ok(Vec::new()) };
    if metadata.is_null() {
        *metadata = Value::Object(serde_json::Map::new());
    }
    let unknown = schema::prune(&OBJECT_META.schema, metadata).map_err(|e| e.to_string())?;
    Ok(unknown.into_iter().map(|path| format!("metadata.{path}")).collect())
}

impl CustomVersion {
    fn scale_errors(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(scale) = &self.scale else { return errors };
        for path in [&scale.spec_replicas, &scale.status_replicas] {
            let Some(number) = at(object, path).and_then(Value::as_i64) else { continue };
            let detail = if number < 0 {
                "should be a non-negative integer"
            } else if number > i64::from(i32::MAX) {
                "should be less than or equal to 2147483647"
            } else {
                continue;
            };
            errors.push(FieldError::invalid(&Path::new(path), number, detail));
        }
        errors
    }
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    JsonPath::parse(path).ok()?.first(object)
}
