//! Releases of Helm charts as custom resources, as k3s has them: `HelmChart` and `HelmChartConfig` of
//! `helm.cattle.io/v1`. There is no Helm in this binary: the controller runs the helm program of the node on which it
//! acts, so that `helm list` and everything else of Helm sees the releases.
//!
//! Upstream counterpart: k3s-io/helm-controller, which makes a Job for each.
//!
//! # Guarantees
//! - A release is worked on by one helm at a time, as long as one of these controllers acts.
//! - helm is ended with the controller. A release that it was at work on is taken up again by the next one: rolled back to
//!   what it was, then upgraded.
//! - An object with a release is not gone before its release is.

mod attempts;
mod plan;
mod program;
mod status;

use attempts::Attempts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::rest::{self, Patch};
use client::{EventRecorder, EventType, ObjectKey, Rest, SharedInformers, WorkQueue};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::{ApiResource, GroupVersionKind};
use plan::{Found, Plan, PlanError, Policy};
use program::{Helm, HelmError, State, Work};
use serde_json::{Value, json};
use status::Outcome;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the client of the controller calls itself.
pub const COMPONENT: &str = "knarr-helm";
/// The definitions of the resources.
pub const DEFINITIONS: [&str; 2] = [
    include_str!("../../../../addons/helmcharts.helm.cattle.io.yaml"),
    include_str!("../../../../addons/helmchartconfigs.helm.cattle.io.yaml"),
];
/// Keeps an object until its release is uninstalled.
const FINALIZER: &str = "knarr.io/helm-release";
/// Says which controller an object belongs to; others of k3s' kind keep away from what is not theirs.
const MANAGED_BY: &str = "helmcharts.cattle.io/managed-by";
/// Keeps every controller away.
const UNMANAGED: &str = "helmcharts.helm.cattle.io/unmanaged";
const CHARTS: &str = "helmcharts";
const CONFIGS: &str = "helmchartconfigs";
/// How many helms run at a time: each takes some 60 MiB.
const WORKERS: usize = 2;
/// How long helm may take to remove a release whose object says nonsense.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(300);
/// Of a chart whose values come from other objects.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Words of helm's when it cannot have a chart.
const UNREACHABLE: [&str; 5] = [
    "cannot be reached",
    "failed to download",
    "failed to fetch",
    "failed to do request",
    "failed to perform",
];

/// Stands for the digest of what is to be gone.
const REMOVAL: &str = "removal";

/// What the controller needs.
#[derive(Clone)]
pub struct Config {
    /// Acts as an administrator.
    pub client: kube::Client,
    /// Tell of changes of charts.
    pub informers: SharedInformers,
    /// Finds the helm program.
    pub find: Arc<dyn Fn() -> Option<PathBuf> + Send + Sync>,
    /// A kubeconfig for helm.
    pub kubeconfig: Arc<dyn Fn() -> Result<String, String> + Send + Sync>,
    /// Where helm's files are while it runs. Belongs to the controller alone.
    pub work: PathBuf,
    /// The folder of static files, with `charts` in it.
    pub statics: PathBuf,
    /// Wait after the first failure, doubled after each.
    pub retry: Duration,
}

struct Controller {
    config: Config,
    rest: Rest,
    recorder: EventRecorder,
    attempts: Attempts,
}

/// Makes, changes and removes releases for as long as it is not dropped.
pub async fn run(config: Config) {
    let root = config.work.clone();
    let _ = tokio::task::spawn_blocking(move || program::clear(&root)).await;
    let informer = |kind: &str, plural: &str| {
        let gvk = GroupVersionKind::gvk("helm.cattle.io", "v1", kind);
        config.informers.metadata(&ApiResource::from_gvk_with_plural(&gvk, plural))
    };
    let queue = WorkQueue::named("helm");
    // Both go by the name of the chart; what they are is read when it is worked on.
    let guards = [informer("HelmChart", CHARTS), informer("HelmChartConfig", CONFIGS)].map(|informer| {
        let add = queue.clone();
        informer.add_handler(move |event| add.add(ObjectKey::of(&**event.object())))
    });
    let controller = Controller {
        rest: Rest::new(config.client.clone()),
        recorder: EventRecorder::new(config.client.clone(), COMPONENT, ""),
        attempts: Attempts::new(config.retry),
        config,
    };
    join_all((0..WORKERS).map(|_| work(&controller, &queue))).await;
    drop(guards);
}

async fn work(controller: &Controller, queue: &WorkQueue<ObjectKey>) {
    while let Some(key) = queue.get().await {
        match controller.reconcile(&key).await {
            Ok(again) => {
                queue.forget(&key);
                if let Some(again) = again {
                    queue.add_after(key.clone(), again);
                }
            }
            Err(error) => {
                tracing::warn!(chart = %key, "cannot look after a chart, trying again: {error}");
                queue.add_after(key.clone(), controller.config.retry);
            }
        }
        queue.done(&key);
    }
}

impl Controller {
    /// Does what a chart needs; answers when to look again without an event.
    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, kube::Error> {
        let Some(chart) = self.object(&path(CHARTS, key)).await? else {
            self.attempts.forget(key);
            return Ok(None);
        };
        let annotation = |name: &str| chart.pointer("/metadata/annotations").and_then(|all| all.get(name));
        let others = annotation(MANAGED_BY).is_some_and(|who| who != COMPONENT);
        if others || annotation(UNMANAGED).is_some() {
            return Ok(None);
        }
        if chart.pointer("/metadata/deletionTimestamp").is_some() {
            return self.remove(key, &chart).await;
        }
        let config = self.object(&path(CONFIGS, key)).await?;
        let found = self.find(key, &chart, config.as_ref()).await?;
        let plan = match plan::plan(&chart, config.as_ref(), &found, &self.config.statics) {
            Ok(plan) => plan,
            Err(PlanError::Refused(why)) => {
                self.tell(key, &chart, &Outcome::Failed("Refused", why), "").await?;
                return Ok(None);
            }
            Err(PlanError::Missing(why)) => {
                self.tell(key, &chart, &Outcome::Failing("Missing", why), "").await?;
                return Ok(Some(self.config.retry));
            }
        };
        let again = plan.follows_others.then_some(LOOK_AGAIN);
        if status::is_settled(&chart, &plan.hash) {
            self.observe(key, &chart).await?;
            return Ok(again);
        }
        if let Some(wait) = self.attempts.wait(key, &plan.hash) {
            return Ok(Some(wait));
        }
        let Some(program) = (self.config.find)() else {
            self.tell(key, &chart, &Outcome::Failing("HelmMissing", no_helm()), "").await?;
            return Ok(Some(self.config.retry));
        };
        let chart = self.claim(key, chart).await?;
        let interrupted = status::was_interrupted(&chart);
        self.tell(key, &chart, &Outcome::Applying, &plan.hash).await?;
        let applied = self.apply(&program, &plan, interrupted).await;
        // Others wrote meanwhile; times of changes are those of before.
        let Some(chart) = self.object(&path(CHARTS, key)).await? else { return Ok(None) };
        let (outcome, wait) = self.judge(key, &plan, applied);
        self.tell(key, &chart, &outcome, &plan.hash).await?;
        Ok(wait.or(again))
    }

    /// Installs or upgrades. What helm left in between is mended first.
    async fn apply(
        &self,
        program: &std::path::Path,
        plan: &Plan,
        interrupted: bool,
    ) -> Result<State, Failure> {
        let work = self.prepare(plan.files.as_slice()).map_err(Failure::Helm)?;
        // Three times: hooks before, the objects, hooks after; and the chart has to be fetched.
        let deadline = plan.timeout * 3 + Duration::from_secs(120);
        let helm = Helm { program, work: &work, driver: &plan.driver, deadline };
        let (release, namespace) = (plan.release.as_str(), plan.namespace.as_str());
        let state = helm.state(release, namespace).await.map_err(Failure::Helm)?;
        let status = state.as_ref().map_or("", |state| state.status.as_str());
        let first = state.as_ref().is_some_and(|state| state.revision == "1");
        match (status, plan.policy) {
            // Nothing of it is known to work, or it is on its way out.
            ("pending-install" | "uninstalling", _) => {
                helm.run(&uninstall(plan)).await.map_err(Failure::Helm)?;
            }
            ("pending-upgrade" | "pending-rollback", _) => {
                let namespace = format!("--namespace={namespace}");
                let back = ["rollback", release, &namespace].map(str::to_owned);
                helm.run(&back).await.map_err(Failure::Helm)?;
            }
            ("failed", Policy::Abort) => {
                return Err(Failure::Release(format!(
                    "the release failed before, and failurePolicy is abort; mend or uninstall it: helm -n {namespace} \
                     status {release}"
                )));
            }
            ("failed", Policy::Reinstall) if first || !interrupted => {
                helm.run(&uninstall(plan)).await.map_err(Failure::Helm)?;
            }
            _ => {}
        }
        let upgrade = async {
            if let Some(before) = &plan.before {
                helm.run(before).await?;
            }
            helm.run(&plan.arguments).await
        };
        let upgraded = upgrade.await;
        let state = helm.state(release, namespace).await;
        match (upgraded, state) {
            (Ok(()), Ok(Some(state))) => Ok(state),
            (Ok(()), Ok(None)) => Err(Failure::Release("helm made no release".to_owned())),
            (Err(error), Ok(Some(state))) if state.status != "deployed" => {
                Err(Failure::Release(error.to_string()))
            }
            (Err(error), _) | (Ok(()), Err(error)) => Err(Failure::Helm(error)),
        }
    }

    /// What to tell of an attempt, and when to try again.
    fn judge(
        &self,
        key: &ObjectKey,
        plan: &Plan,
        applied: Result<State, Failure>,
    ) -> (Outcome, Option<Duration>) {
        let failure = match applied {
            Ok(state) => {
                self.attempts.forget(key);
                let what =
                    format!("{} in namespace {}, revision {}", state.chart, plan.namespace, state.revision);
                let parts = std::iter::once(what).chain(plan.notes.iter().cloned());
                return (Outcome::Deployed(parts.collect::<Vec<_>>().join("; ")), None);
            }
            Err(failure) => failure,
        };
        let (attempts, wait) = self.attempts.failed(key, &plan.hash);
        let final_ = |reason, message| (Outcome::Failed(reason, message), None);
        let (reason, message) = match failure {
            Failure::Release(message) if plan.policy == Policy::Abort => return final_("Aborted", message),
            Failure::Release(message) if plan.policy == Policy::Retry => {
                return final_("UpgradeFailed", message);
            }
            Failure::Release(message) => ("HelmFailed", message),
            Failure::Helm(error) => match (&plan.offline, error.to_string()) {
                (Some(advice), said) if UNREACHABLE.iter().any(|words| said.contains(words)) => {
                    ("ChartUnreachable", format!("{said}; {advice}"))
                }
                (_, said) => ("HelmFailed", said),
            },
        };
        if attempts > plan.attempts {
            return final_("BackoffLimitExceeded", message);
        }
        (Outcome::Failing(reason, message), Some(wait))
    }

    /// Uninstalls the release of an object that is to be gone, and lets it go.
    async fn remove(&self, key: &ObjectKey, chart: &Value) -> Result<Option<Duration>, kube::Error> {
        let finalizers = chart.pointer("/metadata/finalizers").and_then(Value::as_array);
        let Some(at) = finalizers.and_then(|all| all.iter().position(|one| one == FINALIZER)) else {
            return Ok(None);
        };
        if let Some(wait) = self.attempts.wait(key, REMOVAL) {
            return Ok(Some(wait));
        }
        let Some(program) = (self.config.find)() else {
            self.tell(key, chart, &Outcome::Failing("HelmMissing", no_helm()), "").await?;
            return Ok(Some(self.config.retry));
        };
        let (release, namespace) = plan::release(chart);
        let timeout = plan::timeout(chart).unwrap_or(REMOVAL_TIMEOUT);
        let driver = plan::driver(chart);
        let removed = async {
            let work = self.prepare(&[])?;
            let deadline = timeout * 3;
            let helm = Helm { program: &program, work: &work, driver: &driver, deadline };
            helm.run(&uninstall_of(&release, &namespace, timeout)).await
        };
        if let Err(error) = removed.await {
            let (_, wait) = self.attempts.failed(key, REMOVAL);
            self.tell(key, chart, &Outcome::Failing("UninstallFailed", error.to_string()), "").await?;
            return Ok(Some(wait));
        }
        self.event(
            key,
            chart,
            EventType::Normal,
            "Uninstalled",
            &format!("{release} in namespace {namespace}"),
        );
        let patch = Patch::Json(json!([
            {"op": "test", "path": format!("/metadata/finalizers/{at}"), "value": FINALIZER},
            {"op": "remove", "path": format!("/metadata/finalizers/{at}")},
        ]));
        match self.rest.raw_patch(&path(CHARTS, key), &patch).await {
            Err(error) if !rest::is_not_found(&error) => Err(error),
            _ => Ok(None),
        }
    }

    /// Makes a chart this controller's: from now on there may be a release of it.
    async fn claim(&self, key: &ObjectKey, chart: Value) -> Result<Value, kube::Error> {
        let finalizers =
            chart.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
        let annotated =
            chart.pointer("/metadata/annotations").is_some_and(|all| all.get(MANAGED_BY).is_some());
        if annotated && finalizers.iter().any(|one| one == FINALIZER) {
            return Ok(chart);
        }
        let mut finalizers = finalizers;
        finalizers.retain(|one| one != FINALIZER);
        finalizers.push(Value::from(FINALIZER));
        let patch = Patch::Merge(json!({"metadata": {
            "resourceVersion": chart.pointer("/metadata/resourceVersion"),
            "annotations": {MANAGED_BY: COMPONENT},
            "finalizers": finalizers,
        }}));
        let text = self.rest.raw_patch(&path(CHARTS, key), &patch).await?;
        serde_json::from_str(&text).map_err(kube::Error::SerdeError)
    }

    /// A folder with what helm needs.
    fn prepare(&self, files: &[(String, Vec<u8>)]) -> Result<Work, HelmError> {
        let failed = |source| HelmError::Start { program: "helm".to_owned(), source };
        let kubeconfig = (self.config.kubeconfig)().map_err(|why| failed(std::io::Error::other(why)))?;
        let work = Work::new(&self.config.work).map_err(failed)?;
        work.write("kubeconfig", kubeconfig.as_bytes()).map_err(failed)?;
        for (name, content) in files {
            work.write(name, content).map_err(failed)?;
        }
        Ok(work)
    }

    /// Reads what a chart needs of other objects.
    async fn find(
        &self,
        key: &ObjectKey,
        chart: &Value,
        config: Option<&Value>,
    ) -> Result<Found, kube::Error> {
        let needs = plan::needs(chart, config);
        let mut found = Found::default();
        let of = |plural: &str, name: &str| {
            rest::item_path(&format!("/api/v1/namespaces/{}/{plural}", key.namespace), name, "")
        };
        let data =
            |object: &Value| object.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
        for name in needs.secrets.keys() {
            if let Some(secret) = self.object(&of("secrets", name)).await? {
                let decode = |value: &Value| STANDARD.decode(value.as_str()?).ok();
                let keys = data(&secret);
                let keys = keys.iter().filter_map(|(key, value)| Some((key.clone(), decode(value)?)));
                found.secrets.insert(name.clone(), keys.collect());
            }
        }
        if let Some(name) = &needs.config_map
            && let Some(map) = self.object(&of("configmaps", name)).await?
        {
            let keys = data(&map);
            let keys = keys.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
            found.config_map = Some(keys.collect::<BTreeMap<_, _>>());
        }
        Ok(found)
    }

    async fn object(&self, path: &str) -> Result<Option<Value>, kube::Error> {
        match self.rest.raw(http::Method::GET, path, None).await {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(kube::Error::SerdeError),
            Err(error) if rest::is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says that a spec was seen which was changed, and changed back before anybody looked.
    async fn observe(&self, key: &ObjectKey, chart: &Value) -> Result<(), kube::Error> {
        let generation = chart.pointer("/metadata/generation");
        if chart.pointer("/status/observedGeneration") == generation {
            return Ok(());
        }
        self.write_status(key, &json!({"observedGeneration": generation})).await
    }

    /// Writes the status unless it is the same, with an event.
    async fn tell(
        &self,
        key: &ObjectKey,
        chart: &Value,
        outcome: &Outcome,
        hash: &str,
    ) -> Result<(), kube::Error> {
        let new = status::status(chart, outcome, hash, Timestamp::now());
        if chart.get("status") == Some(&new) {
            return Ok(());
        }
        match outcome {
            Outcome::Applying => {}
            Outcome::Deployed(what) => self.event(key, chart, EventType::Normal, "Deployed", what),
            Outcome::Failing(reason, why) | Outcome::Failed(reason, why) => {
                tracing::warn!(chart = %key, reason, "a chart is not installed: {why}");
                self.event(key, chart, EventType::Warning, reason, why);
            }
        }
        self.write_status(key, &new).await
    }

    async fn write_status(&self, key: &ObjectKey, status: &Value) -> Result<(), kube::Error> {
        let path = rest::item_path(&collection(CHARTS, &key.namespace), &key.name, "status");
        match self.rest.raw_patch(&path, &Patch::Merge(json!({"status": status}))).await {
            Err(error) if !rest::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn event(&self, key: &ObjectKey, chart: &Value, kind: EventType, reason: &str, message: &str) {
        let of = |field: &str| {
            chart.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).map(str::to_owned)
        };
        let reference = ObjectReference {
            api_version: Some("helm.cattle.io/v1".to_owned()),
            kind: Some("HelmChart".to_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: of("uid"),
            resource_version: of("resourceVersion"),
            field_path: None,
        };
        self.recorder.event(&reference, kind, reason, message);
    }
}

/// How an attempt failed.
enum Failure {
    /// There is a release, which failed.
    Release(String),
    /// helm did not get that far.
    Helm(HelmError),
}

fn uninstall(plan: &Plan) -> Vec<String> {
    uninstall_of(&plan.release, &plan.namespace, plan.timeout)
}

fn uninstall_of(release: &str, namespace: &str, timeout: Duration) -> Vec<String> {
    vec![
        "uninstall".to_owned(),
        "--ignore-not-found".to_owned(),
        "--wait".to_owned(),
        format!("--namespace={namespace}"),
        format!("--timeout={}s", timeout.as_secs().max(1)),
        release.to_owned(),
    ]
}

fn no_helm() -> String {
    "there is no helm program on the node that acts; put the file `helm` (Helm 3 or later) beside knarr or on PATH, such as \
     /usr/local/bin/helm, of every control-plane node; it is looked for again by itself"
        .to_owned()
}

fn collection(plural: &str, namespace: &str) -> String {
    format!("/apis/helm.cattle.io/v1/namespaces/{namespace}/{plural}")
}

fn path(plural: &str, key: &ObjectKey) -> String {
    rest::item_path(&collection(plural, &key.namespace), &key.name, "")
}
