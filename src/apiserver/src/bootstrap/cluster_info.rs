//! What somebody who has nothing but a bootstrap token learns of the cluster: the ConfigMap `kube-public/cluster-info`,
//! which the bootstrap signer signs, and the leave to read it.
//!
//! Upstream counterpart: kubeadm's phase `bootstrap-token`, whose names the role and its binding have.

use apimachinery::gvk::GroupResource;
use apimachinery::status::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::registry::Registry;

const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";
const ROLE: &str = "kubeadm:bootstrap-signer-clusterinfo";
const KUBECONFIG: &str = "kubeconfig";
const RBAC: &str = "rbac.authorization.k8s.io";

/// Writes where the cluster is and whose certificates it shows (PEM). Signatures of other words go with them.
///
/// # Errors
/// When the store fails.
pub(crate) async fn publish(registry: &Registry, server: &str, authorities_pem: &str) -> Result<()> {
    let config_maps = GroupResource::new("", "configmaps");
    let kubeconfig = kubeconfig(server, authorities_pem);
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {KUBECONFIG: kubeconfig},
    });
    let role = json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "Role",
        "metadata": {"name": ROLE, "namespace": NAMESPACE},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [NAME], "verbs": ["get"]}],
    });
    let binding = json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding",
        "metadata": {"name": ROLE, "namespace": NAMESPACE},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": ROLE},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "system:anonymous"}],
    });
    // Whoever took the leave away again took it away for good: it comes with the ConfigMap only.
    if create(registry, &config_maps, object).await? {
        create(registry, &GroupResource::new(RBAC, "roles"), role).await?;
        create(registry, &GroupResource::new(RBAC, "rolebindings"), binding).await?;
        return Ok(());
    }
    let told = registry.guaranteed_update(&config_maps, NAMESPACE, NAME, |found| {
        if found.pointer("/data/kubeconfig").and_then(Value::as_str) != Some(&kubeconfig) {
            api::value::set(found, "data", json!({KUBECONFIG: kubeconfig}));
        }
        Ok(())
    });
    match told.await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}

/// Whether it was not there.
async fn create(registry: &Registry, resource: &GroupResource, object: Value) -> Result<bool> {
    match registry.create(resource, object).await {
        Err(status) if status.is_already_exists() => Ok(false),
        other => other.map(|_| true),
    }
}

/// A kubeconfig for nobody in particular.
fn kubeconfig(server: &str, authorities_pem: &str) -> String {
    format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: {server}\n  \
         name: \"\"\ncontexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {{}}\nusers: null\n",
        STANDARD.encode(authorities_pem)
    )
}
