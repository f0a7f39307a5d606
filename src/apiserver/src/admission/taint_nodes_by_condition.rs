//! TaintNodesByCondition: a new node takes no pods until a controller has seen that it is ready.

use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::chain::{Mutation, Operation, Plugin, Request};
use super::support::{items, list, spec, text};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// See the module.
pub(super) struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for TaintNodesByCondition {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if !request.is("", "nodes") || request.operation != Operation::Create {
            return Ok(());
        }
        let tainted = items(object, "/spec/taints")
            .iter()
            .any(|taint| text(taint, "/key") == NOT_READY && text(taint, "/effect") == "NoSchedule");
        if !tainted && let Some(taints) = spec(object).and_then(|spec| list(spec, "taints")) {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}
