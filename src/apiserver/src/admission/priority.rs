//! Priority: turns the name of a priority class into the number that the scheduler goes by.

use std::sync::Arc;

use apimachinery::meta;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::chain::{Mutation, Operation, Plugin, Request, Validation};
use super::support::{forbidden, spec, text};
use crate::cached::Memo;
use crate::registry::Registry;

const PREEMPT_LOWER: &str = "PreemptLowerPriority";

/// See the module.
pub(super) struct Priority {
    classes: Memo<Class>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Class {
    metadata: ClassMeta,
    #[serde(default)]
    value: i64,
    #[serde(default)]
    global_default: bool,
    #[serde(default = "preempt_lower")]
    preemption_policy: String,
}

#[derive(Deserialize)]
struct ClassMeta {
    name: String,
}

fn preempt_lower() -> String {
    PREEMPT_LOWER.into()
}

impl Priority {
    pub(super) fn new(registry: Registry) -> Self {
        Self { classes: Memo::new(registry, "scheduling.k8s.io", "priorityclasses") }
    }

    /// The default class; the least important one, should several claim to be it.
    async fn default_class(&self) -> Result<Option<Arc<Class>>, Status> {
        let classes = self.classes.list_recent("").await?;
        Ok(classes.into_iter().filter(|class| class.global_default).min_by_key(|class| class.value))
    }

    async fn admit_pod(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let field = |object: &Value, field: &str| {
            object.pointer(&format!("/spec/{field}")).filter(|value| !value.is_null()).cloned()
        };
        if request.operation == Operation::Update {
            // Both are immutable: an update that leaves them out means to leave them alone.
            let Some(old) = request.old else { return Ok(()) };
            for name in ["priority", "preemptionPolicy"] {
                if field(object, name).is_none()
                    && let (Some(value), Some(spec)) = (field(old, name), spec(object))
                {
                    spec.insert(name.into(), value);
                }
            }
            return Ok(());
        }
        let name = text(object, "/spec/priorityClassName").to_owned();
        let class = if name.is_empty() {
            self.default_class().await?
        } else {
            let found = self.classes.recent("", &name).await?;
            let missing =
                || forbidden(request, object, format!("no PriorityClass with name {name} was found"));
            Some(found.ok_or_else(missing)?)
        };
        let (name, value, policy) = match &class {
            Some(class) => (class.metadata.name.as_str(), class.value, class.preemption_policy.as_str()),
            None => ("", 0, PREEMPT_LOWER),
        };
        if let Some(given) = field(object, "priority")
            && given != json!(value)
        {
            return Err(forbidden(
                request,
                object,
                format!(
                    "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
                ),
            ));
        }
        if let Some(given) = field(object, "preemptionPolicy")
            && given != json!(policy)
        {
            return Err(forbidden(
                request,
                object,
                format!(
                    "the string value of PreemptionPolicy ({}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name",
                    given.as_str().unwrap_or("")
                ),
            ));
        }
        if let Some(spec) = spec(object) {
            if !name.is_empty() {
                spec.insert("priorityClassName".into(), json!(name));
            }
            spec.insert("priority".into(), json!(value));
            spec.insert("preemptionPolicy".into(), json!(policy));
        }
        Ok(())
    }
}

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for Priority {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if writes && request.is("", "pods") {
            return self.admit_pod(request, object).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Validation for Priority {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        let is_default = |class: &Value| class.get("globalDefault").and_then(Value::as_bool) == Some(true);
        if !writes || !request.is("scheduling.k8s.io", "priorityclasses") || !is_default(object) {
            return Ok(());
        }
        let other = self.default_class().await?.filter(|other| other.metadata.name != meta::name(object));
        match other {
            None => Ok(()),
            Some(other) => Err(forbidden(
                request,
                object,
                format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    other.metadata.name
                ),
            )),
        }
    }
}
