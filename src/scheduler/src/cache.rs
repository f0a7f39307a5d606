//! Nodes with the pods on them. A pod that was given a node but is not bound yet is assumed to be there.

use crate::host_ports::HostPort;
use crate::resources::Resources;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A node and what is on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node; none while only pods of it are known.
    pub node: Option<Arc<Node>>,
    /// Its pods by uid.
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// What the node offers.
    pub allocatable: Resources,
    /// What its pods ask for.
    pub requested: Resources,
    /// The same with defaults for pods that ask for nothing; for scores.
    pub requested_or_default: Resources,
    /// Ports of the host that its pods take.
    pub host_ports: Vec<HostPort>,
}

impl NodeInfo {
    /// The node's name.
    pub fn name(&self) -> &str {
        self.node.as_ref().and_then(|n| n.metadata.name.as_deref()).unwrap_or("")
    }

    /// One of the node's labels.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.as_ref()?.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    fn add(&mut self, pod: Arc<Pod>) {
        let uid = uid(&pod).to_owned();
        self.remove(&uid);
        self.requested.add(&Resources::requested(&pod));
        self.requested_or_default.add(&Resources::requested_or_default(&pod));
        self.host_ports.extend(HostPort::of(&pod));
        self.pods.insert(uid, pod);
    }

    fn remove(&mut self, uid: &str) -> bool {
        let Some(pod) = self.pods.remove(uid) else { return false };
        self.requested.subtract(&Resources::requested(&pod));
        self.requested_or_default.subtract(&Resources::requested_or_default(&pod));
        for port in HostPort::of(&pod) {
            if let Some(at) = self.host_ports.iter().position(|p| *p == port) {
                self.host_ports.swap_remove(at);
            }
        }
        true
    }
}

/// All nodes. Changed by informer events and by assumptions.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    nodes: BTreeMap<String, NodeInfo>,
    // The node of each pod by uid, and whether that is only assumed.
    placed: HashMap<String, (String, bool)>,
}

impl Cache {
    /// The nodes in order of their names, without those of which only pods are known.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().filter(|info| info.node.is_some())
    }

    /// A node.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name).filter(|info| info.node.is_some())
    }

    /// All pods that are on nodes.
    pub fn pods(&self) -> impl Iterator<Item = (&NodeInfo, &Arc<Pod>)> {
        self.nodes().flat_map(|info| info.pods.values().map(move |pod| (info, pod)))
    }

    /// A new or changed node.
    pub fn apply_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let info = self.nodes.entry(name).or_default();
        info.allocatable = Resources::allocatable(&node);
        info.node = Some(node);
    }

    /// A node that is gone. Its pods stay known until they are gone too.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(info) = self.nodes.get_mut(name) {
            info.node = None;
            info.allocatable = Resources::default();
        }
        self.forget_if_empty(name);
    }

    /// A pod that has a node. Confirms an assumption.
    pub fn apply_pod(&mut self, pod: Arc<Pod>) {
        let uid = uid(&pod).to_owned();
        let node = pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
        self.place(uid, node, pod, false);
    }

    /// A pod that is about to be bound to a node.
    pub fn assume(&mut self, pod: Arc<Pod>, node: &str) {
        self.place(uid(&pod).to_owned(), node.to_owned(), pod, true);
    }

    /// Takes back an assumption, unless it was confirmed since.
    pub fn forget(&mut self, uid: &str) {
        if self.placed.get(uid).is_some_and(|(_, assumed)| *assumed) {
            self.remove_pod(uid);
        }
    }

    /// A pod that is gone or has ended. Answers whether it was on a node.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some((node, _)) = self.placed.remove(uid) else { return false };
        if let Some(info) = self.nodes.get_mut(&node) {
            info.remove(uid);
        }
        self.forget_if_empty(&node);
        true
    }

    fn place(&mut self, uid: String, node: String, pod: Arc<Pod>, assumed: bool) {
        self.remove_pod(&uid);
        self.nodes.entry(node.clone()).or_default().add(pod);
        self.placed.insert(uid, (node, assumed));
    }

    fn forget_if_empty(&mut self, name: &str) {
        if self.nodes.get(name).is_some_and(|info| info.node.is_none() && info.pods.is_empty()) {
            self.nodes.remove(name);
        }
    }
}

/// The uid of a pod.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{named_pod, node};
    use serde_json::json;

    fn asking(name: &str, cpu: &str) -> Arc<Pod> {
        Arc::new(named_pod(
            name,
            json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}},
                                   "ports": [{"containerPort": 1, "hostPort": 80}]}]}),
        ))
    }

    #[test]
    fn assuming_forgetting_and_confirming_keep_the_sums_right() {
        let mut cache = Cache::default();
        cache.apply_node(Arc::new(node("n", json!({}))));
        let pod = asking("a", "1");
        cache.assume(pod.clone(), "n");
        let sum = |cache: &Cache| cache.nodes().next().unwrap().requested.get("cpu");
        assert_eq!(sum(&cache), 1000);
        cache.forget(uid(&pod));
        assert_eq!(sum(&cache), 0);
        assert!(cache.nodes().next().unwrap().host_ports.is_empty());

        cache.assume(pod.clone(), "n");
        let mut bound = (*pod).clone();
        bound.spec.as_mut().unwrap().node_name = Some("n".to_owned());
        cache.apply_pod(Arc::new(bound));
        cache.forget(uid(&pod));
        assert_eq!(sum(&cache), 1000, "a confirmed pod is not forgotten");
        assert!(cache.remove_pod(uid(&pod)));
        assert_eq!(sum(&cache), 0);
    }

    #[test]
    fn a_node_that_comes_after_its_pods_has_them() {
        let mut cache = Cache::default();
        cache.assume(asking("a", "1"), "n");
        assert_eq!(cache.nodes().count(), 0);
        cache.apply_node(Arc::new(node("n", json!({}))));
        assert_eq!(cache.nodes().next().unwrap().pods.len(), 1);
        cache.remove_node("n");
        assert_eq!(cache.nodes().count(), 0);
    }
}
