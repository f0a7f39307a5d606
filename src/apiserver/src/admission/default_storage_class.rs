//! DefaultStorageClass: a claim that names no class gets the default one.

use std::sync::Arc;

use apimachinery::meta;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::chain::{Mutation, Operation, Plugin, Request};
use super::support::spec;
use crate::cached::Memo;
use crate::registry::Registry;

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
const DEFAULT_BETA: &str = "storageclass.beta.kubernetes.io/is-default-class";
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";

/// See the module.
pub(super) struct DefaultStorageClass {
    classes: Memo<Value>,
}

impl DefaultStorageClass {
    pub(super) fn new(registry: Registry) -> Self {
        Self { classes: Memo::new(registry, "storage.k8s.io", "storageclasses") }
    }
}

/// Of several defaults the newest; of those created in the same second the first by name.
pub(super) fn newest(objects: Vec<Arc<Value>>, annotations: &[&str]) -> Option<Arc<Value>> {
    let is_default =
        |object: &Value| annotations.iter().any(|key| meta::annotation(object, key) == Some("true"));
    objects.into_iter().filter(|object| is_default(object)).min_by(|one, two| {
        let created = |object: &Arc<Value>| meta::string(object, "creationTimestamp").to_owned();
        created(two).cmp(&created(one)).then_with(|| meta::name(one).cmp(meta::name(two)))
    })
}

impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for DefaultStorageClass {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if !request.is("", "persistentvolumeclaims") || request.operation != Operation::Create {
            return Ok(());
        }
        // An empty name asks for no class at all.
        let named = object.pointer("/spec/storageClassName").is_some_and(|class| !class.is_null());
        if named || meta::annotation(object, CLASS_BETA).is_some() {
            return Ok(());
        }
        if let Some(class) = newest(self.classes.list("").await?, &[DEFAULT, DEFAULT_BETA])
            && let Some(spec) = spec(object)
        {
            spec.insert("storageClassName".into(), json!(meta::name(&class)));
        }
        Ok(())
    }
}
