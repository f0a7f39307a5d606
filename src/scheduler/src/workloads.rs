//! Which pods belong together: those of the same Services and of the same workload.
//!
//! Upstream counterpart: `DefaultSelector` of the scheduler's plugin helpers.

use crate::framework::Workloads;
use client::{Informer, Selector, SharedInformers};
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use std::sync::Arc;

/// The Services and workloads of the cluster.
pub(crate) struct SharedWorkloads {
    services: Informer<Service>,
    replication_controllers: Informer<ReplicationController>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
}

impl SharedWorkloads {
    pub(crate) fn new(informers: &SharedInformers) -> Self {
        Self {
            services: informers.get(),
            replication_controllers: informers.get(),
            replica_sets: informers.get(),
            stateful_sets: informers.get(),
        }
    }

    /// Returns once all of them are known.
    pub(crate) async fn synced(&self) {
        self.services.synced().await;
        self.replication_controllers.synced().await;
        self.replica_sets.synced().await;
        self.stateful_sets.synced().await;
    }

    /// The selector of the workload that controls a pod; none of one of another kind.
    fn selector_of(&self, owner: &OwnerReference, namespace: &str) -> Option<LabelSelector> {
        match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("v1", "ReplicationController") => {
                let found = self.replication_controllers.find(namespace, &owner.name)?;
                let match_labels = found.spec.as_ref()?.selector.clone();
                Some(LabelSelector { match_labels, match_expressions: None })
            }
            ("apps/v1", "ReplicaSet") => {
                let found = self.replica_sets.find(namespace, &owner.name)?;
                Some(found.spec.as_ref()?.selector.clone())
            }
            ("apps/v1", "StatefulSet") => {
                let found = self.stateful_sets.find(namespace, &owner.name)?;
                Some(found.spec.as_ref()?.selector.clone())
            }
            _ => None,
        }
    }
}

impl Workloads for SharedWorkloads {
    fn selector(&self, pod: &Pod) -> Option<Selector> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        let owner =
            pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        let workload = owner.and_then(|owner| self.selector_of(owner, namespace));
        merged(pod, &self.services.list_namespace(namespace), workload)
    }
}

/// What selects the pods that the Services of a pod and its workload have in common; none when there is none of them.
fn merged(pod: &Pod, services: &[Arc<Service>], workload: Option<LabelSelector>) -> Option<Selector> {
    let mut selector = workload.unwrap_or_default();
    for service in services {
        let Some(wanted) = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else { continue };
        if Selector::exactly(Some(wanted)).matches(pod.metadata.labels.as_ref()) {
            selector.match_labels.get_or_insert_default().extend(wanted.clone());
        }
    }
    let selector = Selector::new(Some(&selector));
    (!selector.is_empty()).then_some(selector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::named_pod;
    use serde_json::{Value, json};

    fn labelled(labels: Value) -> Pod {
        let mut pod = named_pod("p", json!({"containers": []}));
        pod.metadata.labels = serde_json::from_value(labels).unwrap();
        pod
    }

    fn service(selector: Value) -> Arc<Service> {
        Arc::new(serde_json::from_value(json!({"spec": {"selector": selector}})).unwrap())
    }

    #[test]
    fn services_and_the_workload_select_together() {
        let pod = labelled(json!({"app": "a", "tier": "web", "hash": "1"}));
        let services = [
            service(json!({"app": "a"})),
            service(json!({"tier": "web"})),
            service(json!({"app": "other"})),
            service(Value::Null),
        ];
        let workload = serde_json::from_value(json!({
            "matchExpressions": [{"key": "hash", "operator": "In", "values": ["1"]}]}));
        let selector = merged(&pod, &services, workload.unwrap()).unwrap();
        let selects = |labels: Value| selector.matches(labelled(labels).metadata.labels.as_ref());
        assert!(selects(json!({"app": "a", "tier": "web", "hash": "1", "more": "x"})));
        for other in [
            json!({"app": "a", "hash": "1"}),
            json!({"tier": "web", "hash": "1"}),
            json!({"app": "a", "tier": "web", "hash": "2"}),
        ] {
            assert!(!selects(other.clone()), "{other}");
        }
    }

    #[test]
    fn a_pod_that_nothing_selects_belongs_to_none() {
        let pod = labelled(json!({"app": "a"}));
        assert_eq!(merged(&pod, &[], None), None);
        assert_eq!(
            merged(&pod, &[service(json!({"app": "b"})), service(Value::Null), service(json!({}))], None),
            None
        );
    }
}
