//! RuntimeClass: pods carry the overhead and the scheduling rules of the runtime they ask for (KEP-688).

use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::chain::{Mutation, Operation, Plugin, Request};
use super::support::{forbidden, items, list, map, spec, text};
use crate::cached::Memo;
use crate::registry::Registry;

/// See the module.
pub(super) struct RuntimeClass {
    classes: Memo<Value>,
}

impl RuntimeClass {
    pub(super) fn new(registry: Registry) -> Self {
        Self { classes: Memo::new(registry, "node.k8s.io", "runtimeclasses") }
    }
}

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for RuntimeClass {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if !request.is("", "pods") || request.operation != Operation::Create {
            return Ok(());
        }
        let name = text(object, "/spec/runtimeClassName").to_owned();
        let overhead = object.pointer("/spec/overhead").filter(|overhead| !overhead.is_null()).cloned();
        let given = overhead.as_ref().and_then(Value::as_object).is_some_and(|overhead| !overhead.is_empty());
        if name.is_empty() {
            if given {
                let why =
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                return Err(forbidden(request, object, why));
            }
            return Ok(());
        }
        let Some(class) = self.classes.recent("", &name).await? else {
            return Err(forbidden(request, object, format!("pod rejected: RuntimeClass {name:?} not found")));
        };
        let defined = class.pointer("/overhead/podFixed").filter(|overhead| !overhead.is_null());
        if given && overhead.as_ref() != defined {
            let why = match defined {
                Some(_) => "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
                None => "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            };
            return Err(forbidden(request, object, why));
        }
        let selector = class.pointer("/scheduling/nodeSelector").and_then(Value::as_object);
        for (key, value) in selector.into_iter().flatten() {
            let own = object.pointer("/spec/nodeSelector").and_then(|own| own.get(key));
            if let Some(own) = own
                && own != value
            {
                let show = |value: &Value| value.as_str().unwrap_or("").to_owned();
                let why = format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    show(value),
                    show(own)
                );
                return Err(forbidden(request, object, why));
            }
        }
        let Some(spec) = spec(object) else { return Ok(()) };
        if let Some(defined) = defined {
            spec.insert("overhead".into(), defined.clone());
        }
        for (key, value) in selector.into_iter().flatten() {
            if let Some(own) = map(spec, "nodeSelector") {
                own.insert(key.clone(), json!(value));
            }
        }
        for toleration in items(&class, "/scheduling/tolerations") {
            if let Some(own) = list(spec, "tolerations")
                && !own.contains(toleration)
            {
                own.push(toleration.clone());
            }
        }
        Ok(())
    }
}
