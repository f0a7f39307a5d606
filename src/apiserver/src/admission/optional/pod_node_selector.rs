//! PodNodeSelector: pods of a namespace go to the nodes that its annotation, or the configuration, says.

use crate::admission::chain::{Mutation, Operation, Plugin, Request, Validation};
use crate::admission::support::{forbidden, spec};
use crate::cached::Memo;
use crate::registry::Registry;
use crate::settings_file::ConfigurationError;
use apimachinery::meta;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a namespace says which nodes its pods go to.
const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// What pods of namespaces get that say nothing.
const DEFAULT: &str = "clusterDefaultNodeSelector";

type Labels = BTreeMap<String, String>;

/// `podNodeSelectorPluginConfig`: the default, and by namespace which labels its pods may select nodes by.
#[derive(Clone, Debug, Default)]
pub(in crate::admission) struct NodeSelectors(BTreeMap<String, Labels>);

impl NodeSelectors {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the text holds something else.
    pub(in crate::admission) fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let wrong = |why: String| ConfigurationError::Parse(format!("podNodeSelectorPluginConfig: {why}"));
        let read = apimachinery::decode::yaml(text.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let config = read.value.get("podNodeSelectorPluginConfig").and_then(Value::as_object);
        let config = config.ok_or_else(|| wrong("is missing".to_owned()))?;
        let all = config.iter().map(|(name, selector)| {
            let selector = selector.as_str().ok_or_else(|| wrong(format!("{name}: is no text")))?;
            Ok((name.clone(), labels(selector).map_err(|why| wrong(format!("{name}: {why}")))?))
        });
        Ok(Self(all.collect::<Result<_, ConfigurationError>>()?))
    }

    fn of(&self, namespace: &str) -> Labels {
        self.0.get(namespace).cloned().unwrap_or_default()
    }
}

/// `a=b,c=d`.
fn labels(text: &str) -> Result<Labels, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pairs = parts.map(|part| match part.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        None => Err(format!("invalid selector: [{part}]")),
    });
    pairs.collect()
}

/// See the module.
pub(in crate::admission) struct PodNodeSelector {
    namespaces: Memo<Value>,
    configuration: Arc<NodeSelectors>,
}

impl PodNodeSelector {
    pub(in crate::admission) fn new(registry: Registry, configuration: Arc<NodeSelectors>) -> Self {
        Self { namespaces: Memo::new(registry, "", "namespaces"), configuration }
    }

    async fn wanted(&self, request: &Request<'_>, object: &Value) -> Result<Labels, Status> {
        let namespace = self.namespaces.recent("", request.namespace).await?;
        match namespace.as_deref().and_then(|namespace| meta::annotation(namespace, ANNOTATION)) {
            Some(text) => labels(text).map_err(|why| forbidden(request, object, why)),
            None => Ok(self.configuration.of(DEFAULT)),
        }
    }
}

fn concerns(request: &Request<'_>) -> bool {
    request.is("", "pods") && request.operation == Operation::Create
}

fn selector(object: &Value) -> Option<&Map<String, Value>> {
    object.pointer("/spec/nodeSelector")?.as_object()
}

fn conflicts(wanted: &Labels, object: &Value) -> bool {
    let has = |key: &str| selector(object)?.get(key)?.as_str();
    wanted.iter().any(|(key, value)| has(key).is_some_and(|own| own != value))
}

const CONFLICT: &str = "pod node label selector conflicts with its namespace node label selector";

impl Plugin for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for PodNodeSelector {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        if !concerns(request) {
            return Ok(());
        }
        let wanted = self.wanted(request, object).await?;
        if conflicts(&wanted, object) {
            return Err(forbidden(request, object, CONFLICT));
        }
        if !wanted.is_empty()
            && let Some(own) =
                spec(object).and_then(|spec| crate::admission::support::map(spec, "nodeSelector"))
        {
            own.extend(wanted.into_iter().map(|(key, value)| (key, Value::String(value))));
        }
        Ok(())
    }
}

#[async_trait]
impl Validation for PodNodeSelector {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if !concerns(request) {
            return Ok(());
        }
        if conflicts(&self.wanted(request, object).await?, object) {
            return Err(forbidden(request, object, CONFLICT));
        }
        let allowed = self.configuration.of(request.namespace);
        let fits = |(key, value): (&String, &Value)| allowed.get(key).map(String::as_str) == value.as_str();
        if !allowed.is_empty() && !selector(object).into_iter().flatten().all(fits) {
            let why = "pod node label selector labels conflict with its namespace whitelist";
            return Err(forbidden(request, object, why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::Scene;
    use crate::cached::testing::{create, registry};
    use serde_json::json;

    #[tokio::test]
    async fn pods_go_where_their_namespace_says() {
        let registry = registry().await;
        let namespace = |name: &str, annotations: Value| {
            json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "annotations": annotations}})
        };
        create(&registry, namespace("annotated", json!({ANNOTATION: "zone=a, tier=x"}))).await;
        create(&registry, namespace("plain", json!({}))).await;
        let text = "podNodeSelectorPluginConfig:\n  clusterDefaultNodeSelector: disk=ssd\n  plain: disk=ssd,zone=b\n";
        let configuration = NodeSelectors::parse(text).unwrap();
        assert!(NodeSelectors::parse("podNodeSelectorPluginConfig: {a: b}").is_err());
        assert!(NodeSelectors::parse("{}").is_err());
        let plugin = PodNodeSelector::new(registry, Arc::new(configuration));
        let write = async |namespace: &str, selector: Value| {
            let scene = Scene::new(Operation::Create, namespace, "p");
            let mut pod = json!({"spec": {"nodeSelector": selector}});
            plugin.admit(&scene.request(), &mut pod).await.map_err(|status| status.message)?;
            plugin.validate(&scene.request(), &pod).await.map_err(|status| status.message)?;
            Ok::<_, String>(pod["spec"]["nodeSelector"].clone())
        };
        let annotated = write("annotated", json!({"own": "1"})).await.unwrap();
        assert_eq!(annotated, json!({"own": "1", "zone": "a", "tier": "x"}));
        assert!(write("annotated", json!({"zone": "b"})).await.unwrap_err().ends_with(CONFLICT));
        assert_eq!(write("plain", json!({"zone": "b"})).await.unwrap(), json!({"zone": "b", "disk": "ssd"}));
        assert!(write("plain", json!({"own": "1"})).await.unwrap_err().ends_with("namespace whitelist"));
    }
}
