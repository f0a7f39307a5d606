//! Checks the expressions of validating admission policies against the kinds they are for, and tells what does not
//! fit in their status.
//!
//! Upstream counterpart: `validatingadmissionpolicy-status-controller`.

use std::sync::Arc;

use api::admissionregistration::type_checking::{ExpressionWarning, WithCustom, check, names_others};
use async_trait::async_trait;
use client::{Informer, ObjectKey, Rest, rest::Patch};
use http::Method;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use serde_json::{Value, json};

use crate::framework::{Action, Context, Controller, ReconcileError, Watches};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const NAME: &str = "validatingadmissionpolicy-status-controller";

/// The controller; keys are policies.
pub struct ValidatingAdmissionPolicyStatus {
    rest: Rest,
    policies: Informer<ValidatingAdmissionPolicy>,
}

impl ValidatingAdmissionPolicyStatus {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self { rest: context.rest.clone(), policies: context.informers.get() }
    }

    /// All CustomResourceDefinitions. Asked for only where a policy names something that is not built in.
    async fn definitions(&self) -> Result<Vec<Value>, ReconcileError> {
        let text = self.rest.raw(Method::GET, DEFINITIONS, None).await?;
        let mut list: Value =
            serde_json::from_str(&text).map_err(|e| ReconcileError::Retry(e.to_string()))?;
        Ok(match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        })
    }
}

#[async_trait]
impl Controller for ValidatingAdmissionPolicyStatus {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.policies);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(policy) = self.policies.get(key) else { return Ok(Action::Done) };
        let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
        if observed.is_some() && observed == policy.metadata.generation {
            return Ok(Action::Done);
        }
        let tree = serde_json::to_value(&*policy).map_err(|e| ReconcileError::Retry(e.to_string()))?;
        let definitions = if names_others(&tree) { self.definitions().await? } else { Vec::new() };
        let status = status(policy.metadata.generation, &check(&tree, &WithCustom(&definitions)));
        let patch = Patch::Merge(json!({
            "metadata": {"uid": policy.metadata.uid, "resourceVersion": policy.metadata.resource_version},
            "status": status,
        }));
        self.rest.patch::<ValidatingAdmissionPolicy>(key, "status", &patch).await?;
        Ok(Action::Done)
    }
}

fn status(generation: Option<i64>, warnings: &[ExpressionWarning]) -> Value {
    let warnings: Vec<Value> =
        warnings.iter().map(|w| json!({"fieldRef": w.field_ref, "warning": w.warning})).collect();
    // Null takes away what an earlier generation was warned of.
    let warnings = if warnings.is_empty() { Value::Null } else { Value::from(warnings) };
    json!({"observedGeneration": generation, "typeChecking": {"expressionWarnings": warnings}})
}
