//! Carries out what [`compute_pod_actions`] says.

use super::actions::{Kill, KillReason, PodActions, Start, compute_pod_actions};
use super::kill::{LEAST_GRACE, Stop};
use super::observe::observe_pod;
use super::observed::{ObservedPod, Sandbox, State};
use super::sandbox_config::{SandboxContext, sandbox_config};
use crate::backoff::Backoff;
use crate::cm::{self, Cgroups};
use crate::dns::NodeDns;
use crate::events::Events;
use crate::images::{ImageManager, Keyring};
use crate::objects::Objects;
use crate::pod;
use crate::prober::{Outcome, ProbeKind, Results};
use crate::status::WaitingReason;
use crate::volume_manager::PodVolumes;
use client::rest::Rest;
use client::{Informer, ObjectKey};
use cri::{CriError, Images, Runtime};
use k8s_cri::v1;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::node::v1::RuntimeClass;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// After a failure of the runtime the pod is tried again after this long (upstream's value), unless something
/// happens first.
const RETRY: Duration = Duration::from_secs(10);

/// The node's side of running pods.
pub struct RuntimeSettings {
    /// Directories of pods.
    pub pods_dir: PathBuf,
    /// Logs of pods.
    pub pod_logs_dir: PathBuf,
    /// Links to logs by container, if any.
    pub container_logs_dir: Option<PathBuf>,
    /// Name resolution; follows the node's `resolv.conf`.
    pub dns: RwLock<NodeDns>,
    /// The node's addresses, the primary one first.
    pub host_ips: RwLock<Vec<std::net::IpAddr>>,
    /// The node's memory in bytes.
    pub memory_capacity: i64,
    /// The node's allocatable resources: CPU in millicores, else whole units.
    pub allocatable: BTreeMap<String, i64>,
}

/// Runs pods through CRI.
pub struct RuntimeManager {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) image_service: Arc<dyn Images>,
    pub(super) images: ImageManager,
    pub(super) events: Events,
    pub(super) results: Arc<Results>,
    pub(super) cgroups: Cgroups,
    pub(super) kernel: cm::KernelFeatures,
    pub(super) settings: Arc<RuntimeSettings>,
    pub(super) config_maps: Objects<ConfigMap>,
    pub(super) secrets: Objects<Secret>,
    pub(super) services: Informer<Service>,
    pub(super) rest: Rest,
    pub(super) backoff: Mutex<Backoff>,
    /// The limits that each running container has, by id.
    pub(super) applied: Mutex<HashMap<String, v1::LinuxContainerResources>>,
    pub(super) started: Instant,
}

/// The parts of a [`RuntimeManager`].
pub struct RuntimeParts {
    /// Pods.
    pub runtime: Arc<dyn Runtime>,
    /// Images.
    pub images: Arc<dyn Images>,
    /// Image pulls at a time.
    pub parallel_pulls: usize,
    /// Events.
    pub events: Events,
    /// What probes found.
    pub results: Arc<Results>,
    /// Cgroups.
    pub cgroups: Cgroups,
    /// The node's side.
    pub settings: Arc<RuntimeSettings>,
    /// ConfigMaps.
    pub config_maps: Objects<ConfigMap>,
    /// Secrets.
    pub secrets: Objects<Secret>,
    /// Services.
    pub services: Informer<Service>,
    /// The API server.
    pub rest: Rest,
}

/// What one sync of a pod is given.
pub struct SyncInputs<'a> {
    /// The pod.
    pub pod: &'a Arc<Pod>,
    /// What the runtime has.
    pub observed: &'a ObservedPod,
    /// The pod's volumes.
    pub volumes: &'a PodVolumes,
    /// Pull secrets.
    pub keyring: &'a Keyring,
    /// How often containers were started as far as the pod's status knows, by name.
    pub known_restarts: &'a BTreeMap<String, u32>,
    /// Whether the pod has room for the limits that its containers ask for.
    pub may_resize: bool,
    /// Gives up long waits: the pod is to be stopped.
    pub cancel: &'a CancellationToken,
}

/// What came of one sync.
#[derive(Debug, Default)]
pub struct SyncResult {
    /// Why containers are not running, by name.
    pub waiting: BTreeMap<String, WaitingReason>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// Whether a container does not have the limits that it is to have.
    pub resize_failed: bool,
    /// Whether something was done, so that more may have become possible.
    pub acted: bool,
    /// Whether the runtime has something new although what was wanted failed.
    pub made: bool,
    /// Whether the pod has no sandbox because the runtime failed to stop the old one or to make one.
    pub lacks_sandbox: bool,
}

impl SyncResult {
    pub(super) fn fail(&mut self, container: &str, reason: &str, message: String, retry: Option<Duration>) {
        let reason = WaitingReason { reason: reason.to_owned(), message };
        self.waiting.insert(container.to_owned(), reason);
        if let Some(retry) = retry {
            self.retry_within(retry);
        }
    }

    /// What was stopped before is news; to go on at once would be to fail again at once.
    fn without_sandbox(self) -> Self {
        Self { acted: false, made: self.acted, lacks_sandbox: true, ..self }
    }

    fn retry_within(&mut self, retry: Duration) {
        self.retry_after = Some(self.retry_after.map_or(retry, |known| known.min(retry)));
    }
}

impl RuntimeManager {
    /// A manager of these parts.
    pub fn new(parts: RuntimeParts) -> Self {
        Self {
            images: ImageManager::new(parts.images.clone(), parts.events.clone(), parts.parallel_pulls),
            image_service: parts.images,
            runtime: parts.runtime,
            events: parts.events,
            results: parts.results,
            kernel: cm::KernelFeatures {
                cgroup_v2: parts.cgroups.is_version2(),
                swap: parts.cgroups.limits_swap(),
            },
            cgroups: parts.cgroups,
            settings: parts.settings,
            config_maps: parts.config_maps,
            secrets: parts.secrets,
            services: parts.services,
            rest: parts.rest,
            backoff: Mutex::default(),
            applied: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// What the runtime has for a pod.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn observe(&self, uid: &str) -> Result<ObservedPod, CriError> {
        observe_pod(self.runtime.as_ref(), uid).await
    }

    /// Brings the runtime closer to the pod's spec: one round of actions.
    ///
    /// # Cancel safety
    /// Not to be dropped: calls that change things run to their end. `cancel` ends the long waits instead.
    pub async fn sync_pod(&self, inputs: &SyncInputs<'_>) -> SyncResult {
        let SyncInputs { pod, observed, cancel, .. } = inputs;
        let results = self.results.clone();
        let probes = move |id: &str, kind: ProbeKind| -> Option<Outcome> { results.get(id, kind) };
        let actions = compute_pod_actions(pod, observed, &probes);
        let mut result = SyncResult::default();
        if actions.stop_sandboxes {
            result.acted = observed.anything_running();
            if actions.create_sandbox.is_some() {
                self.events.pod(
                    pod,
                    false,
                    "SandboxChanged",
                    "Pod sandbox changed, it will be killed and re-created.",
                );
            }
            if let Err(error) = self.kill_pod(Some(pod), observed, None).await {
                tracing::warn!(pod = pod::describe(pod), %error, "stopping the pod's old sandbox failed");
                return result.without_sandbox();
            }
        }
        result.resize_failed = inputs.may_resize && !self.resize(pod, observed).await;
        for kill in &actions.kill {
            self.kill_for(inputs, kill, &mut result).await;
        }
        if cancel.is_cancelled() {
            return result;
        }
        let sandbox = match self.sandbox(inputs, &actions).await {
            Ok(Some(sandbox)) => sandbox,
            Ok(None) => return result,
            Err(message) => {
                self.events.pod(pod, true, "FailedCreatePodSandBox", &message);
                return result.without_sandbox();
            }
        };
        result.acted |= actions.create_sandbox.is_some();
        for start in &actions.start {
            if cancel.is_cancelled() {
                break;
            }
            self.start(inputs, &sandbox, start, &mut result).await;
        }
        result
    }

    /// Forgets a pod's back-offs.
    pub fn forget(&self, uid: &str) {
        self.backoff.lock().forget(uid);
        self.images.forget(uid);
    }

    /// The node's side of running pods.
    pub fn settings(&self) -> &RuntimeSettings {
        &self.settings
    }

    /// The sandbox to start containers in, made when it is missing; none when nothing is to be started.
    async fn sandbox(
        &self,
        inputs: &SyncInputs<'_>,
        actions: &PodActions,
    ) -> Result<Option<(Sandbox, v1::PodSandboxConfig)>, String> {
        let SyncInputs { pod, observed, .. } = inputs;
        let Some(attempt) = actions.create_sandbox else {
            if actions.start.is_empty() {
                return Ok(None);
            }
            let Some(sandbox) = observed.active_sandbox().cloned() else { return Ok(None) };
            let (config, _) = self.sandbox_config(pod, sandbox.attempt)?;
            return Ok(Some((sandbox, config)));
        };
        let (config, warnings) = self.sandbox_config(pod, attempt)?;
        for warning in warnings {
            self.events.pod(pod, true, "DNSConfigForming", &warning);
        }
        std::fs::create_dir_all(&config.log_directory).map_err(|error| {
            format!("Failed to create pod log directory {}: {error}", config.log_directory)
        })?;
        let handler = self.runtime_handler(pod).await?;
        let id = self
            .runtime
            .run_pod_sandbox(config.clone(), &handler)
            .await
            .map_err(|error| format!("Failed to create pod sandbox: {error}"))?;
        let status = self.runtime.pod_sandbox_status(&id, false).await;
        let status = status.map_err(|error| format!("Failed to get pod sandbox status: {error}"))?;
        let sandbox = status.status.as_ref().map(Sandbox::from_status);
        Ok(Some((sandbox.ok_or("Failed to get pod sandbox status: the answer has none")?, config)))
    }

    fn sandbox_config(&self, pod: &Pod, attempt: u32) -> Result<(v1::PodSandboxConfig, Vec<String>), String> {
        let dns = self.settings.dns.read().clone();
        let log_directory = self.log_directory(pod);
        let context = SandboxContext {
            dns: &dns,
            cgroup_parent: self.cgroups.pod_path(pod),
            log_directory: &log_directory,
        };
        sandbox_config(pod, attempt, &context)
            .map_err(|error| format!("Failed to generate sandbox config: {error}"))
    }

    /// The handler that the pod's RuntimeClass names; the runtime's default without one.
    async fn runtime_handler(&self, pod: &Pod) -> Result<String, String> {
        let Some(name) = pod::spec(pod).runtime_class_name.as_deref().filter(|name| !name.is_empty()) else {
            return Ok(String::new());
        };
        let class: Option<RuntimeClass> =
            self.rest.get(&ObjectKey::new("", name)).await.map_err(|error| {
                format!("Failed to create pod sandbox: reading RuntimeClass {name:?}: {error}")
            })?;
        class
            .map(|class| class.handler)
            .ok_or_else(|| format!("Failed to create pod sandbox: RuntimeClass {name:?} not found"))
    }

    /// The directory of a pod's logs.
    pub fn log_directory(&self, pod: &Pod) -> PathBuf {
        let name = format!("{}_{}_{}", pod::namespace(pod), pod::name(pod), pod::uid(pod));
        self.settings.pod_logs_dir.join(name)
    }

    async fn kill_for(&self, inputs: &SyncInputs<'_>, kill: &Kill, result: &mut SyncResult) {
        let SyncInputs { pod, observed, .. } = inputs;
        let Some(container) = observed.containers.iter().find(|container| container.id == kill.id) else {
            return;
        };
        let grace = probe_grace(pod, kill).unwrap_or_else(|| pod::spec_grace(pod));
        let ip = observed.active_sandbox().and_then(|sandbox| sandbox.ips.first()?.parse().ok());
        let stop = Stop { grace, message: &kill.message, least: grace.min(LEAST_GRACE) };
        result.acted = true;
        if let Err(error) = self.kill_container(Some(pod), container, ip, stop).await {
            tracing::warn!(pod = pod::describe(pod), container = kill.name, %error, "stopping container failed");
            result.retry_within(RETRY);
        }
        self.applied.lock().remove(&kill.id);
    }

    async fn start(
        &self,
        inputs: &SyncInputs<'_>,
        sandbox: &(Sandbox, v1::PodSandboxConfig),
        start: &Start,
        result: &mut SyncResult,
    ) {
        let name = &start.container.name;
        match self.start_container(inputs, &sandbox.0, &sandbox.1, start).await {
            Ok(()) => result.acted = true,
            Err(failure) => {
                // A container that was made and could not be started is news, too.
                result.made |= matches!(failure.reason, "RunContainerError" | "PostStartHookError");
                result.fail(name, failure.reason, failure.message, failure.retry_after.or(Some(RETRY)));
            }
        }
    }

    /// Changes the limits of running containers whose spec asks for others (in-place resize, KEP-1287); answers
    /// whether they have them now.
    async fn resize(&self, pod: &Pod, observed: &ObservedPod) -> bool {
        let mut all = true;
        for container in observed.containers.iter().filter(|container| container.state == State::Running) {
            let Some(spec) = pod::container(pod, &container.name) else { continue };
            let wanted = cm::container_resources(pod, &spec, self.settings.memory_capacity, self.kernel);
            let known = self.applied.lock().get(&container.id).cloned();
            // A restarted kubelet believes what the runtime says, or else what the spec says.
            let current = known.or_else(|| container.resources.clone()).unwrap_or_else(|| wanted.clone());
            if same_limits(&current, &wanted) {
                self.applied.lock().insert(container.id.clone(), wanted);
                continue;
            }
            match self.update(&container.id, &current, &wanted).await {
                Ok(()) => {
                    self.applied.lock().insert(container.id.clone(), wanted);
                }
                Err(error) => {
                    let message = format!("Failed to resize container {}: {error}", container.name);
                    self.events.container(pod, &container.name, true, "ResizeError", &message);
                    all = false;
                }
            }
        }
        all
    }

    /// Changes a container's limits. One of memory below what it uses would be its end.
    async fn update(
        &self,
        id: &str,
        current: &v1::LinuxContainerResources,
        wanted: &v1::LinuxContainerResources,
    ) -> Result<(), String> {
        let limit = wanted.memory_limit_in_bytes;
        let lowered =
            limit > 0 && (current.memory_limit_in_bytes <= 0 || limit < current.memory_limit_in_bytes);
        if lowered && let Ok(stats) = self.runtime.container_stats(id).await {
            let used = stats.memory.and_then(|memory| memory.usage_bytes).map_or(0, |usage| usage.value);
            if i64::try_from(used).is_ok_and(|used| limit < used) {
                return Err(format!("its memory limit ({limit}) would be below current usage ({used})"));
            }
        }
        let updated = self.runtime.update_container_resources(id, wanted.clone(), HashMap::new()).await;
        updated.map_err(|error| error.to_string())
    }
}

fn probe_grace(pod: &Pod, kill: &Kill) -> Option<Duration> {
    let container = pod::container(pod, &kill.name)?;
    let probe = match kill.reason {
        KillReason::Liveness => container.liveness_probe.as_ref()?,
        KillReason::Startup => container.startup_probe.as_ref()?,
        KillReason::Changed | KillReason::Unknown => return None,
    };
    probe.termination_grace_period_seconds.map(|seconds| Duration::from_secs(seconds.max(0).unsigned_abs()))
}

/// Only what a resize may change counts.
fn same_limits(a: &v1::LinuxContainerResources, b: &v1::LinuxContainerResources) -> bool {
    let unlimited = |quota: i64| if quota <= 0 { 0 } else { quota };
    a.cpu_shares == b.cpu_shares
        && unlimited(a.cpu_quota) == unlimited(b.cpu_quota)
        && unlimited(a.memory_limit_in_bytes) == unlimited(b.memory_limit_in_bytes)
}
