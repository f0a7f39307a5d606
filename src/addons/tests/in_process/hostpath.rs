//! A node's provisioner: volumes and their directories come and go with claims.

use crate::{gone, object};
use addons::hostpath::{self, Config, NAME};
use addons::http::Ready;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use testkit::{TestServer, eventually};
use tokio_util::sync::CancellationToken;

const CLAIM: &str = "/api/v1/namespaces/default/persistentvolumeclaims/data";
const VOLUMES: &str = "/api/v1/persistentvolumes";

struct World {
    server: TestServer,
    root: tempfile::TempDir,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    async fn start() -> Self {
        let world = Self {
            server: TestServer::start().await,
            root: tempfile::tempdir().unwrap(),
            stop: CancellationToken::new(),
        };
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "c"},
            "provisioner": NAME, "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true});
        assert_eq!(world.server.post("/apis/storage.k8s.io/v1/storageclasses", &class).await.code, 201);
        let config = Config {
            node_name: "node-1".to_owned(),
            directory: world.root.path().to_owned(),
            informers: world.server.informers(),
            ready: Ready::default(),
        };
        tokio::spawn(hostpath::run(config, world.stop.clone()));
        world
    }

    /// A claim whose pod was scheduled, as the binder and the scheduler leave it.
    async fn claim(&self, node: &str) -> Value {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "annotations": {
                "volume.kubernetes.io/storage-provisioner": NAME, "volume.kubernetes.io/selected-node": node}},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "c",
                     "resources": {"requests": {"storage": "1Gi"}}}});
        let made = self.server.post("/api/v1/namespaces/default/persistentvolumeclaims", &claim).await;
        assert_eq!(made.code, 201);
        made.json()
    }

    async fn volume_of(&self, claim: &Value) -> (String, Value, PathBuf) {
        let path = format!("{VOLUMES}/pvc-{}", claim["metadata"]["uid"].as_str().unwrap());
        let volume = object(&self.server, &path, "provisioned", |_| true).await;
        let directory = PathBuf::from(volume["spec"]["hostPath"]["path"].as_str().unwrap());
        (path, volume, directory)
    }

    /// The provisioner's finalizer goes; the other one is that of a controller that does not run here.
    async fn let_go(&self, path: &str) {
        let protected = json!(["kubernetes.io/pv-protection"]);
        object(&self.server, path, "let go", |v| {
            v["metadata"]["deletionTimestamp"].is_string() && v["metadata"]["finalizers"] == protected
        })
        .await;
        self.server.patch("merge", path, &json!({"metadata": {"finalizers": null}})).await;
        gone(&self.server, path).await;
    }

    async fn phase(&self, path: &str, phase: &str) {
        let patch = json!({"status": {"phase": phase}});
        assert_eq!(self.server.patch("merge", &format!("{path}/status"), &patch).await.code, 200);
    }
}

async fn removed(directory: &Path) {
    eventually("the directory is gone", || async { (!directory.exists()).then_some(()) }).await;
}

#[tokio::test]
async fn a_volume_is_made_where_its_pod_is_and_goes_with_its_claim() {
    let world = World::start().await;
    let claim = world.claim("node-1").await;
    let (path, volume, directory) = world.volume_of(&claim).await;
    assert_eq!(directory.parent(), Some(world.root.path()));
    assert!(directory.is_dir());
    assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"]);
    let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
    assert_eq!(terms[0]["matchExpressions"][0]["values"], json!(["node-1"]));
    std::fs::write(directory.join("file"), "kept").unwrap();
    // In use: it stays, data and all, whatever is asked for.
    world.phase(&path, "Bound").await;
    world.server.delete(&path, &Value::Null).await;
    object(&world.server, &path, "being deleted", |v| v["metadata"]["deletionTimestamp"].is_string()).await;
    assert_eq!(std::fs::read_to_string(directory.join("file")).unwrap(), "kept");
    world.server.delete(CLAIM, &Value::Null).await;
    world.phase(&path, "Released").await;
    removed(&directory).await;
    world.let_go(&path).await;
}

#[tokio::test]
async fn a_released_volume_is_deleted_unless_it_is_to_be_retained() {
    let world = World::start().await;
    let claim = world.claim("node-1").await;
    let (path, _, directory) = world.volume_of(&claim).await;
    let retain = json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}});
    world.server.patch("merge", &path, &retain).await;
    world.phase(&path, "Released").await;
    let delete = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
    assert!(directory.is_dir());
    world.server.patch("merge", &path, &delete).await;
    removed(&directory).await;
    world.let_go(&path).await;
}

#[tokio::test]
async fn a_bound_claim_grows() {
    let world = World::start().await;
    let claim = world.claim("node-1").await;
    let (path, ..) = world.volume_of(&claim).await;
    let name = path.rsplit('/').next().unwrap();
    let bound = json!({"spec": {"volumeName": name}});
    assert_eq!(world.server.patch("merge", CLAIM, &bound).await.code, 200);
    let status = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}});
    assert_eq!(world.server.patch("merge", &format!("{CLAIM}/status"), &status).await.code, 200);
    let more = json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}});
    let grown = world.server.patch("merge", CLAIM, &more).await;
    assert_eq!(grown.code, 200, "{}", grown.json());
    object(&world.server, CLAIM, "grown", |c| c["status"]["capacity"]["storage"] == "3Gi").await;
    assert_eq!(world.server.get(&path).await.json()["spec"]["capacity"]["storage"], "3Gi");
}

#[tokio::test]
async fn what_another_node_is_chosen_for_is_left_alone() {
    let world = World::start().await;
    let other = world.claim("node-2").await;
    // Once a claim of this node has its volume, the earlier one has been looked at.
    let mut mine = other.clone();
    mine["metadata"] = json!({"name": "mine", "annotations": {
        "volume.kubernetes.io/storage-provisioner": NAME, "volume.kubernetes.io/selected-node": "node-1"}});
    mine.as_object_mut().unwrap().remove("status");
    let mine = world.server.post("/api/v1/namespaces/default/persistentvolumeclaims", &mine).await.json();
    world.volume_of(&mine).await;
    let path = format!("{VOLUMES}/pvc-{}", other["metadata"]["uid"].as_str().unwrap());
    assert_eq!(world.server.get(&path).await.code, 404);
}
