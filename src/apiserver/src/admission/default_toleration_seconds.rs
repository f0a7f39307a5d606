//! DefaultTolerationSeconds: pods stay for a while on a node that is not ready or not reachable.

use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::chain::{Mutation, Operation, Plugin, Request};
use super::support::{list, spec, text};

/// Upstream's default.
const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// See the module. How long pods stay on a node that is not ready, and on one that is not reachable
/// (`--default-not-ready-toleration-seconds`, `--default-unreachable-toleration-seconds`).
#[derive(Clone, Copy, Debug)]
pub struct DefaultTolerationSeconds {
    /// On a node that is not ready.
    pub not_ready: i64,
    /// On a node that is not reachable.
    pub unreachable: i64,
}

impl Default for DefaultTolerationSeconds {
    fn default() -> Self {
        Self { not_ready: SECONDS, unreachable: SECONDS }
    }
}

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for DefaultTolerationSeconds {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if !request.is("", "pods") || !matches!(request.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let Some(spec) = spec(object) else { return Ok(()) };
        let tolerated = |list: &[Value], taint: &str| {
            list.iter().any(|toleration| {
                let key = text(toleration, "/key");
                (key == taint || key.is_empty()) && matches!(text(toleration, "/effect"), "NoExecute" | "")
            })
        };
        let present = spec.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
        let all = TAINTS.into_iter().zip([self.not_ready, self.unreachable]);
        for (taint, seconds) in all.filter(|(taint, _)| !tolerated(&present, taint)) {
            if let Some(list) = list(spec, "tolerations") {
                list.push(json!({
                    "key": taint,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": seconds,
                }));
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
    async fn each_condition_has_its_time() {
        let plugin = DefaultTolerationSeconds { not_ready: 7, ..DefaultTolerationSeconds::default() };
        let mut pod = json!({"spec": {}});
        plugin.admit(&Scene::new(Operation::Create, "a", "p").request(), &mut pod).await.unwrap();
        let seconds = |at: usize| pod["spec"]["tolerations"][at]["tolerationSeconds"].as_i64().unwrap();
        assert_eq!((seconds(0), seconds(1)), (7, 300));
    }
}
