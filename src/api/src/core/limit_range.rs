//! LimitRange: <https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/limit-range-v1/>.

use super::pod::validation::resource_name;
use crate::kind::Kind;
use crate::validation::{Errors, quantity, quantity_text};
use crate::value::{at_mut, default, ensure_object, entries, field, has, list, list_mut, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const MAPS: [&str; 5] = ["default", "defaultRequest", "max", "maxLimitRequestRatio", "min"];

/// The kind.
#[derive(Debug)]
pub struct LimitRange;

impl Kind for LimitRange {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "LimitRange")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["limits"]
    }

    /// For containers, a default limit follows from the maximum, a default request from the default limit or the
    /// minimum.
    fn default(&self, object: &mut Value) {
        let Some(spec) = at_mut(object, &["spec"]) else { return };
        for item in list_mut(spec, "limits") {
            if text(item, "type") == "Container" {
                inherit(item, "default", "max");
                inherit(item, "defaultRequest", "default");
                inherit(item, "defaultRequest", "min");
            }
        }
    }

    fn columns(&self) -> Vec<Column> {
        crate::columns::created_at_columns()
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        crate::columns::created_at_row(object)
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut types: BTreeSet<&str> = BTreeSet::new();
        for (i, item) in list(field(object, "spec"), "limits").iter().enumerate() {
            let path = Path::new("spec").child("limits").index(i);
            let kind = text(item, "type");
            if kind.is_empty() {
                errors.required(&path.child("type"), "");
            } else if !types.insert(kind) {
                errors.duplicate(&path.child("type"), kind);
            }
            limits(item, kind, &path, &mut errors);
        }
        errors
    }
}

fn inherit(item: &mut Value, to: &str, from: &str) {
    let Some(values) = field(item, from).as_object().filter(|m| !m.is_empty()).cloned() else { return };
    if let Some(map) = ensure_object(item, to) {
        for (name, value) in values {
            default(map, &name, value);
        }
    }
}

fn limits(item: &Value, kind: &str, path: &Path, errors: &mut ErrorList) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for map in MAPS {
        for (name, _) in entries(item, map) {
            names.insert(name);
            if kind == "Container" {
                resource_name(name, &path.child(map).key(name), errors);
            }
        }
    }
    if kind == "Pod" {
        for map in ["default", "defaultRequest"] {
            if !field(item, map).as_object().is_none_or(Map::is_empty) {
                errors.forbidden(&path.child(map), "may not be specified when `type` is 'Pod'");
            }
        }
    }
    if kind == "PersistentVolumeClaim"
        && !has(field(item, "min"), "storage")
        && !has(field(item, "max"), "storage")
    {
        errors.required(
            &path.child("limits"),
            "either minimum or maximum storage value is required, but neither was provided",
        );
    }
    let order: [(&str, &str, &str, &str); 6] = [
        ("min", "max", "min value", "max value"),
        ("min", "defaultRequest", "min value", "default request value"),
        ("defaultRequest", "max", "default request value", "max value"),
        ("defaultRequest", "default", "default request value", "default limit value"),
        ("min", "default", "min value", "default value"),
        ("default", "max", "default value", "max value"),
    ];
    for name in names {
        for (low, high, low_words, high_words) in order {
            let (Some(lesser), Some(greater)) = (
                field(item, low).get(name).and_then(quantity),
                field(item, high).get(name).and_then(quantity),
            ) else {
                continue;
            };
            if lesser > greater {
                let shown = quantity_text(field(field(item, low), name)).into_owned();
                errors.invalid(
                    &path.child(low).key(name),
                    shown,
                    format!("{low_words} {lesser} is greater than {high_words} {greater}"),
                );
            }
        }
        if let Some(ratio) = field(item, "maxLimitRequestRatio").get(name).and_then(quantity)
            && ratio.milli_value() < 1000
        {
            errors.invalid(
                &path.child("maxLimitRequestRatio").key(name),
                ratio.to_string(),
                format!("ratio {ratio} is less than 1"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_follow_from_each_other() {
        let mut object = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]}});
        LimitRange.default(&mut object);
        assert_eq!(
            object["spec"]["limits"][0],
            json!({
                "type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}, "default": {"cpu": "2"},
                "defaultRequest": {"cpu": "2", "memory": "1Mi"},
            })
        );
        assert!(LimitRange.validate(&object).is_empty());
    }

    #[test]
    fn the_order_holds() {
        let object = json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]}});
        assert_eq!(
            LimitRange.validate(&object)[0].to_string(),
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"
        );
    }
}
