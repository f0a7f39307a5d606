//! PodTopologyLabels: a pod that is bound to a node gets the labels that say where the node is (KEP-4742).

use apimachinery::meta;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::chain::{Mutation, Operation, Plugin, Request};
use super::support::text;
use crate::cached::Memo;
use crate::registry::Registry;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// See the module. Sets the labels on the Binding; whoever carries that out copies them to the pod.
pub(super) struct PodTopologyLabels {
    nodes: Memo<NodeLabels>,
}

#[derive(serde::Deserialize)]
struct NodeLabels {
    metadata: NodeMeta,
}

#[derive(serde::Deserialize)]
struct NodeMeta {
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

impl PodTopologyLabels {
    pub(super) fn new(registry: Registry) -> Self {
        Self { nodes: Memo::new(registry, "", "nodes") }
    }
}

impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for PodTopologyLabels {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let binds = request.is_any("", "pods") && request.subresource == "binding";
        if request.operation != Operation::Create || !(binds || request.is("", "bindings")) {
            return Ok(());
        }
        let kind = text(object, "/target/kind");
        if !kind.is_empty() && kind != "Node" {
            return Ok(());
        }
        // A node that does not exist is for the binding to complain about.
        let Some(node) = self.nodes.recent("", text(object, "/target/name")).await? else { return Ok(()) };
        for key in LABELS {
            if let Some(value) = node.metadata.labels.get(key) {
                meta::set_label(object, key, value);
            }
        }
        Ok(())
    }
}
