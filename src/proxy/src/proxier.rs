//! The loop: events in, transactions out.

use crate::conntrack::{self, Flows, Stale};
use crate::endpoints::reachable;
use crate::endpoints_change_tracker::EndpointsChangeTracker;
use crate::nftables::{self, NftError, NftFamily as _, Rendered, ShadowTable, render};
use crate::policy;
use crate::service::ServicePortName;
use crate::service_change_tracker::ServiceChangeTracker;
use apimachinery::family::Family;
use client::{ObjectKey, SharedInformers};
use futures::FutureExt;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::unconstrained;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

/// How often it is looked whether our table is still there: `nft flush ruleset`, as in a reload of
/// `/etc/nftables.conf`, takes it away. kube-proxy looks as often.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How long unused chains stay: long enough that a burst of changes is not doubled by their deletion.
pub(crate) const GARBAGE_AFTER: Duration = Duration::from_secs(1);

/// Waits between attempts when the kernel refuses.
pub(crate) const RETRY_FROM: Duration = Duration::from_millis(500);
pub(crate) const RETRY_TO: Duration = Duration::from_secs(30);

/// What the proxy has to know.
#[derive(Clone)]
pub struct Config {
    /// Where Services and EndpointSlices come from.
    pub informers: SharedInformers,
    /// This node; endpoints on it are local.
    pub node_name: String,
    /// The pods' networks. Their families are the ones that are served.
    pub cluster_cidrs: Vec<IpNet>,
    /// On which of the node's addresses NodePorts answer; on all of them when it is empty.
    pub node_port_addresses: Vec<IpNet>,
}

/// Why the proxy has ended.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The informers have ended before the proxy was told to.
    #[error("a watch has ended")]
    WatchEnded,
    /// The rules could not be removed.
    #[error("cannot remove the service proxy's rules")]
    Cleanup(#[source] NftError),
}

/// Keeps the node's rules in step with Services and their endpoints, until it is cancelled. Rules stay when
/// it ends. A kernel or `nft` that refuses is tried again for ever; what is wrong is logged.
///
/// # Errors
/// When the informers end.
pub async fn run(config: Config, cancel: CancellationToken) -> Result<(), ProxyError> {
    let work = work(config);
    tokio::select! {
        () = cancel.cancelled() => Ok(()),
        ended = work => ended,
    }
}

/// Removes every rule that the proxy has made.
///
/// # Errors
/// When `nft` is not there or refuses.
pub async fn cleanup() -> Result<(), ProxyError> {
    for family in Family::ALL {
        // Adding it first makes deleting it valid where it does not exist.
        let table = family.table();
        let script = format!("add table {table}\ndelete table {table}\n{}", policy::remove(family));
        nftables::apply(&script).await.map_err(ProxyError::Cleanup)?;
    }
    Ok(())
}

async fn work(config: Config) -> Result<(), ProxyError> {
    let services = config.informers.get::<Service>();
    let slices = config.informers.get::<EndpointSlice>();
    allow_node_ports_on_loopback();
    // The table is not touched before everything is known: the rules of the process before us serve till then.
    tokio::join!(services.synced(), slices.synced());
    let (mut service_events, mut slice_events) = (services.subscribe(), slices.subscribe());
    let Config { node_name, cluster_cidrs, node_port_addresses, .. } = config;
    let mut proxier = Proxier::new(&node_name, cluster_cidrs, node_port_addresses);
    let mut retry = RETRY_FROM;
    let mut look = interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // What has come in the meantime goes into the same transaction.
        // Unconstrained, or tokio's budget would end it before everything that waits is in.
        while let Some(event) = unconstrained(service_events.recv()).now_or_never() {
            proxier.service(&event.ok_or(ProxyError::WatchEnded)?);
        }
        while let Some(event) = unconstrained(slice_events.recv()).now_or_never() {
            proxier.slice(&event.ok_or(ProxyError::WatchEnded)?);
        }
        match proxier.sync().await {
            Ok(()) => retry = RETRY_FROM,
            Err(error) => {
                tracing::error!(%error, "the service proxy's rules are not in place; trying again");
                proxier.intact = false;
                sleep(retry).await;
                retry = RETRY_TO.min(retry * 2);
                continue;
            }
        }
        tokio::select! {
            event = service_events.recv() => proxier.service(&event.ok_or(ProxyError::WatchEnded)?),
            event = slice_events.recv() => proxier.slice(&event.ok_or(ProxyError::WatchEnded)?),
            () = sleep(GARBAGE_AFTER), if proxier.has_garbage() => proxier.collect_garbage().await,
            _ = look.tick() => proxier.look().await,
        }
    }
}

/// Lets packets of NodePorts on 127.0.0.1 be routed; the rules keep others off the loopback network.
fn allow_node_ports_on_loopback() {
    const SWITCH: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";
    if std::fs::read_to_string(SWITCH).is_ok_and(|value| value.trim() == "1") {
        return;
    }
    if let Err(error) = std::fs::write(SWITCH, "1") {
        tracing::warn!(%error, "cannot set {SWITCH}: NodePorts do not answer on 127.0.0.1");
    }
}

struct Proxier {
    cluster_cidrs: Vec<IpNet>,
    node_port_addresses: Vec<IpNet>,
    services: ServiceChangeTracker,
    endpoints: EndpointsChangeTracker,
    tables: Vec<(Family, ShadowTable)>,
    flows: BTreeMap<(Family, ServicePortName), Flows>,
    changed: BTreeSet<ObjectKey>,
    /// Whether the kernel holds what the tables say.
    intact: bool,
    /// Flows to forget once the rules are in place.
    stale: BTreeSet<Stale>,
}

impl Proxier {
    fn new(node_name: &str, cluster_cidrs: Vec<IpNet>, node_port_addresses: Vec<IpNet>) -> Self {
        let served = |family: &Family| cluster_cidrs.iter().any(|net| family.has(&net.addr()));
        let families = Family::ALL.into_iter().filter(served);
        Self {
            tables: families.map(|family| (family, ShadowTable::new(family))).collect(),
            cluster_cidrs,
            node_port_addresses,
            services: ServiceChangeTracker::default(),
            endpoints: EndpointsChangeTracker::new(node_name),
            flows: BTreeMap::new(),
            changed: BTreeSet::new(),
            intact: false,
            stale: BTreeSet::new(),
        }
    }

    fn service(&mut self, event: &client::Event<Service>) {
        self.changed.extend(self.services.apply(event));
    }

    fn slice(&mut self, event: &client::Event<EndpointSlice>) {
        self.changed.extend(self.endpoints.apply(event));
    }

    /// Brings the kernel to what is known.
    async fn sync(&mut self) -> Result<(), NftError> {
        let script = self.plan();
        if !script.is_empty() {
            let begin = Instant::now();
            nftables::apply(&script).await?;
            tracing::debug!(bytes = script.len(), elapsed = ?begin.elapsed(), "rules applied");
        }
        self.intact = true;
        // After the rules, or the next packet would bring the flow back.
        conntrack::forget(std::mem::take(&mut self.stale)).await;
        Ok(())
    }

    /// The transaction for what has changed.
    fn plan(&mut self) -> String {
        let changed = std::mem::take(&mut self.changed);
        let mut script = String::new();
        for (family, table) in &mut self.tables {
            let mut changes: Vec<(ServicePortName, Option<Rendered>)> = Vec::new();
            for key in &changed {
                let ports = self.services.ports(key);
                let gone = table.ports_of(&key.namespace, &key.name);
                let gone = gone.into_iter().filter(|name| !ports.iter().any(|port| port.name == *name));
                for name in gone {
                    let old = self.flows.remove(&(*family, name.clone())).unwrap_or_default();
                    self.stale.extend(conntrack::stale(&old, &Flows::default()));
                    changes.push((name, None));
                }
                for port in ports {
                    let endpoints = self.endpoints.endpoints(key, &port.name, *family);
                    let reachable = reachable(port, &endpoints);
                    if let Some(new) = Flows::of(port, &reachable, *family) {
                        let old = self.flows.insert((*family, port.name.clone()), new.clone());
                        self.stale.extend(old.iter().flat_map(|old| conntrack::stale(old, &new)));
                    }
                    let rendered = render(port, &reachable, *family, &self.cluster_cidrs);
                    changes.push((port.name.clone(), Some(rendered)));
                }
            }
            let update = table.update(changes);
            if self.intact {
                script.push_str(&update);
            } else {
                script.push_str(&table.rebuild(&self.node_port_addresses));
            }
        }
        script
    }

    fn has_garbage(&self) -> bool {
        self.tables.iter().any(|(_, table)| table.has_garbage())
    }

    async fn collect_garbage(&mut self) {
        let script: String = self.tables.iter_mut().map(|(_, table)| table.collect_garbage()).collect();
        if let Err(error) = nftables::apply(&script).await {
            tracing::warn!(%error, "unused chains could not be deleted; the table is made anew");
            self.intact = false;
        }
    }

    async fn look(&mut self) {
        for (family, _) in &self.tables {
            if !nftables::table_exists(*family).await {
                tracing::warn!(table = family.table(), "the table has gone; it is made anew");
                self.intact = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::Event;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn service(ports: Value) -> Event<Service> {
        let value = json!({"metadata": {"name": "dns", "namespace": "kube-system"},
            "spec": {"clusterIP": "10.152.183.10", "ports": ports}});
        Event::Applied(Arc::new(serde_json::from_value(value).unwrap()), None)
    }

    fn slice(addresses: &[&str]) -> Event<EndpointSlice> {
        let endpoints: Vec<Value> =
            addresses.iter().map(|address| json!({"addresses": [address], "nodeName": "node1"})).collect();
        let value = json!({"metadata": {"name": "dns-x", "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "dns"}},
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53}]});
        Event::Applied(Arc::new(serde_json::from_value(value).unwrap()), None)
    }

    #[test]
    fn the_table_is_made_once_and_then_only_changed() {
        let mut proxier = Proxier::new("node1", vec!["10.1.0.0/16".parse().unwrap()], vec![]);
        let ports = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53}]);
        proxier.service(&service(ports.clone()));
        proxier.slice(&slice(&["10.1.0.2"]));
        let script = proxier.plan();
        assert!(script.starts_with("add table ip knarr-proxy\ndelete table ip knarr-proxy\n"), "{script}");
        assert!(!script.contains("ip6"));
        proxier.intact = true;
        assert_eq!(proxier.plan(), "");

        // Only this service's chains, and the flows of the endpoint that has gone.
        proxier.slice(&slice(&["10.1.0.3"]));
        let script = proxier.plan();
        assert!(!script.contains("table ip knarr-proxy {"), "{script}");
        assert!(script.contains("dnat to 10.1.0.3:53") && !script.contains("element"), "{script}");
        assert_eq!(std::mem::take(&mut proxier.stale).len(), 1);
        assert!(proxier.has_garbage());

        // One port fewer.
        proxier.service(&service(json!([{"name": "tcp", "port": 53}])));
        let script = proxier.plan();
        assert!(script.contains("delete element ip knarr-proxy service-ips { 10.152.183.10 . udp . 53 }"));
        assert!(!script.contains("cluster-ips"), "{script}");
        assert_eq!(std::mem::take(&mut proxier.stale).len(), 1);

        // When somebody has removed the table, all of it comes back.
        proxier.intact = false;
        assert!(proxier.plan().contains("table ip knarr-proxy {"));
    }
}
