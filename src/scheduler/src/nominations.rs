//! Pods that others were removed for: until they are placed, their node counts as if they were on it.

use crate::cache::uid;
use crate::priority;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The pods, by uid, and the node that each waits for.
#[derive(Clone, Debug, Default)]
pub struct Nominations(BTreeMap<String, (String, Arc<Pod>)>);

impl Nominations {
    /// The node that a pod waits for.
    pub fn node_of(&self, pod: &Pod) -> Option<&str> {
        self.0.get(uid(pod)).map(|(node, _)| node.as_str())
    }

    /// The other pods that wait for a node and are no less important.
    pub fn beside<'a>(&'a self, pod: &'a Pod, node: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.waiting(node).filter(move |other| uid(other) != uid(pod) && priority(other) >= priority(pod))
    }

    /// The pods that wait for a node and are less important.
    pub fn below(&self, pod: &Pod, node: &str) -> Vec<Arc<Pod>> {
        self.waiting(node).filter(|other| priority(other) < priority(pod)).cloned().collect()
    }

    /// A pod waits for a node.
    pub fn set(&mut self, pod: Arc<Pod>, node: &str) {
        self.0.insert(uid(&pod).to_owned(), (node.to_owned(), pod));
    }

    /// A pod waits for none any more.
    pub fn remove(&mut self, uid: &str) -> bool {
        self.0.remove(uid).is_some()
    }

    /// A pod without a node, as it is now and as it was.
    pub fn observe(&mut self, pod: &Arc<Pod>, old: Option<&Pod>) {
        let told = told(pod);
        if let Some((_, known)) = self.0.get_mut(uid(pod)) {
            known.clone_from(pod);
        }
        // What did not change now may be older than what was decided since.
        if told != old.and_then(self::told) {
            match told {
                Some(node) => self.set(Arc::clone(pod), node),
                None => {
                    self.remove(uid(pod));
                }
            }
        }
    }

    fn waiting<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Arc<Pod>> {
        self.0.values().filter(move |(waits_for, _)| waits_for == node).map(|(_, pod)| pod)
    }
}

fn told(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.nominated_node_name.as_deref().filter(|node| !node.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::named_pod;
    use serde_json::json;

    #[test]
    fn only_a_change_of_what_is_told_counts() {
        let pod = |node: Option<&str>| {
            let mut pod = named_pod("a", json!({"containers": []}));
            pod.status.get_or_insert_default().nominated_node_name = node.map(str::to_owned);
            Arc::new(pod)
        };
        let mut nominations = Nominations::default();
        nominations.observe(&pod(Some("n")), None);
        assert_eq!(nominations.node_of(&pod(None)), Some("n"), "as after a restart");
        nominations.set(pod(None), "m");
        nominations.observe(&pod(Some("n")), Some(&pod(Some("n"))));
        assert_eq!(
            nominations.node_of(&pod(None)),
            Some("m"),
            "an older word does not undo a newer decision"
        );
        nominations.observe(&pod(None), Some(&pod(Some("m"))));
        assert_eq!(nominations.node_of(&pod(None)), None);
    }
}
