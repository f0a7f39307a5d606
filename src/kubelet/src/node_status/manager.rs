//! Registers the node and posts its status: at once when something changes, else every few minutes.

use super::addresses::{among_pods, detect_addresses, with};
use super::capacity::{Capacity, quantities};
use super::conditions::ConditionState;
use super::images::node_images;
use super::info::MachineInfo;
use super::node::{labels, missing_labels, new_node};
use crate::admission::NodeView;
use crate::events::Events;
use crate::pleg::Pleg;
use crate::runtime_manager::RuntimeSettings;
use crate::runtime_state::RuntimeState;
use apimachinery::time::rfc3339;
use client::ObjectKey;
use client::rest::{self, Patch, Rest};
use cri::{Images, Runtime};
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often an unchanged status is posted (upstream's `nodeStatusReportFrequency`): the lease is the heartbeat.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// How often runtime and addresses are looked at while all is well.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The same until the runtime and its network are up: the node is to be ready within moments.
const LOOK_EVERY_WHILE_NOT_READY: Duration = Duration::from_millis(100);
/// After that long of not being ready there is no hurry any more.
const HURRY: Duration = Duration::from_secs(60);
const LOOK_EVERY_AFTER_HURRY: Duration = Duration::from_secs(1);
/// How often images are listed.
const IMAGES_EVERY: Duration = Duration::from_secs(60);
/// Pauses after a failed request.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// The parts of the node's status.
pub struct NodeStatusParts {
    /// The API server.
    pub rest: Rest,
    /// Events.
    pub events: Events,
    /// The runtime.
    pub runtime: Arc<dyn Runtime>,
    /// Images.
    pub images: Arc<dyn Images>,
    /// The runtime's state; kept fresh from here.
    pub runtime_state: Arc<RuntimeState>,
    /// Relists.
    pub pleg: Arc<Pleg>,
    /// The node's side of running pods: its addresses are kept fresh from here.
    pub settings: Arc<RuntimeSettings>,
    /// The node for admission: labels and pressure are kept fresh from here.
    pub view: Arc<RwLock<NodeView>>,
    /// `metadata.name`.
    pub node_name: String,
    /// Fixed addresses; detected when empty.
    pub node_ips: Vec<IpAddr>,
    /// Networks of pods.
    pub pod_networks: Vec<IpNet>,
    /// Whether a node tells those of its addresses among its pods whose family it lacks.
    pub address_among_pods: bool,
    /// Configured labels.
    pub labels: BTreeMap<String, String>,
    /// Taints of a new Node.
    pub taints: Vec<Taint>,
    /// Capacity.
    pub capacity: Capacity,
    /// Allocatable.
    pub allocatable: Capacity,
    /// The kubelet's port.
    pub port: u16,
    /// `kubeletVersion`.
    pub version: String,
    /// The node's `resolv.conf`.
    pub resolv_conf: std::path::PathBuf,
}

/// Looks after the Node object.
pub struct NodeStatusManager {
    parts: NodeStatusParts,
    machine: MachineInfo,
    /// Memory, disk and process id pressure.
    pressure: Mutex<(bool, bool, bool)>,
    /// Something changed: look now.
    pub wake: Notify,
    /// What was posted last may not be what the API has.
    overwritten: AtomicBool,
    /// The node's addresses among its pods.
    among_pods: Mutex<Vec<IpAddr>>,
}

/// What was posted last.
#[derive(Default)]
struct Posted {
    status: Option<Value>,
    at: Option<Instant>,
    conditions: Option<ConditionState>,
    images: Value,
    images_at: Option<Instant>,
}

impl NodeStatusManager {
    /// A manager of these parts.
    pub fn new(parts: NodeStatusParts) -> Self {
        Self {
            parts,
            machine: MachineInfo::read(),
            pressure: Mutex::default(),
            wake: Notify::new(),
            overwritten: AtomicBool::new(false),
            among_pods: Mutex::default(),
        }
    }

    /// The eviction manager's news.
    pub fn set_pressure(&self, memory: bool, disk: bool, pids: bool) {
        *self.pressure.lock() = (memory, disk, pids);
        let mut view = self.parts.view.write();
        view.memory_pressure = memory;
        view.disk_pressure = disk;
        drop(view);
        self.wake.notify_one();
    }

    /// Makes the Node, or sets the labels that an existing one lacks; returns its uid.
    ///
    /// # Cancel safety
    /// Safe: every step can be done again.
    pub async fn register(&self) -> String {
        let mut retry = FIRST_RETRY;
        loop {
            match self.try_register().await {
                Ok(node) => {
                    self.node_seen(&node);
                    return node.metadata.uid.unwrap_or_default();
                }
                Err(error) => {
                    tracing::warn!(node = self.parts.node_name, %error, "registering the node failed")
                }
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(LAST_RETRY);
        }
    }

    /// The Node's object changed.
    pub fn node_seen(&self, node: &Node) {
        self.parts.view.write().labels = Some(node.metadata.labels.clone().unwrap_or_default());
        if self.parts.address_among_pods {
            let among_pods = among_pods(node);
            let mut known = self.among_pods.lock();
            if *known != among_pods {
                *known = among_pods;
                self.wake.notify_one();
            }
        }
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
        let unknown = |condition: &NodeCondition| condition.type_ == "Ready" && condition.status == "Unknown";
        if conditions.unwrap_or_default().iter().any(unknown) {
            self.post_again();
        }
    }

    /// The API may have taken the node for dead, which it says in the node's own status: it is posted anew, changed
    /// or not.
    pub fn post_again(&self) {
        self.overwritten.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Keeps the status up to date until cancelled.
    pub async fn run(&self, cancel: &CancellationToken) {
        let started = Instant::now();
        let mut posted = Posted::default();
        let mut retry = FIRST_RETRY;
        loop {
            if self.overwritten.swap(false, Ordering::Relaxed) {
                // Times of transition are those of what is there now.
                posted.status = None;
            }
            self.look(&mut posted).await;
            let ready = self.parts.runtime_state.get().is_ready();
            let mut pause = match ready {
                true => LOOK_EVERY,
                false if started.elapsed() < HURRY => LOOK_EVERY_WHILE_NOT_READY,
                false => LOOK_EVERY_AFTER_HURRY,
            };
            match self.post(&mut posted).await {
                Ok(()) => retry = FIRST_RETRY,
                Err(error) if rest::is_not_found(&error) => {
                    // Somebody deleted the Node under a living kubelet.
                    tracing::warn!(node = self.parts.node_name, "the node is gone, registering it again");
                    posted = Posted::default();
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        _ = self.register() => {}
                    }
                    continue;
                }
                Err(error) => {
                    tracing::warn!(node = self.parts.node_name, %error, "posting the node's status failed");
                    pause = retry;
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn try_register(&self) -> Result<Node, kube::Error> {
        let parts = &self.parts;
        let key = ObjectKey::new("", parts.node_name.clone());
        let wanted = labels(&parts.node_name, &parts.labels);
        let existing = match parts.rest.get::<Node>(&key).await? {
            Some(node) => node,
            None => match parts.rest.create(&new_node(&parts.node_name, wanted.clone(), &parts.taints)).await
            {
                Err(error) if rest::is_already_exists(&error) => match parts.rest.get::<Node>(&key).await? {
                    Some(node) => node,
                    None => return Err(error),
                },
                other => return other,
            },
        };
        let missing = missing_labels(&existing, &wanted);
        if missing.is_empty() {
            return Ok(existing);
        }
        parts.rest.patch::<Node>(&key, "", &Patch::Merge(json!({"metadata": {"labels": missing}}))).await
    }

    /// Looks at runtime, addresses and images.
    async fn look(&self, posted: &mut Posted) {
        let parts = &self.parts;
        parts.runtime_state.refresh(parts.runtime.as_ref()).await;
        let ips = match parts.node_ips.as_slice() {
            [] => detect_addresses(&parts.pod_networks),
            given => given.to_vec(),
        };
        let ips = with(ips, &self.among_pods.lock());
        if *parts.settings.host_ips.read() != ips {
            tracing::info!(?ips, "the node's addresses");
            *parts.settings.host_ips.write() = ips;
        }
        if let Ok(text) = tokio::fs::read_to_string(&parts.resolv_conf).await {
            let host = crate::dns::HostResolver::parse(&text);
            let mut dns = parts.settings.dns.write();
            if dns.host != host {
                dns.host = host;
            }
        }
        let stale = posted.images_at.is_none_or(|at| at.elapsed() >= IMAGES_EVERY);
        // Not before the node is ready: nobody waits for the list.
        if stale && parts.runtime_state.get().is_ready() && posted.status.is_some() {
            if let Ok(images) = parts.images.list_images(None).await {
                posted.images = node_images(images);
            }
            posted.images_at = Some(Instant::now());
        }
    }

    async fn post(&self, posted: &mut Posted) -> Result<(), kube::Error> {
        let mut conditions = ConditionState::default();
        (conditions.memory, conditions.disk, conditions.pids) = *self.pressure.lock();
        conditions.set_runtime(&self.parts.runtime_state.get(), self.parts.pleg.healthy());
        let now = rfc3339(Timestamp::now());
        let before = posted.status.as_ref().and_then(|status| status.get("conditions")?.as_array().cloned());
        let before = match before {
            Some(before) => before,
            None => self.conditions_of_last_run().await,
        };
        let status = self.status(&conditions, &before, &now, &posted.images);
        let due = posted.at.is_none_or(|at| at.elapsed() >= REPORT_EVERY);
        let changed =
            posted.status.as_ref().is_none_or(|old| without_heartbeat(old) != without_heartbeat(&status));
        if !due && !changed {
            return Ok(());
        }
        let key = ObjectKey::new("", self.parts.node_name.clone());
        let patch = Patch::Strategic(json!({"status": for_patch(&status)}));
        self.parts.rest.patch::<Node>(&key, "status", &patch).await?;
        for reason in conditions.events_since(posted.conditions.as_ref()) {
            let message = format!("Node {} status is now: {reason}", self.parts.node_name);
            self.parts.events.node(false, reason, &message);
        }
        posted.status = Some(status);
        posted.at = Some(Instant::now());
        posted.conditions = Some(conditions);
        Ok(())
    }

    /// Transition times outlive the kubelet.
    async fn conditions_of_last_run(&self) -> Vec<Value> {
        let key = ObjectKey::new("", self.parts.node_name.clone());
        let node = self.parts.rest.get::<Node>(&key).await.ok().flatten();
        let conditions = node.and_then(|node| node.status?.conditions).unwrap_or_default();
        conditions.iter().filter_map(|condition| serde_json::to_value(condition).ok()).collect()
    }

    fn status(&self, conditions: &ConditionState, before: &[Value], now: &str, images: &Value) -> Value {
        let parts = &self.parts;
        let mut addresses: Vec<Value> = parts
            .settings
            .host_ips
            .read()
            .iter()
            .map(|ip| json!({"type": "InternalIP", "address": ip.to_string()}))
            .collect();
        addresses.push(json!({"type": "Hostname", "address": parts.node_name}));
        let mut status = json!({
            "addresses": addresses,
            "allocatable": quantities(&parts.allocatable),
            "capacity": quantities(&parts.capacity),
            "conditions": conditions.to_values(before, now),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": parts.port}},
            "nodeInfo": self.machine.to_value(&parts.runtime_state.identity(), &parts.version),
        });
        if let (Some(status), Value::Array(_)) = (status.as_object_mut(), images) {
            status.insert("images".to_owned(), images.clone());
        }
        status
    }
}

/// Addresses merge by type in a strategic merge patch, which would lose all but one of a type.
fn for_patch(status: &Value) -> Value {
    let mut status = status.clone();
    if let Some(addresses) = status.get_mut("addresses").and_then(Value::as_array_mut) {
        addresses.insert(0, json!({"$patch": "replace"}));
    }
    status
}

fn without_heartbeat(status: &Value) -> Value {
    let mut status = status.clone();
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        condition.remove("lastHeartbeatTime");
    }
    status
}
