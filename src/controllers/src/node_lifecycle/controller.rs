//! Watching nodes and leases; writing conditions and taints.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use client::{
    Event, EventRecorder, EventType, Informer, ObjectKey, Rest,
    informer::{Scope, index},
    nodes,
    rest::{self, Patch},
};
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, Pod, PodCondition},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use parking_lot::Mutex;
use serde_json::json;

use super::{
    health::Health,
    plan::{self, Eviction},
    zones::{Limiter, Permit, Zones, zone_of},
};
use crate::{
    Config,
    framework::{Action, Context, Controller, ReconcileError, Watches},
    pods,
};

const NAME: &str = "node-controller";
/// Namespace of the leases that kubelets renew.
const LEASES: &str = "kube-node-lease";
/// A node that says itself that it is not ready may be restarting its kubelet, which must not interrupt services.
/// Upstream takes its pods out of service at once; a kubelet that is alive reports on them anyway.
const NOT_READY_PATIENCE: Duration = Duration::from_secs(10);

/// The controller; keys are Nodes.
pub struct NodeLifecycle {
    context: Context,
    rest: Rest,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    leases: Informer<Lease>,
    recorder: EventRecorder,
    health: Arc<Health>,
    limiter: Mutex<Limiter>,
}

impl NodeLifecycle {
    /// The controller, not running yet.
    pub fn new(context: &Context, config: &Config) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            nodes: context.nodes(),
            pods: context.pods(),
            leases: context.informers.scoped(&Scope::namespace(LEASES)),
            recorder: context.recorder(NAME),
            health: Arc::new(Health::new(config.node_monitor_grace_period)),
            limiter: Mutex::default(),
        }
    }

    /// Marks a silent node's conditions; returns the node as it is then.
    async fn mark_unknown(&self, node: Arc<Node>) -> Result<Arc<Node>, ReconcileError> {
        let Some(conditions) = plan::unknown_conditions(&node, self.context.now()) else { return Ok(node) };
        let name = node.metadata.name.clone().unwrap_or_default();
        let was_ready = nodes::is_ready(&node);
        let mut next = (*node).clone();
        next.status.get_or_insert_default().conditions = Some(conditions);
        let written = self.rest.replace_status(&next).await?;
        if was_ready {
            let message = format!("Node {name} status is now: NodeNotReady");
            self.recorder.about(&*node, EventType::Normal, "NodeNotReady", message);
        }
        Ok(Arc::new(written))
    }

    /// The time until the pods of a node that is not ready go out of service; `None` when it is ready.
    fn patience(&self, node: &Node) -> Option<Duration> {
        let ready = nodes::condition(node, "Ready")?;
        match ready.status.as_str() {
            "True" => None,
            "False" => {
                let since = ready.last_transition_time.as_ref()?.0;
                let waited = Duration::try_from(self.context.now().duration_since(since)).unwrap_or_default();
                Some(NOT_READY_PATIENCE.saturating_sub(waited))
            }
            _ => Some(Duration::ZERO),
        }
    }

    /// Takes the pods of a node out of service. Their kubelet may be unable to say it.
    async fn mark_pods(&self, name: &str) -> Result<(), ReconcileError> {
        for pod in self.pods.by_index(index::NODE_NAME, name) {
            if !pods::is_ready(&pod) {
                continue;
            }
            let now = self.context.now();
            let ready = PodCondition {
                status: "False".into(),
                last_transition_time: Some(Time(now)),
                ..pods::condition(&pod, "Ready").cloned().unwrap_or_default()
            };
            let mut next = (*pod).clone();
            pods::set_condition(next.status.get_or_insert_default(), ready, now);
            match self.rest.replace_status(&next).await {
                Ok(_) => {
                    self.recorder.about(&*pod, EventType::Warning, "NodeNotReady", "Node is not ready");
                }
                Err(error) if rest::is_not_found(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.health.pods_marked(name);
        Ok(())
    }

    fn eviction(&self, node: &Node) -> (Eviction, Option<Duration>) {
        if plan::eviction_key(node).is_none() {
            return (Eviction::Allowed, None);
        }
        let zones = Zones::new(&self.nodes.list());
        if zones.all_disrupted() {
            return (Eviction::Forbidden, None);
        }
        if plan::is_evicting(node) {
            return (Eviction::Allowed, None);
        }
        match self.limiter.lock().ask(&zone_of(node), &zones) {
            Permit::Now => (Eviction::Allowed, None),
            Permit::After(wait) => (Eviction::NotYet, Some(wait)),
            Permit::Never => (Eviction::NotYet, None),
        }
    }
}

#[async_trait]
impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        let this = self.clone();
        watches.mapped(&self.nodes, move |event, keys| {
            let node = event.object();
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let readiness_changed = match event {
                Event::Applied(new, Some(old)) => nodes::is_ready(new) != nodes::is_ready(old),
                Event::Applied(_, None) | Event::Deleted(_) => true,
            };
            if matches!(event, Event::Applied(..)) {
                if !this.health.is_known(name) {
                    let message = format!("Node {name} event: Registered Node {name} in Controller");
                    this.recorder.about(&**node, EventType::Normal, "RegisteredNode", message);
                }
                this.health.observe_node(name, node);
                keys.add(ObjectKey::cluster(name));
            } else {
                let message = format!("Node {name} event: Removing Node {name} from Controller");
                this.recorder.about(&**node, EventType::Normal, "RemovingNode", message);
                this.health.forget(name);
            }
            if readiness_changed {
                // How a zone is decides about all of its silent nodes.
                for other in this.nodes.list().iter().filter(|other| !nodes::is_ready(other)) {
                    keys.add(ObjectKey::of(&**other));
                }
            }
        });
        let this = self.clone();
        watches.mapped(&self.leases, move |event, _| {
            let lease = event.object();
            let name = lease.metadata.name.as_deref().unwrap_or_default();
            if matches!(event, Event::Applied(..)) && this.nodes.find("", name).is_some() {
                let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
                this.health.observe_lease(name, renewed.map(|time| time.0));
            }
        });
        watches.reads(&self.pods);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(mut node) = self.nodes.get(key) else { return Ok(Action::Done) };
        let name = key.name.as_str();
        let left = self.health.left(name);
        if left.is_zero() {
            node = self.mark_unknown(node).await?;
        }
        let patience = self.patience(&node);
        if patience == Some(Duration::ZERO) && self.health.pods_need_marking(name) {
            self.mark_pods(name).await?;
        }
        let (eviction, wait) = self.eviction(&node);
        if let Some(taints) = plan::taints(&node, eviction, self.context.now()) {
            let patch = Patch::Merge(json!({
                "metadata": {
                    "uid": node.metadata.uid,
                    "resourceVersion": node.metadata.resource_version,
                },
                "spec": {"taints": Some(taints).filter(|taints| !taints.is_empty())},
            }));
            self.rest.patch::<Node>(key, "", &patch).await?;
        }
        // A silent node brings itself back by its next status.
        let silence = (!left.is_zero()).then_some(left + Duration::from_millis(10));
        let patience = patience.filter(|left| !left.is_zero());
        Ok(Action::after([silence, wait, patience].into_iter().flatten().min()))
    }
}
