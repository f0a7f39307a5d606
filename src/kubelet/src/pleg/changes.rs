//! What changed between two relists. Pure.

use crate::runtime_manager::{ObservedPod, State};
use std::collections::{BTreeMap, BTreeSet};

/// A container that runs, a sandbox that is ready.
const RUNNING: u8 = 1;

/// State by container or sandbox id, by pod uid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    pods: BTreeMap<String, BTreeMap<String, u8>>,
}

impl Snapshot {
    /// Of a relist.
    pub fn new(pods: &BTreeMap<String, ObservedPod>) -> Self {
        let state = |pod: &ObservedPod| {
            let containers = pod.containers.iter().map(|container| {
                let state = match container.state {
                    State::Created => 0,
                    State::Running => RUNNING,
                    State::Exited => 2,
                    State::Unknown => 3,
                };
                (container.id.clone(), state)
            });
            let sandboxes = pod
                .sandboxes
                .iter()
                .map(|sandbox| (sandbox.id.clone(), if sandbox.ready { RUNNING } else { 2 }));
            containers.chain(sandboxes).collect()
        };
        Self { pods: pods.iter().map(|(uid, pod)| (uid.clone(), state(pod))).collect() }
    }

    /// Whether the container or sandbox of this id is up.
    pub fn is_running(&self, id: &str) -> bool {
        self.pods.values().any(|pod| pod.get(id) == Some(&RUNNING))
    }

    /// The pods in it.
    pub fn uids(&self) -> impl Iterator<Item = &str> {
        self.pods.keys().map(String::as_str)
    }
}

/// The uids of pods of which something appeared, vanished or changed state.
pub fn changed_pods(old: &Snapshot, new: &Snapshot) -> BTreeSet<String> {
    let uids: BTreeSet<&String> = old.pods.keys().chain(new.pods.keys()).collect();
    uids.into_iter().filter(|uid| old.pods.get(*uid) != new.pods.get(*uid)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime_manager::ObservedContainer;

    #[test]
    fn only_pods_that_changed_are_named() {
        let snapshot = |states: &[(&str, State)]| {
            let pods = states.iter().map(|(uid, state)| {
                let container = ObservedContainer {
                    id: format!("c-{uid}"),
                    state: *state,
                    ..ObservedContainer::default()
                };
                ((*uid).to_owned(), ObservedPod { containers: vec![container], ..ObservedPod::default() })
            });
            Snapshot::new(&pods.collect())
        };
        let old = snapshot(&[("a", State::Running), ("b", State::Running), ("c", State::Exited)]);
        let new = snapshot(&[("a", State::Running), ("b", State::Exited), ("d", State::Running)]);
        assert_eq!(changed_pods(&old, &new).into_iter().collect::<Vec<_>>(), ["b", "c", "d"]);
    }
}
