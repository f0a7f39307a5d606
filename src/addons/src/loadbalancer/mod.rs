//! The servers of the `loadbalancer` add-on, one a node: addresses for Services of type LoadBalancer, and somebody who
//! answers for them.
//!
//! One of them, the leader, gives addresses: out of the ranges, or the nodes' own when there are none. For an address of a
//! range one Ready node speaks: it has it on the interface whose network it is in, so that its kernel answers ARP or NDP, and
//! tells the neighbours. All find the same node by themselves; when it is not Ready any more, another one takes over. What comes
//! to the address is the service proxy's to spread.
//!
//! Upstream counterpart: MetalLB's layer 2 mode.

mod announcement;
mod links;
mod plan;
mod pool;
mod ranges;

use crate::http::Ready;
use apimachinery::family::Family;
use client::rest::Patch;
use client::{EventRecorder, EventType, Informer, LeaderElection, ObjectKey, Rest, SharedInformers};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use plan::Decision;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use links::{Kernel, Links};
pub use plan::CLASS;
pub use ranges::Ranges;

/// The label that names an EndpointSlice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const COMPONENT: &str = "knarr-loadbalancer";
/// What comes within this time is looked at together.
const TOGETHER: Duration = Duration::from_millis(20);
/// When something failed it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What the server needs.
pub struct Config {
    /// The node that it runs on.
    pub node_name: String,
    /// Informers over the cluster.
    pub informers: SharedInformers,
    /// Addresses that may be given; the nodes' own when there are none.
    pub ranges: Ranges,
    /// This node's interfaces.
    pub links: Arc<dyn Links>,
    /// Set when everything has been seen.
    pub ready: Ready,
}

struct Balancer {
    node: String,
    ranges: Ranges,
    services: Informer<Service>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    links: Arc<dyn Links>,
    rest: Rest,
    recorder: EventRecorder,
    giving: Notify,
    speaking: Notify,
}

/// Gives addresses when it is the leader, and speaks for those that are this node's, until `stop`.
pub async fn run(config: Config, stop: CancellationToken) {
    let client = config.informers.client().clone();
    let balancer = Arc::new(Balancer {
        ranges: config.ranges,
        services: config.informers.get(),
        nodes: config.informers.get(),
        slices: config.informers.get(),
        links: config.links,
        rest: Rest::new(client.clone()),
        recorder: EventRecorder::new(client.clone(), COMPONENT, &config.node_name),
        node: config.node_name,
        giving: Notify::new(),
        speaking: Notify::new(),
    });
    let (a, b, c) = (balancer.clone(), balancer.clone(), balancer.clone());
    let _guards = (
        balancer.services.add_handler(move |_| a.wake()),
        balancer.nodes.add_handler(move |_| b.wake()),
        balancer.slices.add_handler(move |_| c.speaking.notify_one()),
    );
    balancer.services.synced().await;
    balancer.nodes.synced().await;
    balancer.slices.synced().await;
    config.ready.set();
    let election = LeaderElection::new(client, COMPONENT, balancer.node.clone());
    let giving = election.run(&stop, |term| {
        let balancer = balancer.clone();
        async move {
            tokio::select! {
                () = term.cancelled() => {}
                () = balancer.give() => {}
            }
        }
    });
    tokio::select! {
        () = giving => {}
        () = balancer.speak() => {}
        () = stop.cancelled() => {}
    }
    // Another node speaks from now on.
    if let Err(error) = balancer.hold(&BTreeSet::new()).await {
        tracing::warn!("addresses stay on this node: {error}");
    }
}

impl Balancer {
    fn wake(&self) {
        self.giving.notify_one();
        self.speaking.notify_one();
    }

    async fn give(&self) {
        let mut told = std::collections::BTreeMap::new();
        loop {
            let mut failed = false;
            let services = self.services.list();
            let decided = plan::assign(&services, &self.nodes.list(), &self.ranges);
            for service in &services {
                let Some(decision) = decided.get(&plan::name(service)) else { continue };
                let addresses = match decision {
                    Decision::Addresses(addresses) => {
                        told.remove(&plan::name(service));
                        addresses.clone()
                    }
                    Decision::Refused(why) => {
                        if told.insert(plan::name(service), why.clone()).as_ref() != Some(why) {
                            let message =
                                format!("Failed to allocate IP for {:?}: {why}", plan::name(service));
                            self.recorder.about(&**service, EventType::Warning, "AllocationFailed", message);
                        }
                        Vec::new()
                    }
                };
                if addresses == plan::given(service) {
                    continue;
                }
                let ingress: Vec<Value> =
                    addresses.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
                let patch = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": ingress}}}));
                match self.rest.patch::<Service>(&ObjectKey::of(&**service), "status", &patch).await {
                    Ok(_) if addresses.is_empty() => {}
                    Ok(_) => {
                        let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                        let message = format!("Assigned IP [{}]", all.join(" "));
                        self.recorder.about(&**service, EventType::Normal, "IPAllocated", message);
                    }
                    Err(error) => {
                        tracing::warn!("{} does not learn its address: {error}", plan::name(service));
                        failed = true;
                    }
                }
            }
            wait(&self.giving, failed).await;
        }
    }

    async fn speak(&self) {
        loop {
            let nodes = self.nodes.list();
            let mut mine = BTreeSet::new();
            for service in self.services.list().iter().filter(|service| plan::is_mine(service)) {
                for address in plan::given(service).into_iter().filter(|a| self.ranges.contains(*a)) {
                    let local = self.local_nodes(service, Family::of(address));
                    if plan::speaker(address, &nodes, local.as_ref()).as_ref() == Some(&self.node) {
                        mine.insert(address);
                    }
                }
            }
            let held = self.hold(&mine).await;
            if let Err(error) = &held {
                tracing::warn!("cannot hold {mine:?}: {error}");
            }
            wait(&self.speaking, held.is_err()).await;
        }
    }

    async fn hold(&self, wanted: &BTreeSet<IpAddr>) -> std::io::Result<()> {
        self.links.hold(wanted, &|address| self.ranges.contains(*address)).await
    }

    /// The nodes with ready pods, of a family, of a Service that must not be reached through others.
    fn local_nodes(&self, service: &Service, family: Family) -> Option<BTreeSet<String>> {
        let policy = service.spec.as_ref().and_then(|spec| spec.external_traffic_policy.as_deref());
        policy.filter(|policy| *policy == "Local")?;
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let slices = self.slices.list_namespace(namespace);
        let of = slices.iter().filter(|slice| {
            let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
            label == service.metadata.name.as_ref() && slice.address_type == family.name()
        });
        let endpoints = of.flat_map(|slice| slice.endpoints.iter().flatten());
        let ready = endpoints.filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
        Some(ready.filter_map(|endpoint| endpoint.node_name.clone()).collect())
    }
}

async fn wait(changed: &Notify, failed: bool) {
    tokio::select! {
        () = changed.notified() => tokio::time::sleep(TOGETHER).await,
        () = tokio::time::sleep(AGAIN), if failed => {}
    }
}
