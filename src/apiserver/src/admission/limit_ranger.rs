//! LimitRanger: default requests and limits of containers, and the bounds a namespace sets.

use std::sync::Arc;

use apimachinery::meta;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::chain::{Mutation, Operation, Plugin, Request, Validation};
use super::limits::{LimitItem, check_claim, check_pod};
use super::support::{forbidden, map, spec, text};
use crate::cached::Memo;
use crate::registry::Registry;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// See the module.
pub(super) struct LimitRanger {
    ranges: Memo<LimitRange>,
}

#[derive(serde::Deserialize)]
struct LimitRange {
    #[serde(default)]
    spec: LimitRangeSpec,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct LimitRangeSpec {
    limits: Vec<LimitItem>,
}

impl LimitRanger {
    pub(super) fn new(registry: Registry) -> Self {
        Self { ranges: Memo::new(registry, "", "limitranges") }
    }

    async fn of(&self, request: &Request<'_>) -> Result<Vec<Arc<LimitRange>>, Status> {
        let pod = request.is("", "pods") && request.operation == Operation::Create
            || request.is_any("", "pods") && request.subresource == "resize";
        let claim = request.is("", "persistentvolumeclaims")
            && matches!(request.operation, Operation::Create | Operation::Update);
        if !(pod || claim) || request.namespace.is_empty() {
            return Ok(Vec::new());
        }
        self.ranges.list_recent(request.namespace).await
    }
}

/// The name of a container with what was defaulted, as the annotation has it.
fn describe(what: &str, added: &[String], container: &str) -> Option<String> {
    (!added.is_empty()).then(|| format!("{} {what} for container {container}", added.join(", ")))
}

/// Fills what a container does not say of one kind of resources; returns the names of what was added.
fn fill(
    container: &mut Value,
    kind: &str,
    defaults: &std::collections::BTreeMap<String, String>,
) -> Vec<String> {
    let mut added = Vec::new();
    let resources = container.as_object_mut().and_then(|container| map(container, "resources"));
    let Some(resources) = resources else { return added };
    for (name, quantity) in defaults {
        if let Some(values) = map(resources, kind)
            && !values.contains_key(name)
        {
            values.insert(name.clone(), json!(quantity));
            added.push(name.clone());
        }
    }
    added
}

fn apply_defaults(pod: &mut Value, range: &LimitRange) {
    let defaults = |pick: fn(&LimitItem) -> &std::collections::BTreeMap<String, String>| {
        let of_containers = range.spec.limits.iter().filter(|item| item.kind == "Container");
        of_containers.flat_map(pick).map(|(name, quantity)| (name.clone(), quantity.clone())).collect()
    };
    let limits = defaults(|item| &item.default);
    let requests = defaults(|item| &item.default_request);
    let mut told = Vec::new();
    for list in ["initContainers", "containers"] {
        let containers = spec(pod).and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let kind = if list == "containers" { "" } else { "init " };
            let name = text(container, "/name").to_owned();
            // Requests before limits, as the annotation is read in order.
            let added = fill(container, "requests", &requests);
            told.extend(
                describe("request", &added, &name)
                    .map(|text| text.replacen("container ", &format!("{kind}container "), 1)),
            );
            let added = fill(container, "limits", &limits);
            told.extend(
                describe("limit", &added, &name)
                    .map(|text| text.replacen("container ", &format!("{kind}container "), 1)),
            );
        }
    }
    if !told.is_empty() {
        meta::set_annotation(pod, ANNOTATION, &format!("LimitRanger plugin set: {}", told.join("; ")));
    }
}

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for LimitRanger {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if !request.is("", "pods") {
            return Ok(());
        }
        for range in self.of(request).await? {
            apply_defaults(object, &range);
        }
        Ok(())
    }
}

#[async_trait]
impl Validation for LimitRanger {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        for range in self.of(request).await? {
            let mut errors = Vec::new();
            for item in &range.spec.limits {
                if request.is_any("", "pods") {
                    check_pod(item, object, &mut errors);
                } else {
                    check_claim(item, object, &mut errors);
                }
            }
            match errors.as_slice() {
                [] => {}
                [one] => return Err(forbidden(request, object, one)),
                many => return Err(forbidden(request, object, format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(limits: Value) -> LimitRange {
        serde_json::from_value(json!({"spec": {"limits": limits}})).unwrap()
    }

    #[test]
    fn containers_get_what_they_do_not_say() {
        let range = range(json!([{
            "type": "Container",
            "default": {"cpu": "1", "memory": "1Gi"},
            "defaultRequest": {"cpu": "100m"},
        }]));
        let mut pod = json!({"metadata": {}, "spec": {"containers": [
            {"name": "a", "resources": {"limits": {"cpu": "2"}}}, {"name": "b"}]}});
        apply_defaults(&mut pod, &range);
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "100m"}})
        );
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; memory limit for container a; \
             cpu request for container b; cpu, memory limit for container b"
        );
    }

    #[test]
    fn bounds_are_told_as_upstream_tells_them() {
        let range = range(json!([
            {"type": "Container", "min": {"cpu": "100m"}, "max": {"memory": "1Gi"}, "maxLimitRequestRatio": {"cpu": "2"}},
            {"type": "Pod", "max": {"cpu": "1"}},
        ]));
        let check = |containers: Value| {
            let pod = json!({"spec": {"containers": containers}});
            let mut errors = Vec::new();
            for item in &range.spec.limits {
                check_pod(item, &pod, &mut errors);
            }
            errors
        };
        let good = json!({"requests": {"cpu": "200m"}, "limits": {"cpu": "400m", "memory": "1Gi"}});
        assert!(check(json!([{"name": "a", "resources": good}])).is_empty());
        assert_eq!(
            check(json!([{"name": "a"}])),
            [
                "minimum cpu usage per Container is 100m.  No request is specified",
                "maximum memory usage per Container is 1Gi.  No limit is specified",
                "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
                "maximum cpu usage per Pod is 1.  No limit is specified",
            ]
        );
        let bad = json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "1500m", "memory": "2Gi"}});
        assert_eq!(
            check(json!([{"name": "a", "resources": bad}])),
            [
                "minimum cpu usage per Container is 100m, but request is 50m",
                "maximum memory usage per Container is 1Gi, but limit is 2Gi",
                "cpu max limit to request ratio per Container is 2, but provided ratio is 30.000000",
                "maximum cpu usage per Pod is 1, but limit is 1500m",
            ]
        );
    }
}
