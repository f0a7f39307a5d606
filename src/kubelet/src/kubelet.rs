//! The kubelet put together.

use crate::admission::NodeView;
use crate::cm::Cgroups;
use crate::config::Config;
use crate::dns::{HostResolver, NodeDns};
use crate::error::KubeletError;
use crate::events::Events;
use crate::eviction::EvictionManager;
use crate::images::ImageGc;
use crate::lease;
use crate::node_status::{
    NodeStatusManager, NodeStatusParts, allocatable, detect_addresses, measure_capacity,
};
use crate::objects::Objects;
use crate::pleg::{self, Pleg};
use crate::pod;
use crate::pod_workers::{PodSyncer, PodWorkers, SyncerParts, WeakPodWorkers};
use crate::prober::{ProbeManager, Results};
use crate::runtime_manager::{RuntimeManager, RuntimeParts, RuntimeSettings};
use crate::runtime_state::RuntimeState;
use crate::seen_through::SeenThrough;
use crate::server::stats::Collector;
use crate::status::StatusManager;
use crate::volume_manager::VolumeManager;
use client::rest::Rest;
use client::{Event, EventRecorder, Scope};
use cri::{Images, Runtime};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often the runtime is asked for orphans at start, until it answers.
const FIRST_SWEEP_RETRY: Duration = Duration::from_millis(500);
/// How long the runtime gets at the end for what it is doing: a sandbox takes it about a second, many at a time some more.
/// Others end after the kubelet, and a person waits for them.
const LAST_CALLS: Duration = Duration::from_secs(10);

/// A node's kubelet. Cloning shares it.
#[derive(Clone)]
pub struct Kubelet {
    parts: Arc<Parts>,
}

pub(crate) struct Parts {
    config: Config,
    rest: Rest,
    runtime: Arc<dyn Runtime>,
    images: Arc<dyn Images>,
    events: Events,
    workers: PodWorkers,
    node_status: Arc<NodeStatusManager>,
    runtime_state: Arc<RuntimeState>,
    pleg: Arc<Pleg>,
    collector: Collector,
    pub(crate) image_gc: ImageGc,
    /// The workers of pods, and what the runtime is changing for them and others.
    under_way: TaskTracker,
}

impl Kubelet {
    /// Puts a kubelet together; nothing runs yet. `cancel` ends it, leaving pods running. Must be called inside
    /// a tokio runtime.
    ///
    /// # Errors
    /// When its directories or cgroups cannot be made.
    pub fn new(
        config: Config,
        runtime: Arc<dyn Runtime>,
        images: Arc<dyn Images>,
        cancel: &CancellationToken,
    ) -> Result<Self, KubeletError> {
        let pods_dir = config.root_dir().join("pods");
        for directory in [&pods_dir, &config.pod_logs_dir] {
            std::fs::create_dir_all(directory)
                .map_err(|source| KubeletError::Directory { path: directory.clone(), source })?;
        }
        let under_way = TaskTracker::new();
        let runtime: Arc<dyn Runtime> = Arc::new(SeenThrough::new(runtime, under_way.clone()));
        let rest = Rest::new(config.client.clone());
        let recorder = EventRecorder::new(config.client.clone(), "kubelet", &config.node_name);
        let events = Events::new(recorder, &config.node_name);
        let capacity = measure_capacity(&config.root_dir(), config.max_pods);
        let available = allocatable(&capacity, &config.system_reserved, &config.eviction);
        let memory_total = capacity.get("memory").copied().unwrap_or(0);
        let cgroups = set_up_cgroups(&config, &capacity)?;
        let settings = Arc::new(RuntimeSettings {
            pods_dir: pods_dir.clone(),
            pod_logs_dir: config.pod_logs_dir.clone(),
            container_logs_dir: config.container_logs_dir.clone(),
            dns: RwLock::new(node_dns(&config)),
            host_ips: RwLock::new(if config.node_ips.is_empty() {
                detect_addresses(&config.pod_networks)
            } else {
                config.node_ips.clone()
            }),
            memory_capacity: memory_total,
            allocatable: available.clone(),
        });
        let link: Arc<OnceLock<WeakPodWorkers>> = Arc::default();
        let workers_of = |link: &Arc<OnceLock<WeakPodWorkers>>| {
            let link = link.clone();
            move || link.get().and_then(WeakPodWorkers::upgrade)
        };
        let wake_all = workers_of(&link);
        let object_changed: crate::objects::Changed = Arc::new(move |uids: &[String]| {
            if let Some(workers) = wake_all() {
                uids.iter().for_each(|uid| workers.wake(uid));
            }
        });
        let config_maps =
            Objects::<ConfigMap>::new(config.client.clone(), "configmap", object_changed.clone());
        let secrets = Objects::<Secret>::new(config.client.clone(), "secret", object_changed);
        let status = StatusManager::new(rest.clone());
        let results: Arc<Results> = Arc::default();
        let (wake_one, ask) = (workers_of(&link), workers_of(&link));
        let probes = ProbeManager::new(
            runtime.clone(),
            status.clone(),
            results.clone(),
            events.clone(),
            Box::new(move |uid| wake_one().into_iter().for_each(|workers| workers.wake(uid))),
            Box::new(move |uid| ask().is_none_or(|workers| workers.is_stopping(uid))),
        );
        let runtime_state: Arc<RuntimeState> = Arc::default();
        let view = NodeView {
            allocatable: available.clone(),
            name: config.node_name.clone(),
            ..NodeView::default()
        };
        let view = Arc::new(RwLock::new(view));
        let runtime_manager = Arc::new(RuntimeManager::new(RuntimeParts {
            runtime: runtime.clone(),
            images: images.clone(),
            parallel_pulls: config.parallel_pulls,
            events: events.clone(),
            results: results.clone(),
            cgroups: cgroups.clone(),
            settings: settings.clone(),
            config_maps: config_maps.clone(),
            secrets: secrets.clone(),
            services: config.informers.get::<Service>(),
            rest: rest.clone(),
        }));
        let active = workers_of(&link);
        let syncer = PodSyncer::new(SyncerParts {
            runtime: runtime_manager,
            runtime_state: runtime_state.clone(),
            volumes: Arc::new(VolumeManager::new(&pods_dir, rest.clone(), config_maps, secrets.clone())),
            secrets,
            status,
            probes,
            results,
            events: events.clone(),
            cgroups,
            pids_limit: config.pod_pids_limit,
            node: view.clone(),
            rest: rest.clone(),
            active_pods: Box::new(move || {
                let pods = active().map(|workers| workers.pods()).unwrap_or_default();
                pods.into_iter().filter(|(_, active)| *active).map(|(pod, _)| pod).collect()
            }),
        });
        let workers = PodWorkers::new(syncer, cancel.clone(), under_way.clone());
        let _ = link.set(workers.downgrade());
        let pleg = Arc::new(Pleg::new(runtime.clone()));
        let node_status = Arc::new(NodeStatusManager::new(NodeStatusParts {
            rest: rest.clone(),
            events: events.clone(),
            runtime: runtime.clone(),
            images: images.clone(),
            runtime_state: runtime_state.clone(),
            pleg: pleg.clone(),
            settings,
            view,
            node_name: config.node_name.clone(),
            node_ips: config.node_ips.clone(),
            pod_networks: config.pod_networks.clone(),
            address_among_pods: config.address_among_pods,
            labels: config.node_labels.clone(),
            taints: config.node_taints.clone(),
            capacity,
            allocatable: available,
            port: config.port,
            version: config.version.clone(),
            resolv_conf: config.resolv_conf.clone(),
        }));
        let root = config.root_dir();
        let collector =
            Collector::new(&config.node_name, runtime.clone(), images.clone(), &root, &config.pod_logs_dir);
        let image_gc = ImageGc::new(images.clone(), runtime.clone(), events.clone(), config.image_gc);
        let parts = Parts {
            config,
            rest,
            runtime,
            images,
            events,
            workers,
            node_status,
            runtime_state,
            pleg,
            collector,
            image_gc,
            under_way,
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Runs until cancelled, and until the runtime has ended what it was changing by then (for some seconds at most): it may
    /// be ended afterwards. Pods go on running.
    pub async fn run(&self, cancel: CancellationToken) {
        self.parts.events.node(false, "Starting", "Starting kubelet.");
        let mut tasks = JoinSet::new();
        macro_rules! task {
            ($method:ident) => {{
                let (this, cancel) = (self.clone(), cancel.clone());
                tasks.spawn(async move { this.$method(&cancel).await });
            }};
        }
        task!(follow_node);
        task!(follow_pods);
        task!(follow_runtime_events);
        task!(follow_runtime_state);
        task!(relist);
        task!(housekeeping);
        task!(evict);
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a part of the kubelet failed");
            }
        }
        self.last_calls().await;
    }

    /// Waits for what the runtime is changing. A worker is waited for as well: until it has ended it may begin a change.
    async fn last_calls(&self) {
        let under_way = &self.parts.under_way;
        under_way.close();
        if tokio::time::timeout(LAST_CALLS, under_way.wait()).await.is_err() {
            tracing::warn!(
                calls = under_way.len(),
                "the container runtime did not end within {LAST_CALLS:?} what it was doing; a network namespace may be left"
            );
        }
    }

    /// What the kubelet was told.
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    pub(crate) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.parts.runtime
    }

    pub(crate) fn images(&self) -> &Arc<dyn Images> {
        &self.parts.images
    }

    pub(crate) fn workers(&self) -> &PodWorkers {
        &self.parts.workers
    }

    pub(crate) fn collector(&self) -> &Collector {
        &self.parts.collector
    }

    pub(crate) fn events(&self) -> &Events {
        &self.parts.events
    }

    pub(crate) fn node_status(&self) -> &NodeStatusManager {
        &self.parts.node_status
    }

    pub(crate) fn relists_healthy(&self) -> Result<(), String> {
        self.parts.pleg.healthy()
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    async fn follow_node(&self, cancel: &CancellationToken) {
        let parts = &self.parts;
        let uid = tokio::select! {
            () = cancel.cancelled() => return,
            uid = parts.node_status.register() => uid,
        };
        let name = parts.config.node_name.clone();
        let status = parts.node_status.clone();
        let recovered = move || status.post_again();
        tokio::spawn(lease::keep(parts.rest.clone(), name.clone(), uid, recovered, cancel.clone()));
        let informer = parts.config.informers.scoped::<Node>(&Scope::fields(format!("metadata.name={name}")));
        let status = parts.node_status.clone();
        let _guard = informer.add_handler(move |event| {
            if let Event::Applied(node, _) = event {
                status.node_seen(node);
            }
        });
        parts.node_status.run(cancel).await;
    }

    /// The pods that are bound to this node.
    pub(crate) fn bound_pods(&self) -> client::Informer<Pod> {
        let config = &self.parts.config;
        config.informers.scoped(&Scope::fields(format!("spec.nodeName={}", config.node_name)))
    }

    async fn follow_pods(&self, cancel: &CancellationToken) {
        let parts = &self.parts;
        let informer = self.bound_pods();
        let mut events = informer.subscribe();
        let swept = self.sweep(&informer, cancel);
        tokio::pin!(swept);
        let mut sweeping = true;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = &mut swept, if sweeping => sweeping = false,
                event = events.next() => match event {
                    Some(Event::Applied(pod, _)) => parts.workers.pod_changed(&pod),
                    Some(Event::Deleted(pod)) => parts.workers.pod_removed(pod::uid(&pod)),
                    None => return,
                },
            }
        }
    }

    /// Once all pods are known: whatever else the runtime or the disk has was left by pods that went while the
    /// kubelet was down.
    async fn sweep(&self, informer: &client::Informer<Pod>, cancel: &CancellationToken) {
        informer.synced().await;
        loop {
            let bound: BTreeSet<String> =
                informer.store().list().iter().map(|pod| pod::uid(pod).to_owned()).collect();
            if let Some((_, snapshot)) = self.parts.pleg.relist().await {
                let mut uids: BTreeSet<String> = snapshot.uids().map(str::to_owned).collect();
                uids.extend(self.pods_with_remains());
                for uid in uids.difference(&bound).filter(|uid| !self.parts.workers.is_known(uid)) {
                    tracing::info!(uid, "cleaning up after a pod that went while the kubelet was down");
                    self.parts.workers.orphan_found(uid);
                }
                return;
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(FIRST_SWEEP_RETRY) => {}
            }
        }
    }

    async fn follow_runtime_events(&self, cancel: &CancellationToken) {
        pleg::follow(&self.parts.config.runtime_endpoint, &self.parts.pleg.request(), cancel).await;
    }

    /// When runtime or network come up, everything that waited for them goes on at once.
    async fn follow_runtime_state(&self, cancel: &CancellationToken) {
        let mut condition = self.parts.runtime_state.subscribe();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = condition.changed() => if changed.is_err() { return },
            }
            if condition.borrow_and_update().is_ready() {
                for (pod, _) in self.parts.workers.pods() {
                    self.parts.workers.wake(pod::uid(&pod));
                }
            }
        }
    }

    async fn relist(&self, cancel: &CancellationToken) {
        let workers = self.parts.workers.clone();
        self.parts.pleg.run(cancel, |changed, _| changed.iter().for_each(|uid| workers.wake(uid))).await;
    }

    async fn evict(&self, cancel: &CancellationToken) {
        let config = &self.parts.config;
        let manager = EvictionManager::new(config.eviction.clone(), config.root_dir());
        let image_root = manager.image_root.clone();
        let this = self.clone();
        let mut condition = self.parts.runtime_state.subscribe();
        tokio::spawn(async move {
            // The runtime tells its disk once it is up.
            if condition.wait_for(|condition| condition.runtime.is_none()).await.is_ok() {
                *image_root.write() = this.image_root().await;
            }
        });
        manager.run(Arc::new(self.clone()), cancel.clone()).await;
    }
}

fn set_up_cgroups(config: &Config, capacity: &BTreeMap<String, i64>) -> Result<Cgroups, KubeletError> {
    let cgroups = Cgroups::new(&config.cgroup_root);
    let reserved = |name: &str| {
        config
            .system_reserved
            .get(name)
            .and_then(|text| text.parse::<apimachinery::quantity::Quantity>().ok())
    };
    let cpu = capacity.get("cpu").copied().unwrap_or(0)
        - reserved("cpu").map_or(0, |quantity| quantity.milli_value());
    // Without a reservation a limit would only repeat what the machine has.
    let memory =
        reserved("memory").map(|quantity| capacity.get("memory").copied().unwrap_or(0) - quantity.value());
    cgroups.set_up(cpu, memory.filter(|bytes| *bytes > 0))?;
    Ok(cgroups)
}

fn node_dns(config: &Config) -> NodeDns {
    let text = std::fs::read_to_string(&config.resolv_conf).unwrap_or_default();
    NodeDns {
        cluster_servers: config.cluster_dns.clone(),
        cluster_domain: config.cluster_domain.clone(),
        host: HostResolver::parse(&text),
    }
}
