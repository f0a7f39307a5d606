//! Which dead containers and sandboxes to remove. Pure.

use super::observed::{ObservedContainer, ObservedPod, State};
use std::collections::{BTreeMap, BTreeSet};

/// Dead containers kept per name: the last one, for `kubectl logs --previous`.
const KEPT_PER_CONTAINER: usize = 1;

/// Ids of containers to remove: all but the newest dead ones of each name; all of them when the pod is gone.
///
/// The newest container of a name is never removed while its pod exists: its status is the pod's.
pub fn removable_containers(pod: &ObservedPod, exists: bool) -> Vec<String> {
    let mut by_name: BTreeMap<&str, Vec<&ObservedContainer>> = BTreeMap::new();
    for container in &pod.containers {
        by_name.entry(&container.name).or_default().push(container);
    }
    let mut removable = Vec::new();
    for containers in by_name.values() {
        let dead = containers.iter().enumerate().filter(|(index, container)| {
            let newest = exists && *index == 0;
            !newest && matches!(container.state, State::Exited | State::Unknown | State::Created)
        });
        let keep = if exists { KEPT_PER_CONTAINER } else { 0 };
        removable.extend(dead.skip(keep).map(|(_, container)| container.id.clone()));
    }
    removable
}

/// Ids of sandboxes to remove: those that are down, hold no container that is kept, and are not the newest of
/// an existing pod.
pub fn removable_sandboxes(pod: &ObservedPod, exists: bool) -> Vec<String> {
    let removed: BTreeSet<String> = removable_containers(pod, exists).into_iter().collect();
    let in_use: BTreeSet<&str> = pod
        .containers
        .iter()
        .filter(|container| !removed.contains(&container.id))
        .map(|container| container.sandbox_id.as_str())
        .collect();
    pod.sandboxes
        .iter()
        .enumerate()
        .filter(|(index, sandbox)| {
            let newest = exists && *index == 0;
            !sandbox.ready && !newest && !in_use.contains(sandbox.id.as_str())
        })
        .map(|(_, sandbox)| sandbox.id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::observed::Sandbox;
    use super::*;

    fn container(id: &str, name: &str, state: State) -> ObservedContainer {
        ObservedContainer {
            id: id.into(),
            name: name.into(),
            sandbox_id: format!("s-{id}"),
            state,
            ..ObservedContainer::default()
        }
    }

    #[test]
    fn one_dead_container_is_kept_for_its_log() {
        let pod = ObservedPod {
            containers: vec![
                container("3", "a", State::Running),
                container("2", "a", State::Exited),
                container("1", "a", State::Exited),
                container("9", "b", State::Exited),
            ],
            ..ObservedPod::default()
        };
        assert_eq!(removable_containers(&pod, true), ["1"]);
        assert_eq!(removable_containers(&pod, false).len(), 3);
    }

    #[test]
    fn old_sandboxes_go_when_empty() {
        let sandbox = |id: &str, ready| Sandbox { id: id.into(), ready, ..Sandbox::default() };
        let pod = ObservedPod {
            sandboxes: vec![sandbox("new", true), sandbox("s-2", false), sandbox("old", false)],
            containers: vec![container("3", "a", State::Running), container("2", "a", State::Exited)],
            ..ObservedPod::default()
        };
        assert_eq!(removable_sandboxes(&pod, true), ["old"]);
    }
}
