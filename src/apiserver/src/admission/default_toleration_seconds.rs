//! DefaultTolerationSeconds: pods stay for five minutes on a node that is not ready or not reachable.

use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::chain::{Operation, Plugin, Request};
use super::support::{list, spec, text};

/// As upstream (`--default-not-ready-toleration-seconds`).
const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// See the module.
pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

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
        for taint in TAINTS.into_iter().filter(|taint| !tolerated(&present, taint)) {
            if let Some(list) = list(spec, "tolerations") {
                list.push(json!({
                    "key": taint,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": SECONDS,
                }));
            }
        }
        Ok(())
    }
}
