//! What is wrong with the metrics of a HorizontalPodAutoscaler.

use crate::core::pod::validation as pods;
use crate::validation::{Errors, quantity, quantity_text, required_path_segment};
use crate::value::{field, has, int, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;

/// Types of metrics, as they are told, and the field that each has to itself.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];
/// The order in which the fields are looked at: only the first one is looked into.
const FIELDS: [&str; 5] = ["object", "external", "pods", "resource", "containerResource"];

/// What is wrong with the metrics of a spec.
pub fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, metric) in list(spec, "metrics").iter().enumerate() {
        validate_metric(metric, &path.child("metrics").index(i), errors);
    }
    let wakes = |metric: &Value| matches!(text(metric, "type"), "Object" | "External");
    if int(spec, "minReplicas") == Some(0) && !list(spec, "metrics").iter().any(wakes) {
        errors.forbidden(
            &path.child("metrics"),
            "must specify at least one Object or External metric to support scaling to zero replicas",
        );
    }
}

fn validate_metric(metric: &Value, path: &Path, errors: &mut ErrorList) {
    let kind = text(metric, "type");
    let expected = SOURCES.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric source type");
    }
    if expected.is_none() {
        errors.not_supported(&path.child("type"), kind, &SOURCES.map(|(name, _)| name));
    }
    let mut present = FIELDS.into_iter().filter(|name| has(metric, name));
    let first = present.next();
    if let Some(name) = first {
        source(name, field(metric, name), &path.child(name), errors);
    }
    if let Some(expected) = expected
        && !has(metric, expected)
    {
        errors.required(&path.child(expected), "must populate information for the given metric source");
    }
    let others = first.into_iter().chain(present).filter(|name| Some(*name) != expected);
    for name in others {
        errors.forbidden(&path.child(name), "must populate the given metric source only");
    }
}

fn source(name: &str, source: &Value, path: &Path, errors: &mut ErrorList) {
    match name {
        "object" => {
            reference(field(source, "describedObject"), &path.child("describedObject"), errors);
            identifier(source, path, errors);
        }
        "external" | "pods" => identifier(source, path, errors),
        _ => {
            let resource = text(source, "name");
            if resource.is_empty() {
                errors.required(&path.child("name"), "must specify a resource name");
            } else if name == "containerResource" {
                pods::resource_name(resource, &path.child("name"), errors);
            }
        }
    }
    if name == "containerResource" {
        let container = text(source, "container");
        if container.is_empty() {
            errors.required(&path.child("container"), "must specify a container");
        } else {
            errors.check(path, "container", container, forms::dns1123_label(container));
        }
    }
    let (target, path) = (field(source, "target"), path.child("target"));
    validate_target(target, &path, errors);
    let set = |name: &str| has(target, name);
    match name {
        "object" if !set("value") && !set("averageValue") => {
            errors.required(&path.child("averageValue"), "must set either a target value or averageValue");
        }
        "external" if !set("value") && !set("averageValue") => {
            errors.required(
                &path.child("averageValue"),
                "must set either a target value for metric or a per-pod target",
            );
        }
        "external" if set("value") && set("averageValue") => {
            errors.forbidden(
                &path.child("value"),
                "may not set both a target value for metric and a per-pod target",
            );
        }
        "pods" if !set("averageValue") => {
            errors.required(&path.child("averageValue"), "must specify a positive target averageValue");
        }
        "resource" | "containerResource" => match (set("averageUtilization"), set("averageValue")) {
            (false, false) => errors.required(
                &path.child("averageUtilization"),
                "must set either a target raw value or a target utilization",
            ),
            (true, true) => errors.forbidden(
                &path.child("averageValue"),
                "may not set both a target raw value and a target utilization",
            ),
            _ => {}
        },
        _ => {}
    }
}

/// A reference to an object in any version.
pub fn reference(reference: &Value, path: &Path, errors: &mut ErrorList) {
    required_path_segment(reference, "kind", path, errors);
    required_path_segment(reference, "name", path, errors);
}

fn identifier(source: &Value, path: &Path, errors: &mut ErrorList) {
    let (metric, path) = (field(source, "metric"), path.child("metric"));
    let name = text(metric, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "must specify a metric name");
    } else {
        errors.check(&path, "name", name, forms::path_segment(name));
    }
    crate::validation::label_selector(metric, "selector", &path, errors);
}

fn validate_target(target: &Value, path: &Path, errors: &mut ErrorList) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(&path.child("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for name in ["value", "averageValue"] {
        let amount = field(target, name);
        if !amount.is_null() && quantity(amount).is_some_and(|amount| amount.sign() <= 0) {
            errors.invalid(&path.child(name), quantity_text(amount).as_ref(), "must be positive");
        }
    }
    if let Some(percent) = int(target, "averageUtilization")
        && percent < 1
    {
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(metric: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        validate(&json!({ "metrics": [metric] }), &Path::new("spec"), &mut errors);
        errors.iter().map(|e| e.to_string().replacen("spec.metrics[0].", "", 1)).collect()
    }

    #[test]
    fn a_metric_has_the_source_of_its_type() {
        let resource = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}});
        assert_eq!(told(&json!({"type": "Resource", "resource": resource})), Vec::<String>::new());
        assert_eq!(
            told(&json!({"type": "Pods", "resource": resource})),
            [
                "pods: Required value: must populate information for the given metric source",
                "resource: Forbidden: must populate the given metric source only",
            ]
        );
        assert_eq!(
            told(&json!({"type": "CPU"})),
            [
                "type: Unsupported value: \"CPU\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\""
            ]
        );
    }

    #[test]
    fn targets_are_positive_and_of_one_form() {
        assert_eq!(
            told(&json!({"type": "Resource", "resource": {"name": "", "target": {
                "type": "All", "averageUtilization": 0, "averageValue": "0",
            }}})),
            [
                "resource.name: Required value: must specify a resource name",
                "resource.target.type: Invalid value: \"All\": must be either Utilization, Value, or AverageValue",
                "resource.target.averageValue: Invalid value: \"0\": must be positive",
                "resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
                "resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
            ]
        );
        assert_eq!(
            told(
                &json!({"type": "External", "external": {"metric": {"name": "a/b"}, "target": {"type": "Value"}}})
            ),
            [
                "external.metric.name: Invalid value: \"a/b\": may not contain '/'",
                "external.target.averageValue: Required value: must set either a target value for metric or a per-pod target",
            ]
        );
        assert_eq!(
            told(
                &json!({"type": "Object", "object": {"metric": {"name": "a"}, "target": {"type": "Value"}}})
            ),
            [
                "object.describedObject.kind: Required value",
                "object.describedObject.name: Required value",
                "object.target.averageValue: Required value: must set either a target value or averageValue",
            ]
        );
        assert_eq!(
            told(&json!({"type": "Pods", "pods": {"metric": {}, "target": {"type": "AverageValue"}}})),
            [
                "pods.metric.name: Required value: must specify a metric name",
                "pods.target.averageValue: Required value: must specify a positive target averageValue",
            ]
        );
    }

    #[test]
    fn a_container_is_named() {
        assert_eq!(
            told(
                &json!({"type": "ContainerResource", "containerResource": {"name": "disk", "target": {"type": "Utilization"}}})
            ),
            [
                "containerResource.name: Invalid value: \"disk\": must be a standard resource type or fully qualified",
                "containerResource.name: Invalid value: \"disk\": must be a standard resource for containers",
                "containerResource.container: Required value: must specify a container",
                "containerResource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            ]
        );
    }
}
