//! PodSecurity: the Pod Security Standards, as the labels of a namespace ask for them (KEP-2579).

use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::status::Status;
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::chain::{Operation, Plugin, Request, Validation};
use super::pod_security_checks::{Level, Violation, violations};
use super::pod_security_policy::{PodSecurityConfiguration, Policy, Standard};
use super::support::forbidden;
use crate::cached::Memo;
use crate::registry::Registry;

/// Keys of audit annotations.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
const VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";
const EXEMPT: &str = "pod-security.kubernetes.io/exempt";
const ERROR: &str = "pod-security.kubernetes.io/error";
/// At most so many pods are looked at when the labels of a namespace change (as upstream).
const PODS_CHECKED: usize = 3000;

/// See the module.
pub(super) struct PodSecurity {
    registry: Registry,
    namespaces: Memo<Namespace>,
    configured: Arc<PodSecurityConfiguration>,
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
    pub(super) fn new(registry: Registry, configured: Arc<PodSecurityConfiguration>) -> Self {
        Self { namespaces: Memo::new(registry.clone(), "", "namespaces"), registry, configured }
    }

    /// A changed level of a namespace: warns of the pods that would not be let in now.
    async fn namespace(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        let asked = Policy::of_object(object, &self.configured);
        let before = request.old.map(|old| Policy::of_object(old, &self.configured));
        let new_errors = before.as_ref().is_none_or(|before| before.errors != asked.errors);
        if !asked.errors.is_empty() && new_errors {
            return Err(Status::invalid(request.kind, apimachinery::meta::name(object), &asked.errors));
        }
        let name = apimachinery::meta::name(object);
        if self.configured.exemptions.has_namespace(name) {
            let labelled = |key: &str| apimachinery::meta::label(object, key).is_some();
            if let Some(told) = self.configured.ignored(&asked, name, labelled) {
                request.warnings.add(told);
            }
            return Ok(());
        }
        let Some(before) = before.map(|before| before.enforce) else { return Ok(()) };
        let enforced = asked.enforce;
        let relaxed = enforced.version == before.version && enforced.level <= before.level;
        if enforced.level == Level::Privileged || relaxed {
            return Ok(());
        }
        let pods = apimachinery::gvk::GroupResource::new("", "pods");
        let mut reported: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pod in self.registry.list_values(&pods, name).await?.iter().take(PODS_CHECKED) {
            let spec = pod.get("spec").unwrap_or(&Value::Null);
            let found =
                violations(enforced.level, enforced.version, spec, apimachinery::meta::annotations(pod));
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
            "existing pods in namespace {name:?} violate the new PodSecurity enforce level \"{enforced}\""
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

    /// What the namespace of a request asks.
    async fn policy(&self, request: &Request<'_>) -> Result<Policy, Status> {
        let namespace = self.namespaces.recent("", request.namespace).await?;
        Ok(namespace
            .map(|namespace| Policy::of_labels(&namespace.metadata.labels, &self.configured))
            .unwrap_or_default())
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

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for PodSecurity {
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
        let spec = pod.get("spec").unwrap_or(&Value::Null);
        if is_pod
            && request.operation == Operation::Update
            && request.old.is_some_and(|old| old.get("spec") == Some(spec))
        {
            return Ok(());
        }
        let exemptions = &self.configured.exemptions;
        let exempt = exemptions.of_request(request.namespace, &request.user.name);
        if let Some(why) = exempt.or_else(|| exemptions.of_pod(spec)) {
            request.annotations.add(EXEMPT, why);
            return Ok(());
        }
        let policy = self.policy(request).await?;
        if policy.asks_nothing() {
            if is_pod {
                request.annotations.add(ENFORCED, Standard::default().to_string());
            }
            return Ok(());
        }
        if !policy.errors.is_empty() && request.annotations.are_kept() {
            let errors: Vec<String> = policy.errors.iter().map(ToString::to_string).collect();
            request.annotations.add(ERROR, format!("Failed to parse policy: {}", errors.join(", ")));
        }
        let annotations = apimachinery::meta::annotations(pod);
        let check = |asked: &Standard| tell(&violations(asked.level, asked.version, spec, annotations));
        let mut refused = None;
        if is_pod {
            request.annotations.add(ENFORCED, policy.enforce.to_string());
            refused = check(&policy.enforce);
        }
        if request.annotations.are_kept()
            && let Some(found) = check(&policy.audit)
        {
            let note = format!("would violate PodSecurity \"{}\": {found}", policy.audit);
            request.annotations.add(VIOLATIONS, note);
        }
        if let Some(found) = refused {
            let why = format!("violates PodSecurity \"{}\": {found}", policy.enforce);
            return Err(forbidden(request, object, why));
        }
        if let Some(found) = check(&policy.warn) {
            request.warnings.add(format!("would violate PodSecurity \"{}\": {found}", policy.warn));
        }
        Ok(())
    }
}

/// Violations in one line; `None` when there are none.
fn tell(found: &[Violation]) -> Option<String> {
    let texts: Vec<String> =
        found.iter().map(|violation| format!("{} ({})", violation.reason, violation.detail)).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}
