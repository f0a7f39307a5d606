//! HorizontalPodAutoscaler between `autoscaling/v1` and `autoscaling/v2`. The first knows one metric, average
//! CPU; the rest travels in annotations, so that nothing is lost on the way.

use crate::value;
use apimachinery::meta;
use serde_json::{Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Makes `autoscaling/v2` out of `autoscaling/v1`.
pub fn to_v2(object: &mut Value) {
    let mut metrics = take_list(object, METRICS);
    let current = take_list(object, CURRENT_METRICS);
    let conditions = take_list(object, CONDITIONS);
    let behavior = take(object, BEHAVIOR);
    if let Some(spec) = value::object_mut(object, "spec") {
        if let Some(percent) = value::remove(spec, "targetCPUUtilizationPercentage") {
            let target = json!({"type": "Utilization", "averageUtilization": percent});
            metrics.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
        }
        if !metrics.is_empty() {
            value::set(spec, "metrics", metrics);
        }
        if let Some(behavior) = behavior {
            value::set(spec, "behavior", behavior);
        }
    }
    if let Some(status) = value::object_mut(object, "status") {
        let mut all = current;
        if let Some(percent) = value::remove(status, "currentCPUUtilizationPercentage") {
            let now = json!({"averageUtilization": percent, "averageValue": "0"});
            all.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "current": now}}));
        }
        if !all.is_empty() {
            value::set(status, "currentMetrics", all);
        }
        if !conditions.is_empty() {
            value::set(status, "conditions", conditions);
        }
    }
    value::set(object, "apiVersion", "autoscaling/v2");
}

/// Makes `autoscaling/v1` out of `autoscaling/v2`.
pub fn to_v1(object: &mut Value) {
    let (mut rest, mut current_rest) = (Vec::new(), Vec::new());
    let (mut behavior, mut conditions) = (None, None);
    if let Some(spec) = value::object_mut(object, "spec") {
        for metric in take_field(spec, "metrics") {
            match utilization(&metric, "target") {
                Some(percent) => value::set(spec, "targetCPUUtilizationPercentage", percent),
                None => rest.push(metric),
            }
        }
        behavior = value::remove(spec, "behavior");
    }
    if let Some(status) = value::object_mut(object, "status") {
        for metric in take_field(status, "currentMetrics") {
            match utilization(&metric, "current") {
                Some(percent) => value::set(status, "currentCPUUtilizationPercentage", percent),
                None => current_rest.push(metric),
            }
        }
        conditions = value::remove(status, "conditions");
    }
    let kept = [
        (METRICS, (!rest.is_empty()).then_some(Value::Array(rest))),
        (CURRENT_METRICS, (!current_rest.is_empty()).then_some(Value::Array(current_rest))),
        (BEHAVIOR, behavior),
        (CONDITIONS, conditions),
    ];
    for (annotation, content) in kept {
        if let Some(content) = content {
            meta::set_annotation(object, annotation, &content.to_string());
        }
    }
    value::set(object, "apiVersion", "autoscaling/v1");
}

/// The CPU utilisation of a metric that `autoscaling/v1` can tell.
fn utilization(metric: &Value, field: &str) -> Option<i64> {
    let resource = value::field(metric, "resource");
    let cpu = value::text(metric, "type") == "Resource" && value::text(resource, "name") == "cpu";
    cpu.then(|| value::int_at(resource, &[field, "averageUtilization"])).flatten()
}

fn take_field(object: &mut Value, name: &str) -> Vec<Value> {
    match value::remove(object, name) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn take(object: &mut Value, annotation: &str) -> Option<Value> {
    let annotations = value::at_mut(object, &["metadata", "annotations"])?;
    let text = value::remove(annotations, annotation)?;
    serde_json::from_str(text.as_str()?).ok()
}

fn take_list(object: &mut Value, annotation: &str) -> Vec<Value> {
    match take(object, annotation) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_the_versions() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 60}}});
        let original = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "annotations": {}},
            "spec": {"maxReplicas": 3, "metrics": [cpu, memory], "behavior": {"scaleUp": {"stabilizationWindowSeconds": 1}}},
            "status": {"conditions": [{"type": "AbleToScale", "status": "True"}]},
        });
        let mut object = original.clone();
        to_v1(&mut object);
        assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 70);
        assert!(object["spec"].get("metrics").is_none());
        to_v2(&mut object);
        assert_eq!(object, original);
    }
}
