//! A control plane with controllers, and a kubelet that only pretends.

use std::{sync::Arc, time::Duration};

use client::{Event, ObjectKey};
use controllers::Config;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use testkit::{Answer, TestServer, eventually};
use tokio_util::sync::CancellationToken;

pub(crate) const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// The cluster; everything ends when it is dropped.
pub(crate) struct Cluster {
    pub(crate) server: Arc<TestServer>,
    stop: CancellationToken,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Cluster {
    /// One node called `n1`, ready, and all controllers as their own identity.
    pub(crate) async fn start() -> Self {
        // RUST_LOG=controllers=debug,client=debug shows what led to a failure.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let server = Arc::new(
            TestServer::start_with(|config| config.runtime_config = "api/all".parse().unwrap()).await,
        );
        let stop = CancellationToken::new();
        let user = apiserver::authentication::UserInfo::new("system:kube-controller-manager", &[]);
        let client = client::in_process(server.server.in_process(user), "kube-controller-manager");
        let config = Config {
            informers: client::SharedInformers::new(client.clone()),
            client,
            identity: Some("test".into()),
            cluster_cidrs: vec!["10.1.0.0/16".parse().unwrap()],
            node_prefixes: controllers::NodePrefixes::default(),
            node_monitor_grace_period: controllers::NODE_MONITOR_GRACE_PERIOD,
            service_cidrs: vec!["10.152.183.0/24".parse().unwrap()],
            pki: Some(Arc::clone(&server.pki)),
            root_ca_pem: CA.into(),
            storage_version_migrator: true,
        };
        tokio::spawn(controllers::run(config, stop.clone()));
        let cluster = Self { server, stop };
        cluster.add_node("n1").await;
        tokio::spawn(kubelet(cluster.server.clone(), cluster.stop.clone()));
        cluster
            .eventually("the default service account", || async {
                let account = cluster.server.get("/api/v1/namespaces/default/serviceaccounts/default").await;
                (account.code == 200).then_some(())
            })
            .await;
        cluster
    }

    pub(crate) async fn add_node(&self, name: &str) {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        expect(self.server.post("/api/v1/nodes", &node).await, 201);
        self.set_ready(name, "True").await;
    }

    pub(crate) async fn set_ready(&self, name: &str, ready: &str) {
        let now = jiff::Timestamp::now().to_string();
        let status = json!({"status": {"conditions": [{
            "type": "Ready", "status": ready, "reason": "Test", "message": "", "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }]}});
        let path = format!("/api/v1/nodes/{name}/status");
        expect(self.server.patch("strategic-merge", &path, &status).await, 200);
    }

    pub(crate) async fn create(&self, path: &str, body: Value) -> Value {
        expect(self.server.post(path, &body).await, 201)
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.server.get(path).await;
        (answer.code == 200).then(|| answer.json())
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Value {
        expect(self.server.patch("merge", path, &body).await, 200)
    }

    pub(crate) async fn delete(&self, path: &str, options: Value) {
        let answer = self.server.delete(path, &options).await;
        assert!(matches!(answer.code, 200 | 202), "{path}: {}", answer.json());
    }

    /// The items of a list.
    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await.unwrap_or_else(|| panic!("cannot list {path}"));
        list["items"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
        &self,
        what: &str,
        look: impl FnMut() -> F,
    ) -> T {
        eventually(what, look).await
    }
}

pub(crate) fn expect(answer: Answer, code: u16) -> Value {
    assert_eq!(answer.code, code, "{}", answer.json());
    answer.json()
}

/// A pod template whose pods do what the label `end` says: run on, or end in that phase.
pub(crate) fn template(app: &str, image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]},
    })
}

/// Binds pods to a node, says that they run, and lets them go when they are deleted.
async fn kubelet(server: Arc<TestServer>, stop: CancellationToken) {
    let informers = server.informers();
    let mut events = informers.get::<Pod>().subscribe();
    let mut address = 0u32;
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => event,
        };
        let Some(Event::Applied(pod, _)) = event else { continue };
        let key = ObjectKey::of(&*pod);
        let path = format!("/api/v1/namespaces/{}/pods/{}", key.namespace, key.name);
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        if pod.metadata.deletion_timestamp.is_some() {
            server.delete(&path, &json!({"gracePeriodSeconds": 0})).await;
        } else if node.is_none() {
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": {"name": key.name},
                "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"},
            });
            let answer = server.post(&format!("{path}/binding"), &binding).await;
            // 403: its namespace is being deleted.
            assert!(matches!(answer.code, 201 | 403 | 404 | 409), "{}", answer.json());
        } else if phase == "Pending" {
            address += 1;
            let end = pod.metadata.labels.as_ref().and_then(|labels| labels.get("end").cloned());
            let ready = if end.is_none() { "True" } else { "False" };
            let now = jiff::Timestamp::now().to_string();
            let ip = format!("10.1.{}.{}", address / 250, address % 250 + 1);
            let status = json!({"status": {
                "phase": end.unwrap_or_else(|| "Running".into()),
                "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "192.0.2.1", "startTime": now,
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}],
            }});
            let answer = server.patch("merge", &format!("{path}/status"), &status).await;
            assert!(matches!(answer.code, 200 | 404 | 409), "{}", answer.json());
        }
    }
}

/// Long enough for a controller to have done something that it must not do.
pub(crate) const QUIET: Duration = Duration::from_millis(300);
