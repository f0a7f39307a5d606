//! Measures the node every few seconds and evicts one pod at a time while it is under pressure.

use super::observation::{Observation, observe_node};
use super::ranking::{PodUsage, message, rank};
use super::thresholds::{Pressure, PressureState, Thresholds};
use crate::pod;
use crate::status::Override;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::RwLock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the node is measured (upstream's period).
const PERIOD: Duration = Duration::from_secs(10);

/// What evictions act on.
#[async_trait]
pub trait EvictionTarget: Send + Sync {
    /// The pods that run, with what they use.
    async fn usage(&self) -> Vec<PodUsage>;
    /// Frees disk without touching pods: dead containers and unused images. Returns whether anything went.
    async fn reclaim_disk(&self) -> bool;
    /// Pods that use more local storage than they may.
    async fn over_limit(&self) -> Vec<(Arc<Pod>, Override)>;
    /// Stops a pod for good, at once.
    fn evict(&self, pod: &Pod, verdict: Override);
    /// The conditions changed.
    fn pressure_changed(&self, memory: bool, disk: bool, pids: bool);
}

/// Watches over the node's resources.
pub struct EvictionManager {
    thresholds: Thresholds,
    root: PathBuf,
    /// The disk of images, once the runtime has told.
    pub image_root: Arc<RwLock<Option<PathBuf>>>,
    state: PressureState,
    started: Instant,
    told: Option<(bool, bool, bool)>,
}

impl EvictionManager {
    /// Watches the disk of `root`.
    pub fn new(thresholds: Thresholds, root: PathBuf) -> Self {
        let (state, told) = (PressureState::default(), None);
        Self { thresholds, root, image_root: Arc::default(), state, started: Instant::now(), told }
    }

    /// Watches until cancelled.
    pub async fn run(mut self, target: Arc<dyn EvictionTarget>, cancel: CancellationToken) {
        loop {
            let image_root = self.image_root.read().clone();
            let observation = observe_node(&self.root, image_root.as_deref());
            self.step(&observation, target.as_ref()).await;
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    /// One round: conditions, then reclaim, then at most one pod.
    async fn step(&mut self, observation: &Observation, target: &dyn EvictionTarget) {
        let crossed = self.thresholds.crossed(observation);
        self.state.update(&crossed, self.started.elapsed());
        let holds = |pressure| self.state.holds(pressure);
        let now = (holds(Pressure::Memory), holds(Pressure::Disk), holds(Pressure::Pid));
        if self.told != Some(now) {
            self.told = Some(now);
            target.pressure_changed(now.0, now.1, now.2);
        }
        let over = target.over_limit().await;
        for (pod, verdict) in &over {
            target.evict(pod, verdict.clone());
        }
        let Some(signal) = crossed.first().copied().filter(|_| over.is_empty()) else { return };
        if signal.pressure() == Pressure::Disk && target.reclaim_disk().await {
            // The next round sees whether that was enough.
            return;
        }
        let Some(measured) = observation.signals.get(&signal) else { return };
        let limit = self.thresholds.threshold(signal, measured.capacity).unwrap_or(0);
        tracing::warn!(
            signal = signal.as_str(),
            available = measured.available,
            limit,
            "node is under pressure"
        );
        if let Some(first) = rank(target.usage().await, signal).into_iter().next() {
            let message = message(&first, signal, limit, measured.available);
            tracing::warn!(pod = pod::describe(&first.pod), message, "evicting pod");
            target.evict(&first.pod, Override { reason: "Evicted".to_owned(), message });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::observation::Measured;
    use super::super::thresholds::Signal;
    use super::*;
    use parking_lot::Mutex;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Fake {
        evicted: Mutex<Vec<String>>,
        pressure: Mutex<Vec<(bool, bool, bool)>>,
        reclaims: bool,
    }

    #[async_trait]
    impl EvictionTarget for Fake {
        async fn usage(&self) -> Vec<PodUsage> {
            let pod =
                |name: &str| Arc::new(serde_json::from_value(json!({"metadata": {"name": name}})).unwrap());
            let usage = |name: &str, memory| PodUsage { pod: pod(name), memory, disk: 0, processes: 0 };
            vec![usage("small", 1), usage("big", 2)]
        }
        async fn reclaim_disk(&self) -> bool {
            self.reclaims
        }
        async fn over_limit(&self) -> Vec<(Arc<Pod>, Override)> {
            Vec::new()
        }
        fn evict(&self, pod: &Pod, _: Override) {
            self.evicted.lock().push(pod::name(pod).to_owned());
        }
        fn pressure_changed(&self, memory: bool, disk: bool, pids: bool) {
            self.pressure.lock().push((memory, disk, pids));
        }
    }

    fn low(signal: Signal) -> Observation {
        Observation { signals: BTreeMap::from([(signal, Measured { available: 0, capacity: 100 })]) }
    }

    #[tokio::test(start_paused = true)]
    async fn pressure_evicts_the_greediest() {
        let mut manager = EvictionManager::new(Thresholds::default(), "/".into());
        let target = Fake::default();
        manager.step(&Observation::default(), &target).await;
        manager.step(&low(Signal::MemoryAvailable), &target).await;
        assert_eq!(*target.evicted.lock(), ["big"]);
        assert_eq!(*target.pressure.lock(), [(false, false, false), (true, false, false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn disk_is_reclaimed_before_pods_go() {
        let mut manager = EvictionManager::new(Thresholds::default(), "/".into());
        let target = Fake { reclaims: true, ..Fake::default() };
        manager.step(&low(Signal::NodeFsAvailable), &target).await;
        assert!(target.evicted.lock().is_empty());
    }
}
