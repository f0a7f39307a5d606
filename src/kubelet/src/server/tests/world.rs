//! A kubelet's server with everything around it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cri::image::ImageError;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use pki::{Component, LeafRequest, Pki, ServingCertResolver};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::stats::NodeStatistics;
use super::super::{
    ContainerHandle, ContainerInstance, ImageArchives, ImageImporter, PodHandle, PodSource, Server,
    ServerConfig, health,
};
use super::runtime;
use crate::testing::FakeRuntime;

/// Who a test is.
#[derive(Debug, Clone, Copy)]
pub enum Identity {
    Nobody,
    ApiServer,
    Node,
    Token(&'static str),
}

pub struct World {
    pub address: std::net::SocketAddr,
    /// Where it answers without credentials.
    pub health: std::net::SocketAddr,
    pub pki: Pki,
    /// Where archives lie while they are imported.
    pub imports: PathBuf,
    _folder: tempfile::TempDir,
    _running: DropGuard,
}

struct Pods {
    log: PathBuf,
}

/// Takes everything but text for an archive of an image that is called after its size.
struct Sizes;

#[async_trait]
impl ImageImporter for Sizes {
    async fn import(&self, archive: &Path, name: Option<&str>) -> Result<Vec<String>, ImageError> {
        let content = std::fs::read(archive).unwrap();
        if content.is_ascii() {
            return Err(ImageError::Archive("it is text".into()));
        }
        Ok(vec![format!("{}:{}", name.unwrap_or("image"), content.len())])
    }
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::load_or_create(&folder.path().join("pki"), Timestamp::now()).unwrap();
        let request = LeafRequest {
            addresses: &["127.0.0.1".parse().unwrap()],
            ..LeafRequest::client(Component::KubeletServing, "n1")
        };
        let leaf = pki.leaf(&request, Timestamp::now()).unwrap();
        let log = folder.path().join("0.log");
        let line = |text: &str| format!("2026-01-01T00:00:00.000000000Z stdout F {text}\n");
        std::fs::write(&log, [line("one"), line("two")].concat()).unwrap();
        let runtime = FakeRuntime::default();
        runtime.stream_at(&runtime::start().await);
        let source: Arc<dyn PodSource> = Arc::new(Pods { log });
        let imports = folder.path().join("imports");
        std::fs::create_dir(&imports).unwrap();
        std::fs::write(imports.join("left"), "of before").unwrap();
        let config = ServerConfig {
            certificate: Arc::new(ServingCertResolver::new(&leaf).unwrap()),
            client_cas: pki.cluster_ca().bundle().unwrap(),
            client: client::in_process(tower::service_fn(review), "test"),
            node_name: "n1".into(),
            runtime: Arc::new(runtime),
            source: Arc::clone(&source),
            images: ImageArchives::new(imports.clone(), Arc::new(Sizes)),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(Server::new(config, shutdown.clone()).unwrap().serve(listener));
        let for_machine = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let health = for_machine.local_addr().unwrap();
        tokio::spawn(health::serve(for_machine, source, shutdown.clone()));
        Self { address, health, pki, imports, _folder: folder, _running: shutdown.drop_guard() }
    }
}

/// The API server's answers: the token "metrics" may get metrics, masters may everything.
async fn review(
    request: Request<client::connect::RequestBody>,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let bytes = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut review: Value = serde_json::from_slice(&bytes).unwrap();
    let spec = review["spec"].clone();
    review["status"] = if review["kind"] == "TokenReview" {
        json!({"authenticated": spec["token"] == "metrics", "user": {"username": "metrics", "groups": []}})
    } else {
        let about = &spec["resourceAttributes"];
        assert_eq!((&about["resource"], &about["name"]), (&json!("nodes"), &json!("n1")));
        let groups: Vec<&str> =
            spec["groups"].as_array().unwrap().iter().map(|g| g.as_str().unwrap()).collect();
        assert!(groups.contains(&"system:authenticated"));
        let master = groups.contains(&"system:masters") || spec["user"] == "kube-apiserver-kubelet-client";
        json!({"allowed": master || (spec["user"] == "metrics" && about["subresource"] == "metrics")})
    };
    let body = Full::from(review.to_string());
    Ok(Response::builder().status(201).header("content-type", "application/json").body(body).unwrap())
}

#[async_trait]
impl PodSource for Pods {
    fn pods(&self) -> Vec<Arc<Pod>> {
        vec![Arc::new(Pod::default())]
    }

    async fn running_pods(&self) -> Vec<Pod> {
        vec![Pod::default()]
    }

    async fn lookup(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<PodHandle> {
        if (namespace, name) != ("ns", "pod") || uid.is_some_and(|uid| uid != "uid") {
            return None;
        }
        let current = ContainerInstance { id: "c1".into(), log_path: self.log.clone(), running: true };
        let main = ContainerHandle { name: "main".into(), current: Some(current), ..Default::default() };
        let waiting = ContainerHandle {
            name: "waiting".into(),
            waiting_reason: Some("ContainerCreating".into()),
            ..Default::default()
        };
        Some(PodHandle {
            namespace: namespace.into(),
            name: name.into(),
            uid: "uid".into(),
            sandbox_id: Some("s1".into()),
            containers: vec![main, waiting],
        })
    }

    async fn statistics(&self) -> NodeStatistics {
        NodeStatistics::default()
    }

    fn configuration(&self) -> Value {
        json!({"kind": "KubeletConfiguration"})
    }

    fn healthy(&self) -> Result<(), String> {
        Ok(())
    }
}
