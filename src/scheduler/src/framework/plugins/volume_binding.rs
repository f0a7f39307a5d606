//! A pod's claims have to exist; those that are bound have to be reachable from the node, and for those that wait for
//! their first consumer (`WaitForFirstConsumer`) there has to be a volume, or somebody to make one.
//!
//! The choice for the node that wins is written before the pod is bound, see [`choose`] and `crate::bind_volumes`.

use super::matches_node_selector;
use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit};
use crate::volumes::Volumes;
use client::Selector;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, TopologySelectorTerm};
use k8s_openapi::api::storage::v1::StorageClass;
use std::collections::HashSet;
use std::sync::Arc;
use volume_binding::{
    Consumer, NO_PROVISIONER, SELECTED_NODE, annotation, claim_class, is_delayed, is_fully_bound, pod_claims,
};

/// See the module.
pub struct VolumeBinding;

const UNBOUND: &str = "pod has unbound immediate PersistentVolumeClaims";
const CONFLICT: &str = "node(s) didn't match PersistentVolume's node affinity";
const NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind";
const NO_SPACE: &str = "node(s) did not have enough free storage";
const GONE: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// What is to be written before a pod can be bound to a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// Claims and the volumes that they get.
    pub bind: Vec<(Arc<PersistentVolumeClaim>, Arc<PersistentVolume>)>,
    /// Claims that a volume is to be made for.
    pub provision: Vec<Arc<PersistentVolumeClaim>>,
}

impl Choice {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.provision.is_empty()
    }
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::VolumeChanged, ClusterEvent::NodeAdded, ClusterEvent::NodeChanged]
    }

    fn pre_filter(&self, pod: &Pod, snapshot: &Snapshot<'_>) -> Result<(), Unfit> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        for (name, is_ephemeral) in pod_claims(pod) {
            let unfit = |why: String| Err(Unfit::for_good(why));
            let Some(claim) = snapshot.volumes.claim(namespace, &name) else {
                return unfit(if is_ephemeral {
                    format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""
                    )
                } else {
                    format!("persistentvolumeclaim \"{name}\" not found")
                });
            };
            if claim.metadata.deletion_timestamp.is_some() {
                return unfit(format!("persistentvolumeclaim \"{name}\" is being deleted"));
            }
            if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
                let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or("");
                return unfit(format!(
                    "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
                ));
            }
            if is_ephemeral && !is_owned_by(claim, pod) {
                return unfit(format!("PVC \"{namespace}/{name}\" was not created for the pod"));
            }
            if !is_fully_bound(claim) && !is_delayed(snapshot.volumes.class(claim_class(claim))) {
                return unfit(UNBOUND.to_owned());
            }
        }
        Ok(())
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, snapshot: &Snapshot<'_>) -> Result<(), Unfit> {
        choose(pod, node, snapshot.volumes).map(|_| ())
    }
}

/// What a pod's claims get if it goes to this node.
///
/// # Errors
/// Why it cannot go there.
pub fn choose(pod: &Pod, node: &NodeInfo, volumes: &Volumes) -> Result<Choice, Unfit> {
    let mut choice = Choice::default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let Some(node) = &node.node else { return Ok(choice) };
    let mut waiting: Vec<&Arc<PersistentVolumeClaim>> = Vec::new();
    for (name, _) in pod_claims(pod) {
        let Some(claim) = volumes.claim(namespace, &name) else { continue };
        if !is_fully_bound(claim) {
            waiting.push(claim);
            continue;
        }
        let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or("");
        let Some(volume) = volumes.volume(volume) else { return Err(Unfit::for_good(GONE)) };
        if !reaches(node, volume) {
            return Err(Unfit::for_good(CONFLICT));
        }
    }
    // The smallest first: a large claim leaves no volume that only a small one could have had.
    waiting.sort_by_key(|claim| requested(claim));
    let mut picked = HashSet::new();
    for claim in waiting {
        let selected = annotation(&claim.metadata, SELECTED_NODE).filter(|selected| !selected.is_empty());
        if let Some(selected) = selected {
            if node.metadata.name.as_deref() != Some(selected) {
                return Err(Unfit::for_good(NO_VOLUME));
            }
            choice.provision.push(Arc::clone(claim));
            continue;
        }
        let free = volumes.free_for(claim).filter(|volume| !picked.contains(&volume.metadata.name));
        let accepts = |volume: &PersistentVolume| reaches(node, volume);
        let found = volume_binding::find(claim, free.map(Arc::as_ref), Consumer::On(&accepts));
        let found = found.and_then(|found| volumes.volume(found.metadata.name.as_deref().unwrap_or("")));
        if let Some(volume) = found {
            picked.insert(volume.metadata.name.clone());
            choice.bind.push((Arc::clone(claim), Arc::clone(volume)));
        } else {
            let class = volumes.class(claim_class(claim)).filter(|class| makes_volumes_for(class, node));
            let Some(class) = class else { return Err(Unfit::for_good(NO_VOLUME)) };
            if !has_space(volumes, class, claim, node) {
                return Err(Unfit::for_good(NO_SPACE));
            }
            choice.provision.push(Arc::clone(claim));
        }
    }
    Ok(choice)
}

/// Whether a node reaches a volume.
pub fn reaches(node: &Node, volume: &PersistentVolume) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|selector| matches_node_selector(selector, node))
}

fn makes_volumes_for(class: &StorageClass, node: &Node) -> bool {
    if class.provisioner.is_empty() || class.provisioner == NO_PROVISIONER {
        return false;
    }
    let topologies = class.allowed_topologies.as_deref().unwrap_or_default();
    topologies.is_empty() || topologies.iter().any(|term| in_topology(term, node))
}

/// Whether the driver that makes volumes of a class has told of enough storage that the node reaches, if it tells at all
/// (KEP-1472).
fn has_space(volumes: &Volumes, class: &StorageClass, claim: &PersistentVolumeClaim, node: &Node) -> bool {
    if !volumes.tells_capacity(&class.provisioner) {
        return true;
    }
    let Some(wanted) = requested(claim) else { return true };
    volumes.capacities().any(|capacity| {
        let limit = capacity.maximum_volume_size.as_ref().or(capacity.capacity.as_ref());
        let limit: Option<apimachinery::quantity::Quantity> = limit.and_then(|limit| limit.0.parse().ok());
        Some(&capacity.storage_class_name) == class.metadata.name.as_ref()
            && limit.is_some_and(|limit| limit.value() >= wanted.value())
            && capacity.node_topology.is_some()
            && Selector::new(capacity.node_topology.as_ref()).matches(node.metadata.labels.as_ref())
    })
}

fn in_topology(term: &TopologySelectorTerm, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let requirements = term.match_label_expressions.as_deref().unwrap_or_default();
    requirements.iter().all(|one| label(&one.key).is_some_and(|value| one.values.contains(value)))
}

fn requested(claim: &PersistentVolumeClaim) -> Option<apimachinery::quantity::Quantity> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage")?.0.parse().ok()
}

fn is_owned_by(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    let mut owners = claim.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == pod.metadata.uid.as_ref())
}

#[cfg(test)]
#[path = "volume_binding_tests.rs"]
mod tests;
