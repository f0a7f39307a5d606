//! ServiceAccount: every pod runs as an account of its namespace, and gets a token to show for it.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::Status;
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use storage::WatchFrom;

use super::chain::{Mutation, Operation, Plugin, Request, Validation};
use super::service_account_mount::mount_token;
use super::support::{CONTAINER_LISTS, MIRROR_ANNOTATION, forbidden, is_unset, items, spec, text};
use crate::cached::Memo;
use crate::registry::Registry;

const DEFAULT: &str = "default";
/// Accounts with this annotation may be used only with secrets that they name.
const ENFORCE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";
/// A new namespace gets its default account from a controller: so long is waited for it (upstream: ten
/// attempts, up to 200 ms apart).
const WAIT: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct ServiceAccount {
    registry: Registry,
    accounts: Memo<Value>,
}

impl ServiceAccount {
    pub(super) fn new(registry: Registry) -> Self {
        Self { accounts: Memo::new(registry.clone(), "", "serviceaccounts"), registry }
    }

    async fn account(&self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Status> {
        let found = self.accounts.recent(namespace, name).await?;
        if found.is_some() || name != DEFAULT {
            return Ok(found);
        }
        let accounts = GroupResource::new("", "serviceaccounts");
        let mut watch = self.registry.watch(&accounts, namespace, WatchFrom::Now).await?;
        // It may have come between the first look and the watch.
        if let Some(found) = self.accounts.recent(namespace, name).await? {
            return Ok(Some(found));
        }
        let appears = async {
            while let Some(Ok(_)) = watch.next().await {
                if let Ok(Some(found)) = self.accounts.recent(namespace, name).await {
                    return Some(found);
                }
            }
            None
        };
        Ok(tokio::time::timeout(WAIT, appears).await.unwrap_or_default())
    }
}

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for ServiceAccount {
    async fn admit(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
        if !request.is("", "pods")
            || request.operation != Operation::Create
            || meta::annotation(pod, MIRROR_ANNOTATION).is_some()
        {
            return Ok(());
        }
        let name = match text(pod, "/spec/serviceAccountName") {
            "" => DEFAULT.to_owned(),
            name => name.to_owned(),
        };
        let Some(account) = self.account(request.namespace, &name).await? else {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount {name:?} not found",
                request.namespace
            );
            return Err(forbidden(request, pod, why));
        };
        if let Some(spec) = spec(pod) {
            spec.insert("serviceAccountName".into(), json!(name));
            // The former name of the field is kept in step.
            spec.insert("serviceAccount".into(), json!(name));
        }
        if automounts(&account, pod) {
            mount_token(pod);
        }
        let none = items(pod, "/spec/imagePullSecrets").is_empty();
        let secrets = items(&account, "/imagePullSecrets");
        if none
            && !secrets.is_empty()
            && let Some(spec) = spec(pod)
        {
            spec.insert("imagePullSecrets".into(), Value::Array(secrets.to_vec()));
        }
        Ok(())
    }
}

#[async_trait]
impl Validation for ServiceAccount {
    async fn validate(&self, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
        let creates = request.is("", "pods") && request.operation == Operation::Create;
        let adds = request.is_any("", "pods") && request.subresource == "ephemeralcontainers";
        if !creates && !adds {
            return Ok(());
        }
        if creates && meta::annotation(pod, MIRROR_ANNOTATION).is_some() {
            return validate_mirror(pod).map_err(|why| forbidden(request, pod, why));
        }
        let name = text(pod, "/spec/serviceAccountName");
        let Some(account) = self.account(request.namespace, name).await? else {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount {name:?} not found",
                request.namespace
            );
            return Err(forbidden(request, pod, why));
        };
        if meta::annotation(&account, ENFORCE_SECRETS).and_then(parse_bool) == Some(true) {
            validate_secrets(&account, pod).map_err(|why| forbidden(request, pod, why))?;
        }
        Ok(())
    }
}

/// As Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn automounts(account: &Value, pod: &Value) -> bool {
    let says = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_bool);
    says(pod, "/spec/automountServiceAccountToken")
        .or_else(|| says(account, "/automountServiceAccountToken"))
        .unwrap_or(true)
}

/// A kubelet could otherwise run a pod as anybody by claiming to have done so already.
fn validate_mirror(pod: &Value) -> Result<(), String> {
    let Some(spec) = pod.get("spec").and_then(Value::as_object) else { return Ok(()) };
    if !is_unset(spec, "serviceAccountName") {
        return Err("a mirror pod may not reference service accounts".into());
    }
    let facts = crate::authorization::PodFacts::from(without_mirror_annotation(pod));
    if !facts.secrets.is_empty() {
        return Err("a mirror pod may not reference secrets".into());
    }
    let projects = items(pod, "/spec/volumes")
        .iter()
        .flat_map(|volume| items(volume, "/projected/sources"))
        .any(|source| source.get("serviceAccountToken").is_some_and(|token| !token.is_null()));
    if projects {
        return Err("a mirror pod may not use service account token volume projections".into());
    }
    Ok(())
}

/// The pod as one whose references count.
pub(super) fn without_mirror_annotation(pod: &Value) -> Value {
    let mut pod = pod.clone();
    meta::remove(&mut pod, "annotations");
    pod
}

fn validate_secrets(account: &Value, pod: &Value) -> Result<(), String> {
    let name = meta::name(account);
    let may = |list: &str, secret: &str| items(account, list).iter().any(|own| text(own, "/name") == secret);
    let refused = |what: String| {
        Err(format!("{what} is not allowed because service account {name} does not reference that secret"))
    };
    for volume in items(pod, "/spec/volumes") {
        let secret = text(volume, "/secret/secretName");
        if !secret.is_empty() && !may("/secrets", secret) {
            return refused(format!("volume with secret.secretName={secret:?}"));
        }
    }
    for list in CONTAINER_LISTS {
        for container in items(pod, &format!("/spec/{list}")) {
            let in_container = text(container, "/name");
            for variable in items(container, "/env") {
                let secret = text(variable, "/valueFrom/secretKeyRef/name");
                if !secret.is_empty() && !may("/secrets", secret) {
                    let variable = text(variable, "/name");
                    return refused(format!(
                        "container {in_container} with envVar {variable} referencing secret.secretName={secret:?}"
                    ));
                }
            }
            for from in items(container, "/envFrom") {
                let secret = text(from, "/secretRef/name");
                if !secret.is_empty() && !may("/secrets", secret) {
                    return refused(format!(
                        "container {in_container} with envFrom referencing secret.secretName={secret:?}"
                    ));
                }
            }
        }
    }
    for pull in items(pod, "/spec/imagePullSecrets") {
        let secret = text(pull, "/name");
        if !may("/imagePullSecrets", secret) {
            return Err(format!(
                "imagePullSecrets[].name={secret:?} is not allowed because service account {name} does not reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}
