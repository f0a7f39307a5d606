//! The Node authorizer: what a kubelet may do, and to which objects.

use std::sync::Arc;

use apimachinery::fields::FieldSelector;
use apimachinery::status::Result;
use async_trait::async_trait;

use super::attributes::{Attributes, Authorizer, Decision, ResolvedRules};
use super::node_graph::NodeGraph;
use super::rule::Rule;
use crate::authentication::UserInfo;
use crate::bootstrap;
use crate::registry::Registry;

/// Where node leases are.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Allows users `system:node:NAME` of group `system:nodes` what they need, and of secrets, configmaps,
/// volumes and the like only those that pods bound to their node refer to (KEP-279, KEP-4601).
///
/// What it allows to write, admission (NodeRestriction) narrows further.
pub struct NodeAuthorizer {
    graph: NodeGraph,
    rules: Vec<Rule>,
}

impl NodeAuthorizer {
    /// Decides from the pods in the registry.
    pub fn new(registry: Registry) -> Arc<Self> {
        Arc::new(Self { graph: NodeGraph::new(registry), rules: bootstrap::node_rules() })
    }

    /// `Ok(None)`: the static rules decide.
    async fn decide(&self, node: &str, a: &Attributes<'_>) -> Result<Option<Decision>> {
        if !a.resource_request {
            return Ok(None);
        }
        let decision = match (a.api_group, a.resource) {
            ("", "secrets") => match read_namespaced(a) {
                Err(refused) => refused,
                Ok(()) => related(node, self.graph.reaches_secret(node, a.namespace, a.name).await?),
            },
            ("", "configmaps") => match read_namespaced(a) {
                Err(refused) => refused,
                Ok(()) => related(node, self.graph.reaches_config_map(node, a.namespace, a.name).await?),
            },
            ("", "serviceaccounts") => {
                let allowed = if a.subresource == "token" {
                    named(a, a.verb == "create", "can only create tokens for individual service accounts")
                } else {
                    read_namespaced(a)
                };
                match allowed {
                    Err(refused) => refused,
                    Ok(()) => {
                        related(node, self.graph.reaches_service_account(node, a.namespace, a.name).await?)
                    }
                }
            }
            ("", "persistentvolumeclaims") => {
                let allowed = if a.subresource == "status" {
                    let updates = matches!(a.verb, "update" | "patch");
                    named(a, updates, "can only update/patch the status of this type")
                } else {
                    get(a)
                };
                match allowed {
                    Err(refused) => refused,
                    Ok(()) => related(node, self.graph.reaches_claim(node, a.namespace, a.name).await?),
                }
            }
            ("", "persistentvolumes") => match get(a) {
                Err(refused) => refused,
                Ok(()) => related(node, self.graph.reaches_volume(node, a.name).await?),
            },
            ("resource.k8s.io", "resourceclaims") => match get(a) {
                Err(refused) => refused,
                Ok(()) => related(node, self.graph.reaches_resource_claim(node, a.namespace, a.name).await?),
            },
            ("storage.k8s.io", "volumeattachments") => match get(a) {
                Err(refused) => refused,
                Ok(()) => related(node, self.graph.reaches_attachment(node, a.name).await?),
            },
            ("coordination.k8s.io", "leases") => lease(node, a),
            ("storage.k8s.io", "csinodes") => csi_node(node, a),
            ("resource.k8s.io", "resourceslices") => resource_slice(node, a),
            ("", "nodes") => return Ok(node_object(node, a)),
            ("", "pods") => return self.pod(node, a).await,
            _ => return Ok(None),
        };
        Ok(Some(decision))
    }

    async fn pod(&self, node: &str, a: &Attributes<'_>) -> Result<Option<Decision>> {
        let of_one_pod = match (a.subresource, a.verb) {
            ("", "list" | "watch") => {
                let selected = FieldSelector::parse(a.field_selector).unwrap_or_default();
                if selected.exact("spec.nodeName") == Some(node) {
                    return Ok(Some(allow()));
                }
                if a.name.is_empty() {
                    let reason =
                        format!("can only list/watch pods with spec.nodeName field selector {node:?}");
                    return Ok(Some(no(reason)));
                }
                true
            }
            ("", "get") => true,
            // Writing statuses, creating and deleting mirror pods and evicting are for NodeRestriction to judge, which sees
            // the pod: one that is gone is NotFound.
            _ => false,
        };
        if !of_one_pod {
            return Ok(None);
        }
        let pod = self.graph.pod(a.namespace, a.name).await?;
        Ok(Some(related(node, pod.is_some_and(|pod| pod.node == node))))
    }
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let Some(node) = attributes.user.node_name() else { return no("") };
        // A list or watch of one object names it in its field selector.
        let selected = FieldSelector::parse(attributes.field_selector).unwrap_or_default();
        let attributes = &match selected.exact("metadata.name") {
            Some(name) if attributes.name.is_empty() => Attributes { name, ..*attributes },
            _ => *attributes,
        };
        match self.decide(node, attributes).await {
            Ok(Some(decision)) => decision,
            Ok(None) if self.rules.iter().any(|rule| rule.allows(attributes)) => allow(),
            Ok(None) => no(""),
            Err(error) => no(error.message),
        }
    }

    fn rules_for(&self, user: &UserInfo, _: &str) -> ResolvedRules {
        let mut resolved = ResolvedRules::default();
        if user.node_name().is_some() {
            resolved.errors.push("node authorizer does not support user rule resolution".into());
        }
        resolved
    }
}

impl std::fmt::Debug for NodeAuthorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeAuthorizer")
    }
}

fn allow() -> Decision {
    Decision::Allow(String::new())
}

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion(reason.into())
}

fn related(node: &str, reaches: bool) -> Decision {
    if reaches { allow() } else { no(format!("no relationship found between node '{node}' and this object")) }
}

/// The request has to be of the right kind (else the reason) and to name an object.
fn named(a: &Attributes<'_>, right: bool, reason: &str) -> std::result::Result<(), Decision> {
    if !right {
        return Err(no(reason));
    }
    if a.name.is_empty() {
        return Err(no("No Object name found"));
    }
    Ok(())
}

fn get(a: &Attributes<'_>) -> std::result::Result<(), Decision> {
    if !a.subresource.is_empty() {
        return Err(no("cannot get subresource"));
    }
    named(a, a.verb == "get", "can only get individual resources of this type")
}

fn read_namespaced(a: &Attributes<'_>) -> std::result::Result<(), Decision> {
    if !a.subresource.is_empty() {
        return Err(no("cannot read subresource"));
    }
    if a.namespace.is_empty() {
        return Err(no("can only read namespaced object of this type"));
    }
    named(a, matches!(a.verb, "get" | "list" | "watch"), "can only read resources of this type")
}

fn lease(node: &str, a: &Attributes<'_>) -> Decision {
    if a.namespace != LEASE_NAMESPACE {
        return no(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    // The name of an object to be created is not in the request; NodeRestriction sees the object.
    if a.verb != "create" && a.name != node {
        return no("can only access node lease with the same name as the requesting node");
    }
    allow()
}

fn csi_node(node: &str, a: &Attributes<'_>) -> Decision {
    if !a.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    if !matches!(a.verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if a.verb != "create" && a.name != node {
        return no("can only access CSINode with the same name as the requesting node");
    }
    allow()
}

fn resource_slice(node: &str, a: &Attributes<'_>) -> Decision {
    if !a.subresource.is_empty() {
        return no("cannot authorize ResourceSlice subresources");
    }
    match a.verb {
        // NodeRestriction sees whose slice it is.
        "create" | "get" | "update" | "patch" | "delete" => allow(),
        "list" | "watch" | "deletecollection" => {
            let selected = FieldSelector::parse(a.field_selector).unwrap_or_default();
            if selected.exact("spec.nodeName") == Some(node) {
                allow()
            } else {
                no(format!(
                    "can only list/watch/deletecollection resourceslices with spec.nodeName field selector {node:?}"
                ))
            }
        }
        _ => no(
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
        ),
    }
}

fn node_object(node: &str, a: &Attributes<'_>) -> Option<Decision> {
    let own = match (a.subresource, a.verb) {
        ("", "create") => a.name.is_empty() || a.name == node,
        ("", "get" | "list" | "watch" | "update" | "patch") | ("status", "update" | "patch") => {
            a.name == node
        }
        _ => return None,
    };
    let verb = if a.is_read_only() { "read" } else { a.verb };
    Some(if own {
        allow()
    } else {
        no(format!("node '{node}' cannot {verb} '{}', only its own Node object", a.name))
    })
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
