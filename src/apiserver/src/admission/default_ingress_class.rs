//! DefaultIngressClass: an Ingress that names no class gets the default one.

use apimachinery::meta;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::chain::{Mutation, Operation, Plugin, Request};
use super::default_storage_class::newest;
use super::support::spec;
use crate::cached::Memo;
use crate::registry::Registry;

const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// How Ingresses named their class before it was a field.
const CLASS: &str = "kubernetes.io/ingress.class";

/// See the module.
pub(super) struct DefaultIngressClass {
    classes: Memo<Value>,
}

impl DefaultIngressClass {
    pub(super) fn new(registry: Registry) -> Self {
        Self { classes: Memo::new(registry, "networking.k8s.io", "ingressclasses") }
    }
}

impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for DefaultIngressClass {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if !request.is("networking.k8s.io", "ingresses") || request.operation != Operation::Create {
            return Ok(());
        }
        let named = object.pointer("/spec/ingressClassName").is_some_and(|class| !class.is_null());
        if named || meta::annotation(object, CLASS).is_some() {
            return Ok(());
        }
        if let Some(class) = newest(self.classes.list("").await?, &[DEFAULT])
            && let Some(spec) = spec(object)
        {
            spec.insert("ingressClassName".into(), json!(meta::name(&class)));
        }
        Ok(())
    }
}
