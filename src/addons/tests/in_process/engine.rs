//! Enabling, changing and disabling.

use crate::{gone, object};
use addons::engine::{Engine, EngineError};
use addons::render::Settings;
use serde_json::json;
use std::time::Duration;
use testkit::TestServer;

const ADDONS: &str = "/apis/knarr.io/v1/addons";
const CLASS: &str = "/apis/storage.k8s.io/v1/storageclasses/knarr-hostpath";
const DAEMON_SET: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/knarr-storage";
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn settings() -> Settings {
    Settings {
        image: "knarr.local/knarr:1".to_owned(),
        cluster_dns: "10.152.183.10".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        data_dir: "/data".to_owned(),
    }
}

/// A cluster that was told what it is; no controller runs in it.
async fn started(without: &[&str]) -> (TestServer, Engine) {
    let server = TestServer::start().await;
    let engine = Engine::new(server.client());
    let without: Vec<String> = without.iter().map(|one| (*one).to_owned()).collect();
    engine.start(&settings(), &without).await.unwrap();
    (server, engine)
}

/// Plays the controller: all pods of the provisioner are ready.
async fn all_ready(server: &TestServer) {
    let generation = server.get(DAEMON_SET).await.json()["metadata"]["generation"].clone();
    let status = json!({"status": {"observedGeneration": generation, "desiredNumberScheduled": 1,
        "currentNumberScheduled": 1, "numberMisscheduled": 0, "numberReady": 1, "updatedNumberScheduled": 1}});
    assert_eq!(server.patch("merge", &format!("{DAEMON_SET}/status"), &status).await.code, 200);
}

#[tokio::test]
async fn add_ons_change_when_no_ready_node_lacks_their_image() {
    const DNS: &str = "/apis/apps/v1/namespaces/kube-system/deployments/knarr-dns";
    let (server, engine) = started(&[]).await;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "old"}});
    assert_eq!(server.post("/api/v1/nodes", &node).await.code, 201);
    let report = async |version: &str| {
        let status = json!({"status": {"nodeInfo": {"kubeletVersion": version},
            "conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(server.patch("merge", "/api/v1/nodes/old/status", &status).await.code, 200);
    };
    let image =
        async || server.get(DNS).await.json()["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    report("v1.36.0+knarr1").await;
    let newer = Settings { image: "knarr.local/knarr:2".to_owned(), ..settings() };
    let lagging = engine.start(&newer, &[]).await.unwrap().unwrap();
    assert_eq!((&*lagging.node, &*lagging.version), ("old", "v1.36.0+knarr1"));
    assert_eq!(image().await, "knarr.local/knarr:1");
    report("v1.36.0+knarr2").await;
    assert_eq!(engine.start(&newer, &[]).await.unwrap(), None);
    assert_eq!(image().await, "knarr.local/knarr:2");
}

#[tokio::test]
async fn a_new_cluster_has_the_default_add_ons_that_it_was_not_told_to_leave_out() {
    let (server, engine) = started(&["storage"]).await;
    let states = engine.list(&[]).await.unwrap();
    let enabled = |name: &str| states.iter().find(|state| state.name == name).unwrap().enabled;
    assert!(enabled("dns") && !enabled("hostpath-storage"));
    let dns = server.get(&format!("{ADDONS}/dns")).await.json();
    assert_eq!(dns["spec"], json!({"repository": "core", "enabled": true, "arguments": []}));
    assert!(dns["status"]["applied"].as_array().unwrap().iter().any(|o| o["name"] == "kube-dns"), "{dns}");
    assert_eq!(server.get(CLASS).await.code, 404);
    // A restart leaves all as it is.
    engine.start(&settings(), &[]).await.unwrap();
    assert_eq!(server.get(CLASS).await.code, 404);
    assert_eq!(
        server.get(&format!("{ADDONS}/dns")).await.json()["metadata"]["resourceVersion"],
        dns["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn an_add_on_is_enabled_changed_and_disabled() {
    let (server, engine) = started(&["storage"]).await;
    let arguments = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let mut told = Vec::new();
    let mut tell = |line| told.push(line);
    let (enabled, ()) = tokio::join!(engine.enable("storage", &[], PATIENCE, &mut tell), async {
        object(&server, DAEMON_SET, "applied", |_| true).await;
        all_ready(&server).await;
    });
    assert!(!enabled.unwrap(), "it was not enabled before");
    assert_eq!(told.first().unwrap(), "Waiting for DaemonSet kube-system/knarr-storage");
    let class = server.get(CLASS).await.json();
    assert_eq!(class["reclaimPolicy"], "Delete");
    // The policy of a class cannot change: the class is made anew.
    let retain = arguments(&["reclaim-policy=Retain"]);
    assert!(!engine.enable("storage", &retain, PATIENCE, &mut |_| ()).await.unwrap());
    let class = server.get(CLASS).await.json();
    assert_eq!(class["reclaimPolicy"], "Retain");
    // Without arguments it stays as it was.
    assert!(engine.enable("storage", &[], PATIENCE, &mut |_| ()).await.unwrap());
    assert_eq!(server.get(CLASS).await.json()["metadata"]["uid"], class["metadata"]["uid"]);

    assert!(engine.disable("storage", &[], PATIENCE, &mut |_| ()).await.unwrap());
    gone(&server, CLASS).await;
    gone(&server, DAEMON_SET).await;
    gone(&server, "/apis/rbac.authorization.k8s.io/v1/clusterroles/knarr:storage").await;
    assert!(!engine.disable("storage", &[], PATIENCE, &mut |_| ()).await.unwrap());
    let recorded = server.get(&format!("{ADDONS}/hostpath-storage")).await.json();
    assert_eq!(recorded["spec"]["enabled"], false);
    assert_eq!(recorded["status"]["applied"], json!([]));
}

#[tokio::test]
async fn what_is_not_ready_in_time_is_told_with_its_state() {
    let (_server, engine) = started(&["storage"]).await;
    let error = engine.enable("storage", &[], Duration::ZERO, &mut |_| ()).await.unwrap_err();
    assert!(matches!(error, EngineError::NotReady { .. }), "{error}");
    assert!(error.to_string().contains("not looked at by its controller yet"), "{error}");
}

#[tokio::test]
async fn nothing_can_be_enabled_before_a_server_told_what_cluster_this_is() {
    let server = TestServer::start().await;
    let engine = Engine::new(server.client());
    let always = |name: &str| addons::catalog::find(name).unwrap().always.is_some();
    assert!(engine.list(&[]).await.unwrap().iter().all(|state| state.enabled == always(&state.name)));
    let error = engine.enable("dns", &[], PATIENCE, &mut |_| ()).await.unwrap_err();
    assert!(matches!(error, EngineError::NoSettings), "{error}");
    let error = engine.enable("nonsense", &[], PATIENCE, &mut |_| ()).await.unwrap_err();
    assert!(matches!(error, EngineError::Unknown(_)), "{error}");
}

#[tokio::test]
async fn people_see_what_is_enabled_in_a_table() {
    let (server, _engine) = started(&[]).await;
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let answer = server.request("GET", ADDONS, &table, &serde_json::Value::Null).await.json();
    let columns: Vec<&str> =
        answer["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Name", "Enabled", "Repository", "Version", "Arguments", "Age"]);
    assert_eq!(answer["rows"][0]["cells"][0], "dns");
    assert_eq!(answer["rows"][0]["cells"][1], true);
}

#[tokio::test]
async fn what_others_made_is_recorded_beside_the_rest() {
    use addons::repositories::Repositories;
    use std::os::unix::fs::PermissionsExt;
    let (server, engine) = started(&["storage"]).await;
    let (root, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hooks = from.path().join("addons/dns");
    std::fs::create_dir_all(&hooks).unwrap();
    for verb in ["enable", "disable"] {
        std::fs::write(hooks.join(verb), "").unwrap();
        std::fs::set_permissions(hooks.join(verb), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let listing = "microk8s-addons: {addons: [{name: dns, description: theirs, version: '2'}]}";
    std::fs::write(from.path().join("addons.yaml"), listing).unwrap();
    let repositories = Repositories::new(root.path());
    let mine = repositories.add("mine", from.path().to_str().unwrap(), "", false).unwrap();
    assert!(!engine.note(&mine, &mine.addons[0], true, &["x".to_owned()]).await.unwrap());
    assert!(engine.note(&mine, &mine.addons[0], true, &[]).await.unwrap());
    let recorded = server.get(&format!("{ADDONS}/mine.dns")).await.json();
    assert_eq!(
        (&recorded["spec"]["repository"], &recorded["status"]["version"]),
        (&json!("mine"), &json!("2"))
    );
    engine.note(&mine, &mine.addons[0], false, &[]).await.unwrap();
    let states = engine.list(&repositories.list()).await.unwrap();
    let dns: Vec<(&str, bool)> =
        states.iter().filter(|s| s.name == "dns").map(|s| (s.repository.as_str(), s.enabled)).collect();
    assert_eq!(dns, [("core", true), ("mine", false)]);
}

#[tokio::test]
async fn parts_of_knarr_are_always_enabled() {
    let (_server, engine) = started(&["storage"]).await;
    let states = engine.list(&[]).await.unwrap();
    for name in ["helm", "rbac", "ha-cluster"] {
        assert!(states.iter().any(|state| state.name == name && state.enabled), "{name}");
        let mut told = Vec::new();
        assert!(engine.enable(name, &[], PATIENCE, &mut |line| told.push(line)).await.unwrap());
        assert_eq!(told.len(), 1);
        let error = engine.disable(name, &[], PATIENCE, &mut |_| ()).await.unwrap_err();
        assert!(matches!(error, EngineError::Always(..)), "{error}");
    }
}

#[tokio::test]
async fn an_add_on_that_is_a_chart_is_ready_when_its_release_is() {
    let (server, engine) = started(&["storage"]).await;
    let chart = "/apis/helm.cattle.io/v1/namespaces/kube-system/helmcharts/cert-manager";
    let plays = async {
        object(&server, chart, "applied", |chart| chart["spec"]["version"] == "v1.20.4").await;
        let condition =
            json!({"type": "Ready", "status": "False", "reason": "HelmMissing", "message": "no helm"});
        let status = json!({"status": {"conditions": [condition]}});
        assert_eq!(server.patch("merge", &format!("{chart}/status"), &status).await.code, 200);
    };
    let mut quiet = |_| ();
    let (enabled, ()) = tokio::join!(engine.enable("cert-manager", &[], PATIENCE, &mut quiet), plays);
    let error = enabled.unwrap_err().to_string();
    assert!(error.contains("HelmMissing: no helm"), "{error}");
    assert!(error.contains("-n kube-system describe helmchart cert-manager"), "{error}");
}

/// Definitions of the Gateway API may be somebody else's, and others use them too.
#[tokio::test]
async fn shared_definitions_stay_whose_they_are_and_outlive_the_add_on() {
    const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (server, engine) = started(&["storage"]).await;
    let theirs = "referencegrants.gateway.networking.k8s.io";
    let approved = json!({"api-approved.kubernetes.io": "https://example.com/1"});
    let version = json!({"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "description": "theirs"}}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": theirs, "annotations": approved},
        "spec": {"group": "gateway.networking.k8s.io", "scope": "Namespaced", "versions": [version],
            "names": {"plural": "referencegrants", "kind": "ReferenceGrant"}}});
    let made = server.post(DEFINITIONS, &definition).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let error = engine.enable("ingress", &[], Duration::ZERO, &mut |_| ()).await.unwrap_err();
    assert!(matches!(error, EngineError::NotReady { .. }), "{error}");
    let class = "/apis/gateway.networking.k8s.io/v1/gatewayclasses/public";
    object(&server, class, "applied", |class| class["spec"]["controllerName"] == "knarr.io/gateway").await;
    let their = |there: &serde_json::Value| there["spec"]["versions"].as_array().unwrap().len() == 1;
    assert!(their(&server.get(&format!("{DEFINITIONS}/{theirs}")).await.json()));
    assert!(engine.disable("ingress", &[], PATIENCE, &mut |_| ()).await.unwrap());
    gone(&server, class).await;
    assert!(their(&server.get(&format!("{DEFINITIONS}/{theirs}")).await.json()));
    assert_eq!(server.get(&format!("{DEFINITIONS}/httproutes.gateway.networking.k8s.io")).await.code, 200);
}
