//! NodeRestriction: a kubelet writes only what belongs to its own node.

use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::Status;
use async_trait::async_trait;
use serde_json::Value;

use super::chain::{Mutation, Operation, Plugin, Request};
use super::node_restriction_rules::{forbidden_labels, mirror_pod_references, modified_labels};
use super::support::{MIRROR_ANNOTATION, forbidden, items, text};
use crate::authorization::PodFacts;
use crate::cached::Memo;
use crate::registry::Registry;

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// See the module.
pub(super) struct NodeRestriction {
    registry: Registry,
    pods: Memo<PodFacts>,
}

impl NodeRestriction {
    pub(super) fn new(registry: Registry) -> Self {
        Self { pods: Memo::new(registry.clone(), "", "pods"), registry }
    }

    async fn pod(&self, node: &str, request: &Request<'_>, object: &Value) -> Result<(), String> {
        match (request.subresource, request.operation) {
            ("", Operation::Create) => self.create_pod(node, object).await,
            ("", Operation::Delete) => match request.old {
                Some(old) if text(old, "/spec/nodeName") == node => Ok(()),
                Some(_) => {
                    Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
                }
                // A deletion of many: each pod is judged when it comes to it.
                None => Err(format!("node {node:?} can only delete individual pods")),
            },
            ("", operation) => Err(format!(
                "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
                operation.as_str()
            )),
            ("status", Operation::Update) => pod_status(node, request, object),
            ("status", operation) => Err(format!("unexpected operation {:?}", operation.as_str())),
            ("eviction", Operation::Create) => {
                let name = match meta::name(object) {
                    "" => request.name,
                    name => name,
                };
                let pod = self.pods.recent(request.namespace, name).await.map_err(|status| status.message)?;
                match pod {
                    // Whether it exists is for the eviction to find out.
                    None => Ok(()),
                    Some(pod) if pod.node == node => Ok(()),
                    Some(_) => {
                        Err(format!("node {node} can only evict pods with spec.nodeName set to itself"))
                    }
                }
            }
            ("eviction", operation) => Err(format!("unexpected operation {}", operation.as_str())),
            (subresource, _) => Err(format!(
                "unexpected pod subresource {subresource:?}, only 'status' and 'eviction' are allowed"
            )),
        }
    }

    async fn create_pod(&self, node: &str, pod: &Value) -> Result<(), String> {
        if meta::annotation(pod, MIRROR_ANNOTATION).is_none() {
            return Err(format!(
                "pod does not have {MIRROR_ANNOTATION:?} annotation, node {node:?} can only create mirror pods"
            ));
        }
        if text(pod, "/spec/nodeName") != node {
            return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
        }
        let [owner] = meta::owner_references(pod) else {
            return Err(format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            ));
        };
        if text(owner, "/apiVersion") != "v1"
            || text(owner, "/kind") != "Node"
            || text(owner, "/name") != node
        {
            return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
        }
        if owner.get("controller").and_then(Value::as_bool) != Some(true) {
            return Err(format!(
                "node {node:?} can only create pods with a controller owner reference set to itself"
            ));
        }
        if owner.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true) {
            return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
        }
        let nodes = GroupResource::new("", "nodes");
        let own = self.registry.get_value(&nodes, "", node).await.map_err(|status| status.message)?;
        let uid = own.as_ref().map(meta::uid).unwrap_or_default();
        if own.is_none() || uid != text(owner, "/uid") {
            return Err(format!("node {node:?} UID mismatch: expected {} got {uid}", text(owner, "/uid")));
        }
        mirror_pod_references(node, pod)
    }

    async fn token(&self, node: &str, request: &Request<'_>, object: &Value) -> Result<(), String> {
        let reference = |field: &str| text(object, &format!("/spec/boundObjectRef/{field}"));
        if reference("apiVersion") != "v1" || reference("kind") != "Pod" || reference("name").is_empty() {
            return Err("node requested token not bound to a pod".into());
        }
        if reference("uid").is_empty() {
            return Err("node requested token with a pod binding without a uid".into());
        }
        let pods = GroupResource::new("", "pods");
        let pod = self.registry.get_value(&pods, request.namespace, reference("name")).await;
        let pod = pod.map_err(|status| status.message)?;
        let Some(pod) = pod else { return Err(format!("pod {:?} not found", reference("name"))) };
        if meta::uid(&pod) != reference("uid") {
            return Err(format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                reference("uid")
            ));
        }
        if text(&pod, "/spec/nodeName") != node {
            return Err("node requested token bound to a pod scheduled on a different node".into());
        }
        Ok(())
    }
}

fn pod_status(node: &str, request: &Request<'_>, pod: &Value) -> Result<(), String> {
    let Some(old) = request.old else { return Ok(()) };
    if text(old, "/spec/nodeName") != node {
        return Err(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if meta::labels(old) != meta::labels(pod) {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    if items(old, "/status/resourceClaimStatuses") != items(pod, "/status/resourceClaimStatuses") {
        return Err(format!("node {node:?} cannot update resource claim statuses"));
    }
    Ok(())
}

fn node_object(node: &str, request: &Request<'_>, object: &Value) -> Result<(), String> {
    let name = match (request.name, meta::name(object)) {
        ("", name) | (name, _) => name,
    };
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let (changed, what) = match (request.operation, request.old) {
        (Operation::Create, _) => (
            forbidden_labels(meta::labels(object).into_iter().flatten().map(|(key, _)| key)),
            "set the following labels",
        ),
        (Operation::Update, Some(old)) => {
            if items(old, "/spec/taints") != items(object, "/spec/taints") {
                return Err(format!("node {node:?} is not allowed to modify taints"));
            }
            if meta::owner_references(old) != meta::owner_references(object) {
                return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            (forbidden_labels(modified_labels(old, object).iter().map(String::as_str)), "modify labels")
        }
        _ => return Ok(()),
    };
    if changed.is_empty() {
        return Ok(());
    }
    Err(format!("node {node:?} is not allowed to {what}: {}", changed.join(", ")))
}

fn claim(node: &str, request: &Request<'_>, claim: &Value) -> Result<(), String> {
    if request.subresource != "status" {
        return Err(format!(
            "node {node:?} may only update PVC status, unexpected subresource {:?}",
            request.subresource
        ));
    }
    let (Operation::Update, Some(old)) = (request.operation, request.old) else {
        return Err(format!("unexpected operation {:?}", request.operation.as_str()));
    };
    // Capacity and conditions are what a kubelet learns when it grows a file system.
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        meta::remove(&mut claim, "managedFields");
        meta::remove(&mut claim, "resourceVersion");
        if let Some(status) = claim.get_mut("status").and_then(Value::as_object_mut) {
            for field in ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"] {
                status.remove(field);
            }
        }
        if claim.get("status").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
            && let Some(claim) = claim.as_object_mut()
        {
            claim.remove("status");
        }
        claim
    };
    if rest(old) != rest(claim) {
        return Err(format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        ));
    }
    Ok(())
}

fn lease(node: &str, request: &Request<'_>, object: &Value) -> Result<(), String> {
    if request.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    own_name(node, request, object, "can only access node lease with the same name as the requesting node")
}

fn own_name(node: &str, request: &Request<'_>, object: &Value, why: &str) -> Result<(), String> {
    let name = match (request.name, meta::name(object)) {
        ("", name) | (name, _) => name,
    };
    if name == node { Ok(()) } else { Err(why.to_owned()) }
}

fn resource_slice(node: &str, request: &Request<'_>, object: &Value) -> Result<(), String> {
    let owner = |slice: &Value| text(slice, "/spec/nodeName") == node;
    match request.operation {
        Operation::Create if !owner(object) => {
            Err("can only create ResourceSlice with the same NodeName as the requesting node".into())
        }
        Operation::Update | Operation::Delete if !request.old.is_none_or(owner) => {
            let verb = request.operation.as_str().to_lowercase();
            Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
        }
        _ => Ok(()),
    }
}

fn certificate_request(request: &Request<'_>, object: &Value) -> Result<(), String> {
    const SIGNERS: [&str; 2] =
        ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    if request.operation != Operation::Create || !SIGNERS.contains(&text(object, "/spec/signerName")) {
        return Ok(());
    }
    let subject = super::certificates::subject(object)?;
    let user = &request.user.name;
    if subject.common_name != *user {
        return Err(format!("can only create a node CSR with CN={user}"));
    }
    Ok(())
}

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn mutation(&self) -> Option<&dyn Mutation> {
        Some(self)
    }
}

#[async_trait]
impl Mutation for NodeRestriction {
    async fn admit(&self, request: &Request<'_>, object: &mut Value) -> Result<(), Status> {
        let Some(node) = request.user.node_name() else { return Ok(()) };
        let resource = (request.resource.group.as_str(), request.resource.resource.as_str());
        let judged = match resource {
            ("", "pods") => self.pod(node, request, object).await,
            ("", "nodes") => node_object(node, request, object),
            ("", "persistentvolumeclaims") => claim(node, request, object),
            ("", "serviceaccounts") if request.subresource == "token" => {
                self.token(node, request, object).await
            }
            ("coordination.k8s.io", "leases") => lease(node, request, object),
            ("storage.k8s.io", "csinodes") => own_name(
                node,
                request,
                object,
                "can only access CSINode with the same name as the requesting node",
            ),
            ("resource.k8s.io", "resourceslices") => resource_slice(node, request, object),
            ("certificates.k8s.io", "certificatesigningrequests") => certificate_request(request, object),
            _ => Ok(()),
        };
        judged.map_err(|why| forbidden(request, object, why))
    }
}

#[cfg(test)]
#[path = "node_restriction_tests.rs"]
mod tests;
