//! HorizontalPodAutoscaler (KEP-117), stored as `autoscaling/v2`.

use super::{behavior, metrics, v1};
use crate::validation::Errors;
use crate::{Kind, columns, validation, value};
use apimachinery::field::{ErrorList, Path};
use apimachinery::status::Status;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::{Value, json};

/// HorizontalPodAutoscaler.
pub struct HorizontalPodAutoscaler;

/// Wanted CPU utilisation in percent where no metric is given (upstream's value).
const DEFAULT_CPU_PERCENT: i64 = 80;

/// Metrics that the table shows before it counts.
const SHOWN_TARGETS: usize = 2;

impl Kind for HorizontalPodAutoscaler {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("autoscaling", "HorizontalPodAutoscaler")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["hpa"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["all"]
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = value::object_mut(object, "spec") else { return };
        value::default(spec, "minReplicas", 1);
        behavior::fill(spec);
        if value::list(spec, "metrics").is_empty() {
            let target = json!({"type": "Utilization", "averageUtilization": DEFAULT_CPU_PERCENT});
            value::set(
                spec,
                "metrics",
                json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]),
            );
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        validate(object, 1)
    }

    /// Only what goes down to nothing already may go on doing so.
    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        validate(object, value::int_at(old, &["spec", "minReplicas"]).map_or(1, |low| low.clamp(0, 1)))
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for name in ["currentReplicas", "desiredReplicas"] {
            validation::non_negative(value::field(object, "status"), name, &Path::new("status"), &mut errors);
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Reference"),
            Column::new("Targets"),
            Column::new("MinPods"),
            Column::new("MaxPods"),
            Column::new("Replicas"),
            Column::age(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = value::field(object, "spec");
        let target = value::field(spec, "scaleTargetRef");
        let low = value::int(spec, "minReplicas").map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
        vec![
            columns::name(object),
            Value::from(format!("{}/{}", value::text(target, "kind"), value::text(target, "name"))),
            Value::from(targets(object)),
            Value::from(low),
            columns::int_cell(spec, "maxReplicas"),
            Value::from(value::int_at(object, &["status", "currentReplicas"]).unwrap_or(0)),
            columns::age(object, now),
        ]
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) -> Result<(), Status> {
        match (from, to) {
            ("autoscaling/v1", "autoscaling/v2") => v1::to_v2(object),
            ("autoscaling/v2", "autoscaling/v1") => v1::to_v1(object),
            _ => value::set(object, "apiVersion", to),
        }
        Ok(())
    }
}

fn validate(object: &Value, lowest: i64) -> ErrorList {
    let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
    let (low, high) = (value::int(spec, "minReplicas"), value::int(spec, "maxReplicas").unwrap_or(0));
    if let Some(low) = low
        && low < lowest
    {
        errors.invalid(&path.child("minReplicas"), low, format!("must be greater than or equal to {lowest}"));
    }
    if high < 1 {
        errors.invalid(&path.child("maxReplicas"), high, "must be greater than 0");
    }
    if low.is_some_and(|low| high < low) {
        errors.invalid(&path.child("maxReplicas"), high, "must be greater than or equal to `minReplicas`");
    }
    metrics::reference(value::field(spec, "scaleTargetRef"), &path.child("scaleTargetRef"), &mut errors);
    metrics::validate(spec, &path, &mut errors);
    behavior::validate(spec, &path, &mut errors);
    errors
}

/// `cpu: 12%/80%` and the like: the first ones, and how many more there are.
fn targets(object: &Value) -> String {
    let current = value::list_at(object, &["status", "currentMetrics"]);
    let metrics = value::list_at(object, &["spec", "metrics"]);
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .take(SHOWN_TARGETS)
        .map(|(index, metric)| target(metric, current.get(index).unwrap_or(&Value::Null)))
        .collect();
    let shown = shown.join(", ");
    match metrics.len().saturating_sub(SHOWN_TARGETS) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

/// What a metric is and what it is wanted to be.
fn target(metric: &Value, status: &Value) -> String {
    let member = match value::text(metric, "type") {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return "<unknown type>".to_owned(),
    };
    let source = value::field(metric, member);
    let wanted = value::field(source, "target");
    let now = value::at(status, &[member, "current"]);
    let average = value::has(wanted, "averageValue");
    let amount = |object: &Value, name: &str| match value::field(object, name) {
        Value::Null => None,
        amount => Some(validation::quantity_text(amount).into_owned()),
    };
    let unknown = || "<unknown>".to_owned();
    if !matches!(member, "resource" | "containerResource") {
        let name = if average || member == "pods" { "averageValue" } else { "value" };
        let pair = (amount(now, name).unwrap_or_else(unknown), amount(wanted, name).unwrap_or_default());
        let per_pod = if average && member != "pods" { " (avg)" } else { "" };
        return format!("{}/{}{per_pod}", pair.0, pair.1);
    }
    let percent =
        |object: &Value| value::int(object, "averageUtilization").map(|percent| format!("{percent}%"));
    let (now, wanted) = if average {
        (amount(now, "averageValue"), amount(wanted, "averageValue").unwrap_or_default())
    } else {
        (percent(now), percent(wanted).unwrap_or_else(|| "<auto>".to_owned()))
    };
    format!("{}: {}/{wanted}", value::text(source, "name"), now.unwrap_or_else(unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler(low: i64, high: i64) -> Value {
        let mut object = json!({"spec": {
            "minReplicas": low, "maxReplicas": high, "scaleTargetRef": {"kind": "Deployment", "name": "d"},
        }});
        HorizontalPodAutoscaler.default(&mut object);
        object
    }

    fn told(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn there_is_something_between_the_bounds() {
        assert_eq!(told(&HorizontalPodAutoscaler.validate(&scaler(1, 1))), Vec::<String>::new());
        assert_eq!(
            told(&HorizontalPodAutoscaler.validate(&scaler(0, 0))),
            [
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.maxReplicas: Invalid value: 0: must be greater than 0",
                "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
            ]
        );
        assert_eq!(
            told(&HorizontalPodAutoscaler.validate(&scaler(3, 2))),
            ["spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`"]
        );
        let update = HorizontalPodAutoscaler.validate_update(&scaler(0, 2), &scaler(0, 2));
        assert_eq!(update.len(), 1, "{update:?}");
    }

    #[test]
    fn the_table_shows_two_targets() {
        let cpu =
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
        let queue = json!({"type": "External", "external": {"target": {"averageValue": "5"}}});
        let object = json!({
            "spec": {"metrics": [cpu, queue, queue]},
            "status": {"currentMetrics": [{"type": "Resource", "resource": {"current": {"averageUtilization": 12}}}]},
        });
        assert_eq!(targets(&object), "cpu: 12%/80%, <unknown>/5 (avg) + 1 more...");
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "1k"}}});
        assert_eq!(targets(&json!({"spec": {"metrics": [pods]}})), "<unknown>/1k");
        assert_eq!(targets(&json!({})), "<none>");
    }

    #[test]
    fn a_status_counts_upwards() {
        let object = json!({"status": {"currentReplicas": -1, "desiredReplicas": 1}});
        assert_eq!(
            told(&HorizontalPodAutoscaler.validate_status_update(&object, &object)),
            ["status.currentReplicas: Invalid value: -1: must be greater than or equal to 0"]
        );
    }
}
