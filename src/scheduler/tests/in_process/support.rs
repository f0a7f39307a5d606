//! What every test begins with.

use apiserver::authentication::UserInfo;
use client::SharedInformers;
use serde_json::json;
use testkit::TestServer;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A server with controllers, a scheduler and nodes of four cores.
pub struct Cluster {
    pub server: TestServer,
    _stop: DropGuard,
}

impl Cluster {
    pub async fn start(nodes: &[&str]) -> Self {
        let server = TestServer::start().await;
        let stop = CancellationToken::new();
        let client =
            |user: &str| client::in_process(server.server.in_process(UserInfo::new(user, &[])), "test");
        let informers = SharedInformers::new(server.client());
        let controllers = controllers::Config {
            client: client("system:kube-controller-manager"),
            informers: informers.clone(),
            identity: None,
            cluster_cidrs: Vec::new(),
            node_prefixes: controllers::NodePrefixes::default(),
            node_monitor_grace_period: controllers::NODE_MONITOR_GRACE_PERIOD,
            service_cidrs: Vec::new(),
            pki: None,
            root_ca_pem: "x".to_owned(),
            storage_version_migrator: false,
        };
        tokio::spawn(controllers::run(controllers, stop.clone()));
        let scheduler = scheduler::Config {
            client: client("system:kube-scheduler"),
            informers,
            identity: "test".to_owned(),
            leader_elect: false,
        };
        tokio::spawn(scheduler::run(scheduler, stop.clone()));
        let cluster = Self { server, _stop: stop.drop_guard() };
        for name in nodes {
            cluster.node(name, "4").await;
        }
        cluster
    }

    /// One more node.
    pub async fn node(&self, name: &str, cpu: &str) {
        let node = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        self.server.post("/api/v1/nodes", &node).await.expect(201);
        let now = jiff::Timestamp::now().to_string();
        let status = json!({"status": {
            "allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": "",
                "lastHeartbeatTime": now, "lastTransitionTime": now}]}});
        let uri = format!("/api/v1/nodes/{name}/status");
        self.server.patch("strategic-merge", &uri, &status).await.expect(200);
    }
}
