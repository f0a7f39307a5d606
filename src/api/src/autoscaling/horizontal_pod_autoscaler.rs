//! HorizontalPodAutoscaler (KEP-117), stored as `autoscaling/v2`.

use super::v1;
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
        let (spec, path, mut errors) = (value::field(object, "spec"), Path::new("spec"), ErrorList::new());
        let (low, high) =
            (value::int(spec, "minReplicas").unwrap_or(1), value::int(spec, "maxReplicas").unwrap_or(0));
        if low < 1 {
            errors.invalid(&path.child("minReplicas"), low, "must be greater than or equal to 1");
        }
        if high < 1 {
            errors.invalid(&path.child("maxReplicas"), high, "must be greater than 0");
        } else if high < low {
            errors.invalid(
                &path.child("maxReplicas"),
                high,
                "must be greater than or equal to `minReplicas`",
            );
        }
        let (target, target_path) = (value::field(spec, "scaleTargetRef"), path.child("scaleTargetRef"));
        for name in ["kind", "name"] {
            validation::required_text(target, name, &target_path, &mut errors);
        }
        let types = ["ContainerResource", "External", "Object", "Pods", "Resource"];
        for (index, metric) in value::list(spec, "metrics").iter().enumerate() {
            let path = path.child("metrics").index(index);
            validation::required_one_of(metric, "type", &path, &types, &mut errors);
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

/// `cpu: 12%/80%`, one after the other.
fn targets(object: &Value) -> String {
    let current = value::list_at(object, &["status", "currentMetrics"]);
    let shown: Vec<String> = value::list_at(object, &["spec", "metrics"])
        .iter()
        .enumerate()
        .map(|(index, metric)| {
            let kind = value::text(metric, "type");
            let source = source(metric, kind);
            let name = match kind {
                "Resource" | "ContainerResource" => value::text(source, "name"),
                _ => value::text_at(source, &["metric", "name"]),
            };
            let now = current.get(index).map(|metric| self::source(metric, kind));
            let now = now.and_then(|source| amount(value::field(source, "current")));
            let wanted = amount(value::field(source, "target"));
            let unknown = || "<unknown>".to_owned();
            format!("{name}: {}/{}", now.unwrap_or_else(unknown), wanted.unwrap_or_else(unknown))
        })
        .collect();
    if shown.is_empty() { "<none>".to_owned() } else { shown.join(", ") }
}

/// The part of a metric that is named after its type.
fn source<'a>(metric: &'a Value, kind: &str) -> &'a Value {
    value::field(
        metric,
        match kind {
            "Resource" => "resource",
            "ContainerResource" => "containerResource",
            "Pods" => "pods",
            "Object" => "object",
            _ => "external",
        },
    )
}

fn amount(value: &Value) -> Option<String> {
    match value::int(value, "averageUtilization") {
        Some(percent) => Some(format!("{percent}%")),
        None => ["averageValue", "value"]
            .iter()
            .map(|name| value::text(value, name))
            .find(|t| !t.is_empty())
            .map(str::to_owned),
    }
}
