//! What the pods of a node refer to: how far a kubelet's rights to secrets and the like reach.
//!
//! Upstream keeps a graph of all pods up to date; here the few pods of the node that asks are looked at when
//! it asks, and each is parsed once per revision. So writing pods costs nothing here.

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::Result;
use serde::Deserialize;
use serde_json::Value;
use storage::{Filter, ListOptions, Signature};

use crate::cached::Memo;
use crate::registry::{Registry, prefix};

/// Marks the API server's copy of a pod that a kubelet runs from a file; it entitles to nothing, since the
/// kubelet itself writes it.
pub(crate) const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// The field by which pods of a node are found.
const NODE_NAME: &str = "spec.nodeName";

/// What a node is allowed to reach by way of its pods.
pub(crate) struct NodeGraph {
    registry: Registry,
    pods: Memo<PodFacts>,
    claims: Memo<ClaimFacts>,
    volumes: Memo<VolumeFacts>,
    attachments: Memo<AttachmentFacts>,
}

/// What a pod refers to.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Value")]
pub(crate) struct PodFacts {
    pub(crate) namespace: String,
    pub(crate) node: String,
    pub(crate) service_account: String,
    pub(crate) secrets: Vec<String>,
    pub(crate) config_maps: Vec<String>,
    pub(crate) claims: Vec<String>,
    pub(crate) resource_claims: Vec<String>,
}

#[derive(Deserialize)]
struct ClaimFacts {
    #[serde(default)]
    spec: ClaimSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ClaimSpec {
    volume_name: String,
}

#[derive(Deserialize)]
#[serde(from = "Value")]
struct VolumeFacts {
    /// Namespace and name.
    secrets: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct AttachmentFacts {
    #[serde(default)]
    spec: AttachmentSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct AttachmentSpec {
    node_name: String,
}

impl NodeGraph {
    pub(crate) fn new(registry: Registry) -> Self {
        let memo = registry.clone();
        Self {
            pods: Memo::new(memo.clone(), "", "pods"),
            claims: Memo::new(memo.clone(), "", "persistentvolumeclaims"),
            volumes: Memo::new(memo.clone(), "", "persistentvolumes"),
            attachments: Memo::new(memo, "storage.k8s.io", "volumeattachments"),
            registry,
        }
    }

    /// A pod, wherever it runs.
    pub(crate) async fn pod(&self, namespace: &str, name: &str) -> Result<Option<Arc<PodFacts>>> {
        self.pods.get(namespace, name).await
    }

    /// The pods bound to a node, in one namespace or in all.
    async fn pods_of(&self, node: &str, namespace: &str) -> Result<Vec<Arc<PodFacts>>> {
        let on = node.to_owned();
        let options = ListOptions {
            filter: Some(Filter::new(Signature::default().with_field(NODE_NAME, node), move |object| {
                object.attrs.field(NODE_NAME) == Some(&on)
            })),
            ..ListOptions::default()
        };
        let pods = GroupResource::new("", "pods");
        let list = self.registry.storage().list(&prefix(&pods, namespace), options).await;
        let list = list.map_err(apimachinery::status::Status::internal)?;
        let mut out = Vec::new();
        for object in &list.items {
            let pod = self.pods.parse(object)?;
            if pod.node == node {
                out.push(pod);
            }
        }
        Ok(out)
    }

    pub(crate) async fn reaches_secret(&self, node: &str, namespace: &str, name: &str) -> Result<bool> {
        if self.any(node, namespace, |pod| &pod.secrets, name).await? {
            return Ok(true);
        }
        // Volumes name secrets too, in any namespace.
        for volume in self.volumes_of(node).await? {
            if let Some(volume) = self.volumes.get("", &volume).await?
                && volume.secrets.iter().any(|(ns, secret)| ns == namespace && secret == name)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) async fn reaches_config_map(&self, node: &str, namespace: &str, name: &str) -> Result<bool> {
        self.any(node, namespace, |pod| &pod.config_maps, name).await
    }

    pub(crate) async fn reaches_claim(&self, node: &str, namespace: &str, name: &str) -> Result<bool> {
        self.any(node, namespace, |pod| &pod.claims, name).await
    }

    pub(crate) async fn reaches_resource_claim(
        &self,
        node: &str,
        namespace: &str,
        name: &str,
    ) -> Result<bool> {
        self.any(node, namespace, |pod| &pod.resource_claims, name).await
    }

    pub(crate) async fn reaches_service_account(
        &self,
        node: &str,
        namespace: &str,
        name: &str,
    ) -> Result<bool> {
        Ok(self.pods_of(node, namespace).await?.iter().any(|pod| pod.service_account == name))
    }

    pub(crate) async fn reaches_volume(&self, node: &str, name: &str) -> Result<bool> {
        Ok(self.volumes_of(node).await?.iter().any(|volume| volume == name))
    }

    pub(crate) async fn reaches_attachment(&self, node: &str, name: &str) -> Result<bool> {
        Ok(self.attachments.get("", name).await?.is_some_and(|found| found.spec.node_name == node))
    }

    async fn any(
        &self,
        node: &str,
        namespace: &str,
        field: impl Fn(&PodFacts) -> &Vec<String>,
        name: &str,
    ) -> Result<bool> {
        Ok(self
            .pods_of(node, namespace)
            .await?
            .iter()
            .any(|pod| field(pod).iter().any(|other| other == name)))
    }

    async fn volumes_of(&self, node: &str) -> Result<Vec<String>> {
        let mut volumes = Vec::new();
        for pod in self.pods_of(node, "").await? {
            for claim in &pod.claims {
                if let Some(claim) = self.claims.get(&pod.namespace, claim).await?
                    && !claim.spec.volume_name.is_empty()
                {
                    volumes.push(claim.spec.volume_name.clone());
                }
            }
        }
        Ok(volumes)
    }
}

impl From<Value> for PodFacts {
    fn from(pod: Value) -> Self {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
        let mut facts = Self {
            namespace: meta::namespace(&pod).to_owned(),
            node: text("/spec/nodeName"),
            ..Self::default()
        };
        if meta::annotation(&pod, MIRROR_ANNOTATION).is_some() {
            return facts;
        }
        facts.service_account = text("/spec/serviceAccountName");
        facts.secrets.extend(items(&pod, "/spec/imagePullSecrets").filter_map(|item| string(item, "/name")));
        let containers = ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"];
        for container in containers.iter().flat_map(|list| items(&pod, list)) {
            for from in items(container, "/envFrom") {
                facts.secrets.extend(string(from, "/secretRef/name"));
                facts.config_maps.extend(string(from, "/configMapRef/name"));
            }
            for variable in items(container, "/env") {
                facts.secrets.extend(string(variable, "/valueFrom/secretKeyRef/name"));
                facts.config_maps.extend(string(variable, "/valueFrom/configMapKeyRef/name"));
            }
        }
        for volume in items(&pod, "/spec/volumes") {
            facts.volume(volume, meta::name(&pod));
        }
        let claims = items(&pod, "/spec/resourceClaims").chain(items(&pod, "/status/resourceClaimStatuses"));
        facts.resource_claims.extend(claims.filter_map(|claim| string(claim, "/resourceClaimName")));
        facts
    }
}

impl PodFacts {
    fn volume(&mut self, volume: &Value, pod: &str) {
        // Where each volume source names a secret (core/v1 Volume).
        const SECRETS: [&str; 10] = [
            "/secret/secretName",
            "/azureFile/secretName",
            "/cephfs/secretRef/name",
            "/cinder/secretRef/name",
            "/csi/nodePublishSecretRef/name",
            "/flexVolume/secretRef/name",
            "/iscsi/secretRef/name",
            "/rbd/secretRef/name",
            "/scaleIO/secretRef/name",
            "/storageos/secretRef/name",
        ];
        self.secrets.extend(SECRETS.iter().filter_map(|pointer| string(volume, pointer)));
        self.config_maps.extend(string(volume, "/configMap/name"));
        self.claims.extend(string(volume, "/persistentVolumeClaim/claimName"));
        if volume.get("ephemeral").is_some_and(|source| !source.is_null())
            && let Some(name) = string(volume, "/name")
        {
            self.claims.push(format!("{pod}-{name}"));
        }
        for source in items(volume, "/projected/sources") {
            self.secrets.extend(string(source, "/secret/name"));
            self.config_maps.extend(string(source, "/configMap/name"));
        }
    }
}

impl From<Value> for VolumeFacts {
    fn from(volume: Value) -> Self {
        // Where each persistent volume source names a secret (core/v1 PersistentVolumeSpec).
        const SECRETS: [(&str, &str); 12] = [
            ("/spec/azureFile/secretNamespace", "/spec/azureFile/secretName"),
            ("/spec/cephfs/secretRef/namespace", "/spec/cephfs/secretRef/name"),
            ("/spec/cinder/secretRef/namespace", "/spec/cinder/secretRef/name"),
            ("/spec/csi/controllerExpandSecretRef/namespace", "/spec/csi/controllerExpandSecretRef/name"),
            ("/spec/csi/controllerPublishSecretRef/namespace", "/spec/csi/controllerPublishSecretRef/name"),
            ("/spec/csi/nodeExpandSecretRef/namespace", "/spec/csi/nodeExpandSecretRef/name"),
            ("/spec/csi/nodePublishSecretRef/namespace", "/spec/csi/nodePublishSecretRef/name"),
            ("/spec/csi/nodeStageSecretRef/namespace", "/spec/csi/nodeStageSecretRef/name"),
            ("/spec/flexVolume/secretRef/namespace", "/spec/flexVolume/secretRef/name"),
            ("/spec/iscsi/secretRef/namespace", "/spec/iscsi/secretRef/name"),
            ("/spec/rbd/secretRef/namespace", "/spec/rbd/secretRef/name"),
            ("/spec/scaleIO/secretRef/namespace", "/spec/scaleIO/secretRef/name"),
        ];
        let claim_namespace = string(&volume, "/spec/claimRef/namespace").unwrap_or_default();
        let secrets = SECRETS.iter().filter_map(|(namespace, name)| {
            let name = string(&volume, name)?;
            Some((string(&volume, namespace).unwrap_or_else(|| claim_namespace.clone()), name))
        });
        Self { secrets: secrets.collect() }
    }
}

fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn string(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_to_refer_to_a_secret_or_config_map_counts() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {
                "nodeName": "n", "serviceAccountName": "sa",
                "imagePullSecrets": [{"name": "pull"}],
                "initContainers": [{"envFrom": [{"secretRef": {"name": "env-from"}}, {"configMapRef": {"name": "cm-from"}}]}],
                "containers": [{"env": [
                    {"name": "a", "valueFrom": {"secretKeyRef": {"name": "env"}}},
                    {"name": "b", "valueFrom": {"configMapKeyRef": {"name": "cm-env"}}},
                    {"name": "c", "value": "x"}]}],
                "volumes": [
                    {"name": "v1", "secret": {"secretName": "vol"}},
                    {"name": "v2", "configMap": {"name": "cm-vol"}},
                    {"name": "v3", "projected": {"sources": [{"secret": {"name": "proj"}}, {"configMap": {"name": "cm-proj"}}]}},
                    {"name": "v4", "persistentVolumeClaim": {"claimName": "claim"}},
                    {"name": "v5", "ephemeral": {"volumeClaimTemplate": {}}}],
            },
            "status": {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "p-gpu"}]},
        });
        let facts = PodFacts::from(pod.clone());
        assert_eq!(facts.secrets, ["pull", "env", "env-from", "vol", "proj"]);
        assert_eq!(facts.config_maps, ["cm-env", "cm-from", "cm-vol", "cm-proj"]);
        assert_eq!(facts.claims, ["claim", "p-v5"]);
        assert_eq!(facts.resource_claims, ["p-gpu"]);
        let mut mirror = pod;
        meta::set_annotation(&mut mirror, MIRROR_ANNOTATION, "x");
        let facts = PodFacts::from(mirror);
        assert_eq!((facts.node.as_str(), facts.secrets.len()), ("n", 0));
    }
}
