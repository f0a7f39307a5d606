//! Charts, with a script that stands in for helm: it writes down how it was called, and what is in its files.

use crate::object;
use addons::engine::Engine;
use addons::helm::{self, COMPONENT, Config};
use addons::render::Settings;
use client::SharedInformers;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use testkit::{TestServer, eventually};

const CHARTS: &str = "/apis/helm.cattle.io/v1/namespaces/default/helmcharts";
const CONFIGS: &str = "/apis/helm.cattle.io/v1/namespaces/default/helmchartconfigs";

/// A release is a file `state` with its status; `fail` is what the next upgrade leaves.
const HELM: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
case "$1" in
list)
    [ -f "$here/state" ] || { echo '[]'; exit; }
    echo "[{\"name\":\"web\",\"status\":\"$(cat "$here/state")\",\"revision\":\"$(cat "$here/revision")\",\"chart\":\"c-1\"}]" ;;
upgrade)
    cat values-*.yaml >> "$here/values" 2>/dev/null
    cat kubeconfig > "$here/kubeconfig"
    revision=$(cat "$here/revision" 2>/dev/null || echo 0)
    echo $((revision + 1)) > "$here/revision"
    if [ -f "$here/fail" ]; then
        cat "$here/fail" > "$here/state"; rm "$here/fail"
        [ -s "$here/state" ] || rm "$here/state"
        echo "Error: it does not work, the repository cannot be reached" >&2; exit 1
    fi
    echo deployed > "$here/state" ;;
rollback) echo deployed > "$here/state" ;;
uninstall) rm -f "$here/state" ;;
esac
"#;

struct Bench {
    server: TestServer,
    folder: tempfile::TempDir,
    program: Arc<Mutex<Option<PathBuf>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bench {
    /// A cluster with the controller; helm is there only if `there`.
    async fn start(there: bool) -> Self {
        Self::with_retry(there, Duration::from_millis(20)).await
    }

    /// With another wait after a failure.
    async fn with_retry(there: bool, retry: Duration) -> Self {
        let server = TestServer::start().await;
        let without = ["dns", "hostpath-storage"].map(str::to_owned);
        let settings = Settings { cluster_dns: "10.152.183.10".to_owned(), ..Settings::default() };
        Engine::new(server.client()).start(&settings, &without).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let helm = folder.path().join("helm");
        std::fs::write(&helm, HELM).unwrap();
        std::fs::set_permissions(&helm, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = Arc::new(Mutex::new(there.then_some(helm)));
        let find = Arc::clone(&program);
        let config = Config {
            client: server.client(),
            informers: SharedInformers::new(server.client()),
            find: Arc::new(move || find.lock().clone()),
            kubeconfig: Arc::new(|| Ok("the kubeconfig".to_owned())),
            work: folder.path().join("work"),
            statics: folder.path().join("static"),
            retry,
        };
        let task = tokio::spawn(helm::run(config));
        Self { server, folder, program, task }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    async fn create(&self, spec: &Value) {
        let chart = json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart", "metadata": {"name": "web"}, "spec": spec});
        let answer = self.server.post(CHARTS, &chart).await;
        assert_eq!(answer.code, 201, "{:?}", answer.json());
    }

    async fn change(&self, patch: &Value) {
        assert_eq!(self.server.patch("merge", &format!("{CHARTS}/web"), patch).await.code, 200);
    }

    /// The chart, once its condition `Ready` has this reason, and the spec is that which was looked at.
    async fn ready(&self, reason: &str) -> Value {
        object(&self.server, &format!("{CHARTS}/web"), reason, |chart| {
            condition(chart, "Ready")["reason"] == reason
                && chart["status"]["observedGeneration"] == chart["metadata"]["generation"]
        })
        .await
    }

    /// Waits for a call of helm that begins like this, and is the `count`th of its kind.
    async fn called(&self, begin: &str, count: usize) {
        eventually(&format!("call {count} of {begin}"), || async {
            let calls = self.read("calls");
            (calls.lines().filter(|line| line.starts_with(begin)).count() >= count).then_some(())
        })
        .await;
    }
}

fn condition<'a>(chart: &'a Value, kind: &str) -> &'a Value {
    chart["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["type"] == kind))
        .unwrap_or(&Value::Null)
}

fn spec() -> Value {
    json!({"chartContent": "YQ==", "valuesContent": "a: first\n"})
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

#[tokio::test]
async fn a_release_follows_its_chart_and_is_gone_with_it() {
    let bench = Bench::start(true).await;
    bench.create(&spec()).await;
    let chart = bench.ready("Deployed").await;
    assert_eq!(condition(&chart, "Ready")["message"], "c-1 in namespace default, revision 1");
    assert_eq!(condition(&chart, "Failed")["status"], "False");
    assert_eq!(chart["metadata"]["annotations"]["helmcharts.cattle.io/managed-by"], COMPONENT);
    assert_eq!(bench.read("kubeconfig"), "the kubeconfig");
    assert!(is_empty(&bench.path("work")), "its files stay");

    bench.change(&json!({"spec": {"valuesContent": "a: second\n"}})).await;
    bench.called("upgrade", 2).await;
    bench.ready("Deployed").await;
    let config = json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChartConfig", "metadata": {"name": "web"},
        "spec": {"valuesContent": "a: third\n"}});
    assert_eq!(bench.server.post(CONFIGS, &config).await.code, 201);
    // helm tells of its call before it reads the values.
    let values = "a: first\na: second\na: second\na: third\n";
    eventually("the values", || async { (bench.read("values") == values).then_some(()) }).await;
    bench.ready("Deployed").await;
    // What changes nothing brings no helm.
    bench.change(&json!({"metadata": {"labels": {"a": "b"}}})).await;

    assert_eq!(bench.server.delete(&format!("{CHARTS}/web"), &Value::Null).await.code, 200);
    crate::gone(&bench.server, &format!("{CHARTS}/web")).await;
    assert!(!bench.path("state").exists(), "the release is there");
    let calls = bench.read("calls");
    assert_eq!(calls.lines().filter(|line| line.starts_with("upgrade")).count(), 3, "{calls}");
    assert_eq!(calls.lines().filter(|line| line.starts_with("uninstall")).count(), 1, "{calls}");
}

#[tokio::test]
async fn without_a_helm_the_next_step_is_told_and_nothing_holds_the_object() {
    let bench = Bench::start(false).await;
    bench.create(&spec()).await;
    let chart = bench.ready("HelmMissing").await;
    assert!(condition(&chart, "Ready")["message"].as_str().unwrap().contains("put the file `helm`"));
    assert_eq!(chart["metadata"].get("finalizers"), None);
    eventually("an event", || async {
        let events = bench.server.get("/api/v1/namespaces/default/events").await.json();
        events["items"].as_array()?.iter().any(|event| event["reason"] == "HelmMissing").then_some(())
    })
    .await;
    *bench.program.lock() = Some(bench.path("helm"));
    bench.ready("Deployed").await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_and_what_is_missing_is_waited_for() {
    let bench = Bench::start(true).await;
    bench.create(&json!({"chart": "/etc/passwd"})).await;
    let chart = bench.ready("Refused").await;
    assert_eq!(condition(&chart, "Failed")["status"], "True");
    bench.change(&json!({"spec": {"chart": "web-1.tgz"}})).await;
    bench.ready("Missing").await;
    assert_eq!(bench.read("calls"), "");
    std::fs::create_dir_all(bench.path("static/charts")).unwrap();
    std::fs::write(bench.path("static/charts/web-1.tgz"), "").unwrap();
    bench.ready("Deployed").await;
}

#[tokio::test]
async fn a_release_that_failed_is_made_anew_unless_it_is_to_be_left() {
    let bench = Bench::start(true).await;
    std::fs::write(bench.path("fail"), "failed").unwrap();
    bench.create(&spec()).await;
    bench.called("uninstall", 1).await;
    bench.ready("Deployed").await;

    std::fs::write(bench.path("fail"), "failed").unwrap();
    bench.change(&json!({"spec": {"failurePolicy": "abort"}})).await;
    let chart = bench.ready("Aborted").await;
    assert_eq!(condition(&chart, "Failed")["status"], "True");
    assert!(condition(&chart, "Ready")["message"].as_str().unwrap().contains("it does not work"));
    // Another policy upgrades what failed.
    bench.change(&json!({"spec": {"failurePolicy": "retry"}})).await;
    bench.ready("Deployed").await;
    assert_eq!(bench.read("calls").lines().filter(|line| line.starts_with("uninstall")).count(), 1);
}

#[tokio::test]
async fn what_never_became_a_release_is_tried_again_as_often_as_is_said() {
    let bench = Bench::start(true).await;
    std::fs::write(bench.path("fail"), "").unwrap();
    bench.create(&json!({"chart": "x", "repo": "https://charts.example", "version": "1", "failurePolicy": "abort"})).await;
    bench.ready("Deployed").await;
    bench.called("upgrade", 2).await;

    std::fs::write(bench.path("fail"), "failed").unwrap();
    bench.change(&json!({"spec": {"failurePolicy": "reinstall", "backOffLimit": 0}})).await;
    let chart = bench.ready("BackoffLimitExceeded").await;
    assert_eq!(condition(&chart, "Failed")["status"], "True");
}

#[tokio::test]
async fn a_chart_that_cannot_be_had_says_how_to_do_without_a_network() {
    let bench = Bench::with_retry(true, Duration::from_secs(3600)).await;
    std::fs::write(bench.path("fail"), "").unwrap();
    bench.create(&json!({"chart": "x", "repo": "https://charts.example", "version": "1"})).await;
    let chart = bench.ready("ChartUnreachable").await;
    let message = condition(&chart, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("helm pull x --repo https://charts.example --version 1"), "{message}");
    assert!(message.contains("static/charts/x-1.tgz"), "{message}");
}

#[tokio::test]
async fn the_next_attempt_waits_whatever_is_written_meanwhile() {
    let bench = Bench::with_retry(true, Duration::from_secs(3600)).await;
    std::fs::write(bench.path("fail"), "failed").unwrap();
    bench.create(&spec()).await;
    bench.ready("HelmFailed").await;
    // Somebody else's change is looked at, and is no reason to try.
    bench.change(&json!({"metadata": {"labels": {"a": "b"}}})).await;
    bench.change(&json!({"spec": {"failurePolicy": "retry"}})).await;
    bench.ready("Deployed").await;
    assert_eq!(bench.read("calls").lines().filter(|line| line.starts_with("upgrade")).count(), 2);
}

#[tokio::test]
async fn what_somebody_stopped_is_rolled_back_and_upgraded() {
    let bench = Bench::start(true).await;
    std::fs::write(bench.path("state"), "pending-upgrade").unwrap();
    std::fs::write(bench.path("revision"), "2").unwrap();
    bench.create(&spec()).await;
    bench.ready("Deployed").await;
    let calls = bench.read("calls");
    let verbs: Vec<&str> = calls.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(verbs, ["list", "rollback", "upgrade", "list"]);
}

#[tokio::test]
async fn charts_of_other_controllers_are_left_alone() {
    let bench = Bench::start(true).await;
    for (name, annotation) in
        [("other", "helmcharts.cattle.io/managed-by"), ("none", "helmcharts.helm.cattle.io/unmanaged")]
    {
        let chart = json!({"apiVersion": "helm.cattle.io/v1", "kind": "HelmChart",
            "metadata": {"name": name, "annotations": {annotation: "somebody"}}, "spec": spec()});
        assert_eq!(bench.server.post(CHARTS, &chart).await.code, 201);
    }
    bench.create(&spec()).await;
    bench.ready("Deployed").await;
    for name in ["other", "none"] {
        assert_eq!(bench.server.get(&format!("{CHARTS}/{name}")).await.json().get("status"), None);
    }
}
