//! A node: containerd, the kubelet, and the API server that it reports to.

use crate::api_server::FakeApi;
use client::SharedInformers;
use cri::containerd::Supervisor;
use cri::{Client, Runtime};
use kubelet::{Config, Kubelet};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const NODE: &str = "node";

pub struct Node {
    pub api: FakeApi,
    pub client: Client,
    pub folder: PathBuf,
    pub cgroup_root: String,
    kubelet: Option<(CancellationToken, JoinHandle<()>)>,
    socket: PathBuf,
}

impl Node {
    pub fn new(supervisor: &Supervisor, folder: &Path, cgroup_root: &str) -> Self {
        Self {
            api: FakeApi::new(),
            client: supervisor.client(),
            folder: folder.to_owned(),
            cgroup_root: cgroup_root.to_owned(),
            kubelet: None,
            socket: supervisor.socket(),
        }
    }

    /// Starts a kubelet.
    pub fn start(&mut self) {
        let client = self.api.client();
        let informers = SharedInformers::new(client.clone());
        let mut config = Config::new(client, informers, NODE, &self.folder, &self.socket);
        config.node_ips = vec!["10.99.0.1".parse().expect("an address")];
        config.cluster_dns = vec!["10.152.183.10".parse().expect("an address")];
        config.cgroup_root = self.cgroup_root.clone();
        let cancel = CancellationToken::new();
        let runtime = Arc::new(self.client.clone());
        let kubelet = Kubelet::new(config, runtime.clone(), runtime, &cancel).expect("a kubelet");
        let until = cancel.clone();
        self.kubelet = Some((cancel, tokio::spawn(async move { kubelet.run(until).await })));
    }

    /// Ends it; pods go on.
    pub async fn stop(&mut self) {
        if let Some((cancel, task)) = self.kubelet.take() {
            cancel.cancel();
            task.await.expect("the kubelet ends");
        }
    }

    pub fn create(&self, name: &str, spec: Value) {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns",
            "labels": {"app": name}, "generation": 1}, "spec": spec});
        pod["spec"]["nodeName"] = json!(NODE);
        self.api.put("pods", pod);
    }

    pub fn delete(&self, name: &str, grace: i64) {
        self.api.edit("pods", "ns", name, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        });
    }

    pub async fn status(&self, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let found = |api: &FakeApi| {
            let status = api.get("pods", "ns", name)?["status"].clone();
            condition(&status).then_some(status)
        };
        self.api.wait(&format!("pod {name}: {what}"), found).await
    }

    pub async fn ready(&self, name: &str) -> Value {
        let is_ready = |status: &Value| {
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        self.status(name, "ready", is_ready).await
    }

    pub async fn gone(&self, name: &str) {
        self.api
            .wait(&format!("pod {name} gone"), |api| api.get("pods", "ns", name).is_none().then_some(()))
            .await;
    }

    /// What a shell command in a container says.
    pub async fn shell(&self, status: &Value, container: &str, script: &str) -> String {
        let statuses = status["containerStatuses"].as_array().expect("statuses");
        let found = statuses.iter().find(|status| status["name"] == container).expect("the container");
        let id = found["containerID"].as_str().expect("an id").trim_start_matches("containerd://");
        let command = ["sh", "-c", script].map(str::to_owned);
        let output = self.client.exec_sync(id, &command, Duration::from_secs(10)).await.expect("an exec");
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        assert_eq!(output.exit_code, 0, "{script}: {text} {}", String::from_utf8_lossy(&output.stderr));
        text
    }

    pub async fn event(&self, pod: &str, reason: &str) -> String {
        let found = |api: &FakeApi| {
            let events = api.list("events");
            let mut of_pod = events.iter().filter(|event| event["involvedObject"]["name"] == pod);
            of_pod
                .find(|event| event["reason"] == reason)
                .map(|event| event["message"].as_str().unwrap_or("").to_owned())
        };
        self.api.wait(&format!("event {reason} of {pod}"), found).await
    }
}
