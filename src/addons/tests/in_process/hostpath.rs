//! A node's provisioner: volumes and their directories come and go with claims.

mod disk;

use crate::engine::settings;
use crate::{gone, object};
use addons::engine::{Engine, EngineError, VolumesError};
use addons::hostpath::quota::{self, Usage};
use addons::hostpath::{self, Config, NAME};
use addons::http::Ready;
use disk::Disk;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use testkit::{TestServer, eventually};
use tokio_util::sync::CancellationToken;

const CLAIM: &str = "/api/v1/namespaces/default/persistentvolumeclaims/data";
const VOLUMES: &str = "/api/v1/persistentvolumes";

const PROJECT: &str = "knarr.io/project-id";
const GI: u64 = 1 << 30;

/// What is said of a project of which nothing but the limit is known.
fn at_most(limit_bytes: u64) -> Usage {
    Usage { limit_bytes, ..Default::default() }
}

struct World {
    server: TestServer,
    disk: Arc<Disk>,
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
        Self::on(Disk::default()).await
    }

    async fn on(disk: Disk) -> Self {
        let world = Self {
            server: TestServer::start().await,
            disk: Arc::new(disk),
            root: tempfile::tempdir().unwrap(),
            stop: CancellationToken::new(),
        };
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "c"},
            "provisioner": NAME, "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true});
        assert_eq!(world.server.post("/apis/storage.k8s.io/v1/storageclasses", &class).await.code, 201);
        world.provisioner(&world.stop);
        world
    }

    fn provisioner(&self, stop: &CancellationToken) {
        let config = Config {
            node_name: "node-1".to_owned(),
            directory: self.root.path().to_owned(),
            quotas: self.disk.clone(),
            informers: self.server.informers(),
            ready: Ready::default(),
        };
        tokio::spawn(hostpath::run(config, stop.clone()));
    }

    /// The limit of a project becomes this.
    async fn limited(&self, project: u32, bytes: u64) {
        eventually("the limit is set", || async {
            (self.disk.usage.lock().get(&project) == Some(&at_most(bytes))).then_some(())
        })
        .await;
    }

    /// Binds the claim `data` to its volume, and asks for more.
    async fn grow(&self, volume: &str, size: &str) {
        let name = volume.rsplit('/').next().unwrap();
        let bound = json!({"spec": {"volumeName": name}});
        assert_eq!(self.server.patch("merge", CLAIM, &bound).await.code, 200);
        let status = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}});
        assert_eq!(self.server.patch("merge", &format!("{CLAIM}/status"), &status).await.code, 200);
        let more = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        let grown = self.server.patch("merge", CLAIM, &more).await;
        assert_eq!(grown.code, 200, "{}", grown.json());
        object(&self.server, CLAIM, "grown", |c| c["status"]["capacity"]["storage"] == size).await;
        assert_eq!(self.server.get(volume).await.json()["spec"]["capacity"]["storage"], size);
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
async fn disabling_destroys_volumes_when_it_is_asked_to_and_nobody_uses_them() {
    let world = World::start().await;
    let engine = Engine::new(world.server.client());
    engine.start(&settings(), &[]).await.unwrap();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}});
    assert_eq!(world.server.post("/api/v1/nodes", &node).await.code, 201);
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    assert_eq!(world.server.patch("merge", "/api/v1/nodes/node-1/status", &ready).await.code, 200);
    let claim = world.claim("node-1").await;
    let (path, _, directory) = world.volume_of(&claim).await;
    let retain = json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}});
    world.server.patch("merge", &path, &retain).await;
    world.phase(&path, "Bound").await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    world.server.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": "busybox"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}});
    assert_eq!(world.server.post("/api/v1/namespaces/default/pods", &pod).await.code, 201);

    let word = ["destroy-storage".to_owned()];
    let patience = Duration::from_secs(30);
    let refused = engine.disable("storage", &word, patience, &mut |_| ()).await.unwrap_err();
    assert!(matches!(&refused, EngineError::Volumes(VolumesError::InUse(pods)) if pods == &["default/p"]));
    assert_eq!(world.server.get(&path).await.json()["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    let refused = engine.disable("storage", &["destroy".to_owned()], patience, &mut |_| ()).await;
    assert!(matches!(refused, Err(EngineError::Arguments(_))));
    let now = json!({"gracePeriodSeconds": 0});
    world.server.delete("/api/v1/namespaces/default/pods/p", &now).await;

    // The controllers' part: no pod holds the claim, and a volume whose claim is gone is released.
    let controllers = async {
        object(&world.server, CLAIM, "deleted", |c| c["metadata"]["deletionTimestamp"].is_string()).await;
        world.server.patch("merge", CLAIM, &json!({"metadata": {"finalizers": null}})).await;
        gone(&world.server, CLAIM).await;
        world.phase(&path, "Released").await;
        removed(&directory).await;
        world.let_go(&path).await;
    };
    let mut quiet = |_| ();
    let (disabled, ()) = tokio::join!(engine.disable("storage", &word, patience, &mut quiet), controllers);
    assert!(disabled.unwrap());
    gone(&world.server, "/apis/storage.k8s.io/v1/storageclasses/knarr-hostpath").await;
    // There is nothing more to destroy: it can be repeated.
    assert!(!engine.disable("storage", &word, patience, &mut |_| ()).await.unwrap());
}

#[tokio::test]
async fn a_bound_claim_grows() {
    let world = World::start().await;
    let claim = world.claim("node-1").await;
    let (path, volume, _) = world.volume_of(&claim).await;
    assert_eq!(volume["metadata"]["annotations"][PROJECT], Value::Null);
    world.grow(&path, "3Gi").await;
    assert!(world.disk.projects.lock().is_empty() && world.disk.usage.lock().is_empty());
}

#[tokio::test]
async fn a_volumes_limit_comes_grows_and_goes_with_it() {
    let world = World::on(Disk { enforces: true.into(), ..Default::default() }).await;
    let claim = world.claim("node-1").await;
    let (path, volume, directory) = world.volume_of(&claim).await;
    let project: u32 = volume["metadata"]["annotations"][PROJECT].as_str().unwrap().parse().unwrap();
    assert_eq!(*world.disk.projects.lock(), BTreeMap::from([(directory.clone(), project)]));
    assert_eq!(*world.disk.usage.lock(), BTreeMap::from([(project, at_most(GI))]));
    world.grow(&path, "3Gi").await;
    assert_eq!(*world.disk.usage.lock(), BTreeMap::from([(project, at_most(3 * GI))]));
    world.server.delete(CLAIM, &Value::Null).await;
    world.phase(&path, "Released").await;
    removed(&directory).await;
    world.let_go(&path).await;
    world.limited(project, 0).await;
}

#[tokio::test]
async fn limits_that_were_lost_come_back_when_the_provisioner_starts() {
    let world = World::on(Disk { enforces: true.into(), ..Default::default() }).await;
    let claim = world.claim("node-1").await;
    let (_, volume, directory) = world.volume_of(&claim).await;
    let project: u32 = volume["metadata"]["annotations"][PROJECT].as_str().unwrap().parse().unwrap();
    world.stop.cancel();
    world.disk.projects.lock().clear();
    world.disk.usage.lock().clear();
    let stop = CancellationToken::new();
    world.provisioner(&stop);
    world.limited(project, GI).await;
    assert_eq!(*world.disk.projects.lock(), BTreeMap::from([(directory, project)]));
    stop.cancel();
}

#[tokio::test]
async fn a_volume_of_before_is_limited_once_somebody_has_given_it_a_project() {
    let world = World::start().await;
    let claim = world.claim("node-1").await;
    let (path, _, directory) = world.volume_of(&claim).await;
    std::fs::write(directory.join("file"), "data").unwrap();
    world.stop.cancel();
    world.disk.enforces.store(true, Ordering::Relaxed);
    let stop = CancellationToken::new();
    world.provisioner(&stop);
    // Its size changes and its directory does not.
    world.grow(&path, "3Gi").await;
    assert!(world.disk.projects.lock().is_empty() && world.disk.usage.lock().is_empty());
    world.disk.projects.lock().insert(directory, 1_800_000_001);
    let annotated = json!({"metadata": {"annotations": {PROJECT: "1800000001"}}});
    assert_eq!(world.server.patch("merge", &path, &annotated).await.code, 200);
    world.limited(1_800_000_001, 3 * GI).await;
    stop.cancel();
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
