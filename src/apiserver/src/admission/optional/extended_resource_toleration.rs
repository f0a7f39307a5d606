//! ExtendedResourceToleration: pods that ask for extended resources tolerate taints of the resources' names, so that
//! nodes that have them can be kept for those pods.

use crate::admission::chain::{Mutation, Operation, Plugin, Request};
use crate::admission::support::{items, list, spec, text};
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// See the module.
pub(in crate::admission) struct ExtendedResourceToleration;

/// Whether a resource is neither Kubernetes' own nor the name of a quota.
fn is_extended(name: &str) -> bool {
    let own = !name.contains('/')
        || name
            .split('/')
            .next()
            .is_some_and(|domain| domain == "kubernetes.io" || domain.ends_with(".kubernetes.io"));
    !own && !name.starts_with("requests.")
}

impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for ExtendedResourceToleration {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if !request.is("", "pods") || !matches!(request.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let containers =
            ["/spec/containers", "/spec/initContainers"].into_iter().flat_map(|at| items(object, at));
        let asked = containers.filter_map(|container| container.pointer("/resources/requests")?.as_object());
        let names: BTreeSet<String> =
            asked.flat_map(|requests| requests.keys()).filter(|name| is_extended(name)).cloned().collect();
        for name in names {
            let wanted = json!({"key": name, "operator": "Exists", "effect": "NoSchedule"});
            let known = items(object, "/spec/tolerations").iter().any(|toleration| {
                ["/key", "/operator", "/effect"].iter().all(|at| text(toleration, at) == text(&wanted, at))
            });
            if !known && let Some(tolerations) = spec(object).and_then(|spec| list(spec, "tolerations")) {
                tolerations.push(wanted);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::Scene;

    #[tokio::test]
    async fn taints_of_what_a_pod_asks_for_are_tolerated_once() {
        let scene = Scene::new(Operation::Create, "a", "p");
        let requests = json!({"cpu": "1", "example.com/gpu": "1", "a.kubernetes.io/x": "1"});
        let mut pod = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}});
        for _ in 0..2 {
            ExtendedResourceToleration.admit(&scene.request(), &mut pod).await.unwrap();
        }
        let toleration = json!({"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"});
        assert_eq!(pod["spec"]["tolerations"], json!([toleration]));
    }
}
