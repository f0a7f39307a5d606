//! A CSI driver attaches no more volumes to a node than it has told that it can (`allocatable.count` of its CSINode).

use crate::cache::NodeInfo;
use crate::framework::{ClusterEvent, Plugin, Snapshot, Unfit};
use crate::volumes::Volumes;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeSet;
use volume_binding::{claim_class, pod_claims};

/// See the module.
pub struct NodeVolumeLimits;

const FULL: &str = "node(s) exceed max volume count";

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn events_to_register(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::PodDeleted, ClusterEvent::VolumeChanged]
    }

    fn filter(&self, pod: &Pod, node: &NodeInfo, snapshot: &Snapshot<'_>) -> Result<(), Unfit> {
        let wanted = attachable(pod, snapshot.volumes);
        if wanted.is_empty() {
            return Ok(());
        }
        let mut limits = snapshot.volumes.limits(node.name()).peekable();
        if limits.peek().is_none() {
            return Ok(());
        }
        let there: BTreeSet<Attachable> =
            node.pods.values().flat_map(|other| attachable(other, snapshot.volumes)).collect();
        for (driver, limit) in limits {
            let of_driver = |one: &&Attachable| one.driver == driver;
            // What another pod has attached already is attached once.
            let new = wanted.difference(&there).filter(of_driver).count();
            if new > 0 && there.iter().filter(of_driver).count() + new > limit {
                return Err(Unfit::because(FULL));
            }
        }
        Ok(())
    }
}

/// A volume that a driver attaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attachable {
    driver: String,
    which: Which,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    /// By the driver's name for it.
    Handle(String),
    /// The one that a claim will get, `NAMESPACE/NAME`.
    OfClaim(String),
}

/// The volumes of a pod that drivers attach, and will once they are made.
fn attachable(pod: &Pod, volumes: &Volumes) -> BTreeSet<Attachable> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let of_claim = |name: &str| {
        let claim = volumes.claim(namespace, name)?;
        let bound = claim.spec.as_ref().and_then(|spec| volumes.volume(spec.volume_name.as_deref()?));
        if let Some(volume) = bound {
            let source = volume.spec.as_ref()?.csi.as_ref()?;
            let which = Which::Handle(source.volume_handle.clone());
            return Some(Attachable { driver: source.driver.clone(), which });
        }
        let class = volumes.class(claim_class(claim))?;
        let which = Which::OfClaim(format!("{namespace}/{name}"));
        Some(Attachable { driver: class.provisioner.clone(), which })
    };
    pod_claims(pod).filter_map(|(name, _)| of_claim(&name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::schedule_one::tests::Nowhere;
    use crate::testing::{named_pod, node};
    use serde_json::{Value, json};
    use std::sync::Arc;

    /// Claims `a`, `b` and `c` bound to volumes of driver `d`, `x` to one of no driver, and `w` and `v` that wait for one
    /// of `d`'s. Node `n` takes two of `d`.
    fn volumes() -> Volumes {
        let mut volumes = Volumes::default();
        let mut claim = |name: &str, spec: Value| {
            let claim = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
            volumes.apply_claim(Arc::new(serde_json::from_value(claim).unwrap()));
        };
        for name in ["a", "b", "c", "x"] {
            claim(name, json!({"volumeName": format!("pv-{name}")}));
        }
        for name in ["w", "v"] {
            claim(name, json!({"storageClassName": "s"}));
        }
        for name in ["a", "b", "c", "x"] {
            let source = match name {
                "x" => json!({"hostPath": {"path": "/x"}}),
                name => json!({"csi": {"driver": "d", "volumeHandle": name}}),
            };
            let volume = json!({"metadata": {"name": format!("pv-{name}")}, "spec": source});
            volumes.apply_volume(Arc::new(serde_json::from_value(volume).unwrap()));
        }
        let class = json!({"metadata": {"name": "s"}, "provisioner": "d"});
        volumes.apply_class(Arc::new(serde_json::from_value(class).unwrap()));
        let drivers = json!([{"name": "d", "nodeID": "n", "allocatable": {"count": 2}},
            {"name": "e", "nodeID": "n", "allocatable": {"count": 0}}, {"name": "f", "nodeID": "n"}]);
        let node = json!({"metadata": {"name": "n"}, "spec": {"drivers": drivers}});
        volumes.apply_csi_node(Arc::new(serde_json::from_value(node).unwrap()));
        volumes
    }

    fn using(name: &str, claims: &[&str]) -> Pod {
        let volume = |claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}});
        let volumes: Vec<Value> = claims.iter().map(volume).collect();
        named_pod(name, json!({"containers": [], "volumes": volumes}))
    }

    /// Whether a pod with some claims fits a node where a pod with others is.
    fn fits(on: &str, there: &[&str], claims: &[&str]) -> bool {
        let mut cache = Cache::default();
        cache.apply_node(Arc::new(node(on, json!({}))));
        cache.assume(Arc::new(using("other", there)), on);
        let volumes = volumes();
        let snapshot =
            Snapshot { cache: &cache, volumes: &volumes, namespaces: &Nowhere, workloads: &Nowhere };
        let verdict = NodeVolumeLimits.filter(&using("p", claims), cache.node(on).unwrap(), &snapshot);
        assert!(verdict.is_ok() || verdict == Err(Unfit::because(FULL)));
        verdict.is_ok()
    }

    #[test]
    fn a_driver_attaches_no_more_volumes_than_it_can() {
        assert!(fits("n", &["a"], &["b"]));
        assert!(!fits("n", &["a", "b"], &["c"]));
        assert!(!fits("n", &["a"], &["b", "c"]));
        assert!(fits("m", &["a", "b"], &["c"]), "nothing is known of this node");
    }

    #[test]
    fn volumes_that_are_to_be_made_count_and_those_of_no_driver_do_not() {
        assert!(!fits("n", &["a", "w"], &["v"]));
        assert!(!fits("n", &["a", "w"], &["b"]));
        assert!(fits("n", &["a", "b"], &["x"]));
        assert!(fits("n", &["a", "b"], &[]));
    }

    #[test]
    fn what_is_attached_already_counts_once() {
        assert!(fits("n", &["a", "b"], &["b"]));
        assert!(fits("n", &["a", "w"], &["w", "a"]));
        assert!(!fits("n", &["a", "b"], &["b", "c"]));
    }
}
