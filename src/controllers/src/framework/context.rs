//! What every controller is built from.

use client::{EventRecorder, Informer, Rest, SharedInformers, informer::index};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, ReplicaSet},
    core::v1::{Node, Pod, Service},
};

use crate::ownership;

/// The API and the shared caches, for one run of the controllers.
#[derive(Clone)]
pub struct Context {
    /// Requests as `system:kube-controller-manager`.
    pub rest: Rest,
    /// The caches of this process.
    pub informers: SharedInformers,
}

impl Context {
    /// A recorder whose events say that `component` made them.
    pub fn recorder(&self, component: &str) -> EventRecorder {
        EventRecorder::new(self.rest.client().clone(), component, "")
    }

    /// All pods, indexed by controller, by node, and orphans by namespace.
    pub fn pods(&self) -> Informer<Pod> {
        let pods = self.informers.pods();
        pods.add_index(index::CONTROLLER_UID, |pod| ownership::controller_uid(&pod.metadata));
        pods.add_index(index::NODE_NAME, |pod| {
            pod.spec
                .iter()
                .filter_map(|spec| spec.node_name.clone())
                .filter(|name| !name.is_empty())
                .collect()
        });
        pods.add_index(ownership::ORPHANS, |pod| ownership::orphan_namespace(&pod.metadata));
        pods
    }

    /// All replica sets, indexed by controller, and orphans by namespace.
    pub fn replica_sets(&self) -> Informer<ReplicaSet> {
        let replica_sets = self.informers.get::<ReplicaSet>();
        replica_sets.add_index(index::CONTROLLER_UID, |set| ownership::controller_uid(&set.metadata));
        replica_sets.add_index(ownership::ORPHANS, |set| ownership::orphan_namespace(&set.metadata));
        replica_sets
    }

    /// All controller revisions, indexed by controller.
    pub fn controller_revisions(&self) -> Informer<ControllerRevision> {
        let revisions = self.informers.get::<ControllerRevision>();
        revisions.add_index(index::CONTROLLER_UID, |revision| ownership::controller_uid(&revision.metadata));
        revisions
    }

    /// All nodes.
    pub fn nodes(&self) -> Informer<Node> {
        self.informers.get()
    }

    /// All services.
    pub fn services(&self) -> Informer<Service> {
        self.informers.get()
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
