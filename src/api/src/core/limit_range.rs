//! LimitRange: <https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/limit-range-v1/>.

use super::pod::validation::{any_resource_name, container_resource_name, is_overcommit_allowed};
use crate::kind::Kind;
use crate::validation::{Errors, only_new, quantity};
use crate::value::{at_mut, default, ensure_object, entries, field, has, list, list_mut, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const MAPS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
/// Types of limits without a domain.
const TYPES: [&str; 3] = ["Container", "PersistentVolumeClaim", "Pod"];

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
            let messages = forms::qualified_name(kind);
            if messages.is_empty() && !kind.contains('/') && !TYPES.contains(&kind) {
                errors.invalid(&path.child("type"), kind, "must be a standard limit type or fully qualified");
            }
            errors.check(&path, "type", kind, messages);
            if !types.insert(kind) {
                errors.duplicate(&path.child("type"), kind);
            }
            limits(item, kind, &path, &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        only_new(self.validate(object), || self.validate(old))
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
        if kind == "Pod" && map.starts_with("default") {
            if !field(item, map).as_object().is_none_or(Map::is_empty) {
                errors.forbidden(&path.child(map), "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, _) in entries(item, map) {
            names.insert(name);
            let own = || path.child(map).key(name);
            if matches!(kind, "Pod" | "Container") {
                container_resource_name(name, &own, errors);
            } else {
                any_resource_name(name, own, errors);
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
    for name in names {
        one_resource(item, kind, name, path, errors);
    }
}

/// How the values of one resource go together.
fn one_resource(item: &Value, kind: &str, name: &str, path: &Path, errors: &mut ErrorList) {
    let value = |map: &str| {
        let counts = kind != "Pod" || !map.starts_with("default");
        field(item, map).get(name).filter(|_| counts).and_then(quantity)
    };
    // The map that the error is told of, whose value it shows, what must not be above what.
    let order: [(&str, &str, &str, &str, &str, &str); 6] = [
        ("min", "min", "min", "max", "min value", "max value"),
        ("defaultRequest", "defaultRequest", "min", "defaultRequest", "min value", "default request value"),
        ("defaultRequest", "defaultRequest", "defaultRequest", "max", "default request value", "max value"),
        (
            "defaultRequest",
            "defaultRequest",
            "defaultRequest",
            "default",
            "default request value",
            "default limit value",
        ),
        ("default", "min", "min", "default", "min value", "default value"),
        ("default", "max", "default", "max", "default value", "max value"),
    ];
    for (told, shown, low, high, low_words, high_words) in order {
        if let (Some(lesser), Some(greater)) = (value(low), value(high))
            && lesser > greater
        {
            errors.invalid(
                &path.child(told).key(name),
                value(shown).unwrap_or(lesser).to_string(),
                format!("{low_words} {lesser} is greater than {high_words} {greater}"),
            );
        }
    }
    if let Some(ratio) = value("maxLimitRequestRatio") {
        let own = || path.child("maxLimitRequestRatio").key(name);
        if ratio.milli_value() < 1000 {
            errors.invalid(&own(), ratio.to_string(), format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (value("min"), value("max")) {
            let most = max.as_approximate_float() / min.as_approximate_float();
            if ratio.as_approximate_float() > most {
                errors.invalid(
                    &own(),
                    ratio.to_string(),
                    format!("ratio {ratio} is greater than max/min = {most:.6}"),
                );
            }
        }
    }
    if let (Some(limit), Some(request)) = (value("default"), value("defaultRequest"))
        && limit != request
        && !is_overcommit_allowed(name)
    {
        errors.invalid(
            &path.child("defaultRequest").key(name),
            request.to_string(),
            format!("default value {limit} must equal to defaultRequest value {request} in {name}"),
        );
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

    #[test]
    fn what_goes_together_is_told_where_upstream_tells_it() {
        let told = |limit: Value| -> Vec<String> {
            let object = json!({"spec": {"limits": [limit]}});
            LimitRange.validate(&object).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            told(
                json!({"type": "Container", "min": {"cpu": "2"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}})
            ),
            [
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value 1",
                "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1",
            ]
        );
        assert_eq!(
            told(
                json!({"type": "Pod", "max": {"cpu": "4"}, "min": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}, "default": {"cpu": "1"}})
            ),
            [
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000",
            ]
        );
        assert_eq!(
            told(json!({"type": "Thing", "max": {"disk": "1"}})),
            [
                "spec.limits[0].type: Invalid value: \"Thing\": must be a standard limit type or fully qualified",
                "spec.limits[0].max[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
            ]
        );
        assert_eq!(
            told(
                json!({"type": "Container", "default": {"example.com/gpu": "2"}, "defaultRequest": {"example.com/gpu": "1"}})
            ),
            [
                "spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in example.com/gpu",
            ]
        );
    }
}
