//! A kubelet with everything around it, in a directory of its own.

use super::{FakeApi, FakeRuntime};
use crate::server::PodSource;
use crate::{Config, Kubelet};
use client::SharedInformers;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Drop it to end the kubelet.
pub struct World {
    pub api: FakeApi,
    pub runtime: FakeRuntime,
    pub directory: tempfile::TempDir,
    cancel: CancellationToken,
    cgroup_root: String,
    running: Option<JoinHandle<()>>,
    kubelet: Option<Kubelet>,
}

impl World {
    /// A running kubelet of node `n`, with no pods.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().file_name().unwrap().to_string_lossy().replace('.', "");
        let world = Self {
            api: FakeApi::new(),
            runtime: FakeRuntime::default(),
            directory,
            cancel: CancellationToken::new(),
            cgroup_root: format!("knarr-test-{name}"),
            running: None,
            kubelet: None,
        };
        world.start()
    }

    /// Ends the kubelet and starts another on the same runtime and directory.
    pub fn restart(mut self) -> Self {
        self.cancel.cancel();
        self.cancel = CancellationToken::new();
        self.start()
    }

    /// Ends the kubelet as the node's agent does: when this returns the runtime may be ended.
    pub async fn stop(&mut self) {
        self.cancel.cancel();
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
    }

    fn start(mut self) -> Self {
        let client = self.api.client();
        let informers = SharedInformers::new(client.clone());
        let socket = self.directory.path().join("no.sock");
        let mut config = Config::new(client, informers, "n", self.directory.path(), &socket);
        config.node_ips = vec!["192.0.2.7".parse().unwrap()];
        config.cgroup_root = self.cgroup_root.clone();
        // A full disk of the machine is nothing that these pods are to feel.
        config.eviction.hard.clear();
        let runtime = Arc::new(self.runtime.clone());
        let kubelet = Kubelet::new(config, runtime.clone(), runtime, &self.cancel).unwrap();
        let cancel = self.cancel.clone();
        self.kubelet = Some(kubelet.clone());
        self.running = Some(tokio::spawn(async move { kubelet.run(cancel).await }));
        self
    }

    /// What `/metrics/probes` would answer.
    pub fn probe_metrics(&self) -> String {
        self.kubelet.as_ref().map(PodSource::probe_metrics).unwrap_or_default()
    }

    /// Waits until the runtime was asked for this.
    pub async fn called(&self, call: &str) {
        while !self.runtime.calls().iter().any(|known| known == call) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Binds a pod to the node.
    pub fn create(&self, name: &str, spec: Value) {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "ns", "generation": 1}, "spec": spec});
        pod["spec"]["nodeName"] = json!("n");
        self.api.put("pods", pod);
    }

    /// Deletes a pod as the API server does: it only asks the kubelet to.
    pub fn delete(&self, name: &str, grace: i64) {
        self.api.edit("pods", "ns", name, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        });
    }

    /// Waits until `condition` holds for a pod's status.
    pub async fn status(&self, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let found = |api: &FakeApi| {
            let status = api.get("pods", "ns", name)?["status"].clone();
            condition(&status).then_some(status)
        };
        self.api.wait(&format!("pod {name}: {what}"), found).await
    }

    /// Waits until a pod's object is gone.
    pub async fn gone(&self, name: &str) {
        self.api
            .wait(&format!("pod {name} gone"), |api| api.get("pods", "ns", name).is_none().then_some(()))
            .await;
    }

    /// Waits for an event with this reason; returns its message.
    pub async fn event(&self, reason: &str) -> String {
        let found = |api: &FakeApi| {
            let events = api.list("events");
            let event = events.iter().find(|event| event["reason"] == reason)?;
            Some(event["message"].as_str().unwrap().to_owned())
        };
        self.api.wait(&format!("event {reason}"), found).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.cancel.cancel();
        // The kernel's groups outlive the directory.
        for controller in ["cpu", "memory", "pids", "."] {
            let root = std::path::Path::new("/sys/fs/cgroup").join(controller).join(&self.cgroup_root);
            remove_groups(&root);
        }
        let _ = crate::volume_manager::unmount_below(self.directory.path());
    }
}

fn remove_groups(directory: &std::path::Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_groups(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(directory);
}
