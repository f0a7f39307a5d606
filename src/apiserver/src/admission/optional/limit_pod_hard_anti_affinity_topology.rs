//! LimitPodHardAntiAffinityTopology: pods keep others away from their node, not from larger parts of the cluster.

use crate::admission::chain::{Operation, Plugin, Request, Validation};
use crate::admission::support::{forbidden, items, text};
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::Value;

const TERMS: &str = "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// See the module.
pub(in crate::admission) struct LimitPodHardAntiAffinityTopology;

impl Plugin for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for LimitPodHardAntiAffinityTopology {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if !request.is("", "pods") || !matches!(request.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let keys = items(object, TERMS).iter().map(|term| text(term, "/topologyKey"));
        match keys.into_iter().find(|key| *key != HOSTNAME) {
            None => Ok(()),
            Some(key) => {
                let why = format!(
                    "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is allowed"
                );
                Err(forbidden(request, object, why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::Scene;
    use serde_json::json;

    #[tokio::test]
    async fn only_nodes_can_be_kept_from_others() {
        let scene = Scene::new(Operation::Create, "a", "p");
        let ask = async |key: &str| {
            let terms = json!([{"topologyKey": HOSTNAME}, {"topologyKey": key}]);
            let affinity =
                json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
            let pod = json!({"spec": {"affinity": affinity}});
            LimitPodHardAntiAffinityTopology.validate(&scene.request(), &pod).await.is_ok()
        };
        assert!(ask(HOSTNAME).await && !ask("topology.kubernetes.io/zone").await);
    }
}
