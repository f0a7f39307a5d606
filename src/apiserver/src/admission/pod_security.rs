//! PodSecurity: the Pod Security Standards, as the labels of a namespace ask for them (KEP-2579).

use std::collections::BTreeMap;

use apimachinery::status::Status;
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::chain::{Operation, Plugin, Request};
use super::pod_security_checks::{Level, violations};
use super::support::forbidden;
use crate::cached::Memo;
use crate::registry::Registry;

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const WARN: &str = "pod-security.kubernetes.io/warn";
/// At most so many pods are looked at when the labels of a namespace change (as upstream).
const PODS_CHECKED: usize = 3000;

/// See the module.
pub(super) struct PodSecurity {
    registry: Registry,
    namespaces: Memo<Namespace>,
}

#[derive(Deserialize)]
struct Namespace {
    metadata: NamespaceMeta,
}

#[derive(Deserialize)]
struct NamespaceMeta {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl PodSecurity {
    pub(super) fn new(registry: Registry) -> Self {
        Self { namespaces: Memo::new(registry.clone(), "", "namespaces"), registry }
    }

    /// A changed level of a namespace: warns of the pods that would not be let in now.
    async fn namespace(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let label = |object: &Value, key: &str| apimachinery::meta::label(object, key).map(str::to_owned);
        for key in [ENFORCE, WARN, "pod-security.kubernetes.io/audit"] {
            let changed = request.old.is_none_or(|old| label(old, key) != label(object, key));
            if let Some(value) = label(object, key)
                && changed
                && Level::parse(&value).is_none()
            {
                let path = apimachinery::field::Path::new("metadata").child("labels").key(key);
                let error = apimachinery::field::FieldError::invalid(
                    &path,
                    value,
                    "must be one of privileged, baseline, restricted",
                );
                let name = apimachinery::meta::name(object);
                return Err(Status::invalid(request.kind, name, &vec![error]));
            }
        }
        let Some(old) = request.old else { return Ok(()) };
        let level = |object: &Value| {
            label(object, ENFORCE).and_then(|value| Level::parse(&value)).unwrap_or_default()
        };
        if level(object) <= level(old) {
            return Ok(());
        }
        let name = apimachinery::meta::name(object);
        let pods = apimachinery::gvk::GroupResource::new("", "pods");
        let mut reported: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pod in self.registry.list_values(&pods, name).await?.iter().take(PODS_CHECKED) {
            let spec = pod.get("spec").cloned().unwrap_or_default();
            let found = violations(level(object), &spec, apimachinery::meta::annotations(pod));
            if !found.is_empty() {
                let reasons: Vec<&str> = found.iter().map(|violation| violation.reason).collect();
                let pod = apimachinery::meta::name(pod).to_owned();
                reported.entry(reasons.join(", ")).or_default().push(pod);
            }
        }
        if reported.is_empty() {
            return Ok(());
        }
        request.warnings.add(format!(
            "existing pods in namespace {name:?} violate the new PodSecurity enforce level \"{}:latest\"",
            level(object).as_str()
        ));
        for (reasons, pods) in reported {
            let first = pods.first().cloned().unwrap_or_default();
            let others = match pods.len() {
                1 => String::new(),
                2 => " (and 1 other pod)".into(),
                many => format!(" (and {} other pods)", many - 1),
            };
            request.warnings.add(format!("{first}{others}: {reasons}"));
        }
        Ok(())
    }

    async fn level(&self, namespace: &str, key: &str) -> Result<Level, Status> {
        let Some(namespace) = self.namespaces.get("", namespace).await? else { return Ok(Level::Privileged) };
        let Some(value) = namespace.metadata.labels.get(key) else { return Ok(Level::Privileged) };
        // A label that says nothing sensible is taken as the strictest.
        Ok(Level::parse(value).unwrap_or(Level::Restricted))
    }
}

/// The pod spec and its annotations in an object that makes pods.
fn template<'a>(request: &Request<'_>, object: &'a Value) -> Option<&'a Value> {
    let pointer = match (request.resource.group.as_str(), request.resource.resource.as_str()) {
        ("", "podtemplates") => "/template",
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => "/spec/template",
        ("batch", "cronjobs") => "/spec/jobTemplate/spec/template",
        _ => return None,
    };
    object.pointer(pointer)
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if !writes {
            return Ok(());
        }
        if request.is("", "namespaces") {
            return self.namespace(request, object).await;
        }
        let is_pod = request.is_any("", "pods")
            && matches!(request.subresource, "" | "ephemeralcontainers" | "resize");
        let pod = match (is_pod, request.subresource) {
            (true, _) => Some(object),
            (false, "") => template(request, object),
            _ => None,
        };
        let Some(pod) = pod else { return Ok(()) };
        let spec = pod.get("spec").cloned().unwrap_or_default();
        if is_pod
            && request.operation == Operation::Update
            && request.old.is_some_and(|old| old.get("spec") == Some(&spec))
        {
            return Ok(());
        }
        let annotations = apimachinery::meta::annotations(pod);
        let tell = |found: &[super::pod_security_checks::Violation]| -> String {
            let texts: Vec<String> = found
                .iter()
                .map(|violation| format!("{} ({})", violation.reason, violation.detail))
                .collect();
            texts.join(", ")
        };
        let enforced = self.level(request.namespace, ENFORCE).await?;
        if is_pod {
            let found = violations(enforced, &spec, annotations);
            if !found.is_empty() {
                let why = format!("violates PodSecurity \"{}:latest\": {}", enforced.as_str(), tell(&found));
                return Err(forbidden(request, object, why));
            }
        }
        let warned = self.level(request.namespace, WARN).await?;
        // What makes pods is never refused: the pods will be. Its author is warned of that.
        let warned = if is_pod { warned } else { warned.max(enforced) };
        let found = violations(warned, &spec, annotations);
        if !found.is_empty() {
            request.warnings.add(format!(
                "would violate PodSecurity \"{}:latest\": {}",
                warned.as_str(),
                tell(&found)
            ));
        }
        Ok(())
    }
}
