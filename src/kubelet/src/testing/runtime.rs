//! A container runtime without processes: containers run until a test says that they ended.

use async_trait::async_trait;
use cri::v1;
use cri::{CriError, ExecOutput, Images, Result, Runtime};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What a container does when it is started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Behaviour {
    Run,
    Exit(i32),
    /// SIGTERM is ignored.
    Stubborn,
}

#[derive(Default)]
struct Inner {
    sandboxes: BTreeMap<String, (v1::PodSandboxConfig, bool)>,
    containers: BTreeMap<String, Container>,
    images: BTreeMap<String, bool>,
    behaviours: HashMap<String, Behaviour>,
    exec: HashMap<String, i32>,
    memory: HashMap<String, u64>,
    refused: BTreeSet<String>,
    making: Duration,
    unstoppable: HashMap<String, u32>,
    calls: Vec<String>,
    next: u32,
    streaming: Option<String>,
}

struct Container {
    sandbox: String,
    config: v1::ContainerConfig,
    state: v1::ContainerState,
    created_at: i64,
    started_at: i64,
    finished_at: i64,
    exit_code: i32,
}

#[derive(Clone, Default)]
pub struct FakeRuntime {
    inner: Arc<Mutex<Inner>>,
}

impl FakeRuntime {
    /// What containers of a name do from now on.
    pub fn behave(&self, container: &str, behaviour: Behaviour) {
        self.inner.lock().behaviours.insert(container.to_owned(), behaviour);
    }

    /// What execs in containers of a name exit with from now on.
    pub fn exec_exits(&self, container: &str, code: i32) {
        self.inner.lock().exec.insert(container.to_owned(), code);
    }

    /// How much memory containers of a name use from now on, in bytes.
    pub fn uses_memory(&self, container: &str, bytes: u64) {
        self.inner.lock().memory.insert(container.to_owned(), bytes);
    }

    /// Whether an image can be pulled (true) or not.
    pub fn image(&self, image: &str, exists: bool) {
        self.inner.lock().images.insert(image.to_owned(), exists);
    }

    /// How long it takes to make a sandbox from now on.
    pub fn makes_sandboxes_in(&self, time: Duration) {
        self.inner.lock().making = time;
    }

    /// Makes no sandboxes for pods of a name.
    pub fn refuse(&self, pod: &str) {
        self.inner.lock().refused.insert(pod.to_owned());
    }

    /// Fails so many times to stop sandboxes of pods of a name.
    pub fn refuse_to_stop(&self, pod: &str, times: u32) {
        self.inner.lock().unstoppable.insert(pod.to_owned(), times);
    }

    /// Where the streaming server is; without one there is nothing to exec or attach to.
    pub fn stream_at(&self, url: &str) {
        self.inner.lock().streaming = Some(url.to_owned());
    }

    fn streaming_url(&self, kind: &str) -> Result<String> {
        let base = self.inner.lock().streaming.clone().ok_or_else(|| not_found("streaming server"))?;
        Ok(format!("{base}/{kind}/token"))
    }

    /// What was asked, as `call container-or-pod`.
    pub fn calls(&self) -> Vec<String> {
        self.inner.lock().calls.clone()
    }

    pub fn container_config(&self, name: &str) -> Option<v1::ContainerConfig> {
        let inner = self.inner.lock();
        inner
            .containers
            .values()
            .filter(|container| container.name() == name)
            .max_by_key(|c| c.created_at)
            .map(|c| c.config.clone())
    }

    pub fn is_empty(&self) -> bool {
        let inner = self.inner.lock();
        inner.sandboxes.is_empty() && inner.containers.is_empty()
    }

    /// As after a reboot: nothing runs any more.
    pub fn power_cut(&self) {
        let mut inner = self.inner.lock();
        inner.sandboxes.values_mut().for_each(|(_, ready)| *ready = false);
        inner.containers.values_mut().for_each(|container| container.end(255));
    }
}

impl Container {
    fn name(&self) -> &str {
        self.config.metadata.as_ref().map_or("", |metadata| &metadata.name)
    }

    fn end(&mut self, code: i32) {
        if self.state == v1::ContainerState::ContainerRunning {
            self.state = v1::ContainerState::ContainerExited;
            self.exit_code = code;
            self.finished_at = now();
        }
    }
}

impl Inner {
    fn call(&mut self, what: &str, who: &str) {
        self.calls.push(format!("{what} {who}"));
    }

    fn id(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}{}", self.next)
    }

    fn container(&mut self, id: &str) -> Result<&mut Container> {
        self.containers.get_mut(id).ok_or_else(|| not_found(id))
    }
}

fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap()
}

fn not_found(id: &str) -> CriError {
    CriError::NotFound { message: format!("{id} not found") }
}

fn selected(labels: &HashMap<String, String>, selector: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn version(&self) -> Result<v1::VersionResponse> {
        Ok(v1::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "containerd".into(),
            runtime_version: "v0.0.0".into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn status(&self, _verbose: bool) -> Result<v1::StatusResponse> {
        let ready =
            |name: &str| v1::RuntimeCondition { r#type: name.into(), status: true, ..Default::default() };
        let conditions = vec![ready("RuntimeReady"), ready("NetworkReady")];
        Ok(v1::StatusResponse { status: Some(v1::RuntimeStatus { conditions }), ..Default::default() })
    }

    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, _handler: &str) -> Result<String> {
        let name = config.metadata.as_ref().map_or(String::new(), |metadata| metadata.name.clone());
        let making = {
            let mut inner = self.inner.lock();
            inner.call("run-sandbox", &name);
            inner.making
        };
        // A call that is dropped meanwhile makes none, as containerd does.
        tokio::time::sleep(making).await;
        let mut inner = self.inner.lock();
        if inner.refused.contains(&name) {
            return Err(CriError::Unavailable { message: "no room".to_owned() });
        }
        let id = inner.id("s");
        inner.sandboxes.insert(id.clone(), (config, true));
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let mut inner = self.inner.lock();
        let name =
            inner.sandboxes.get(id).and_then(|(config, _)| Some(config.metadata.as_ref()?.name.clone()));
        if let Some(times) =
            name.and_then(|name| inner.unstoppable.get_mut(&name)).filter(|times| **times > 0)
        {
            *times -= 1;
            return Err(CriError::Unavailable { message: "shim is gone".to_owned() });
        }
        if let Some((config, ready)) = inner.sandboxes.get_mut(id)
            && std::mem::replace(ready, false)
        {
            let name = config.metadata.as_ref().map_or(String::new(), |metadata| metadata.name.clone());
            inner.call("stop-sandbox", &name);
        }
        inner
            .containers
            .values_mut()
            .filter(|container| container.sandbox == id)
            .for_each(|container| container.end(137));
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.sandboxes.remove(id);
        inner.containers.retain(|_, container| container.sandbox != id);
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &str, _verbose: bool) -> Result<v1::PodSandboxStatusResponse> {
        let inner = self.inner.lock();
        let (config, ready) = inner.sandboxes.get(id).ok_or_else(|| not_found(id))?;
        let options = config
            .linux
            .as_ref()
            .and_then(|linux| linux.security_context.as_ref()?.namespace_options.clone());
        Ok(v1::PodSandboxStatusResponse {
            status: Some(v1::PodSandboxStatus {
                id: id.into(),
                metadata: config.metadata.clone(),
                state: i32::from(!ready),
                created_at: id[1..].parse().unwrap(),
                network: Some(v1::PodSandboxNetworkStatus {
                    ip: format!("10.1.0.{}", &id[1..]),
                    ..Default::default()
                }),
                linux: Some(v1::LinuxPodSandboxStatus { namespaces: Some(v1::Namespace { options }) }),
                labels: config.labels.clone(),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    async fn list_pod_sandbox(&self, filter: Option<v1::PodSandboxFilter>) -> Result<Vec<v1::PodSandbox>> {
        let selector = filter.unwrap_or_default().label_selector;
        let inner = self.inner.lock();
        let found = inner.sandboxes.iter().filter(|(_, (config, _))| selected(&config.labels, &selector));
        Ok(found
            .map(|(id, (config, ready))| v1::PodSandbox {
                id: id.clone(),
                metadata: config.metadata.clone(),
                state: i32::from(!ready),
                created_at: id[1..].parse().unwrap(),
                labels: config.labels.clone(),
                ..Default::default()
            })
            .collect())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        _: v1::PodSandboxConfig,
    ) -> Result<String> {
        let mut inner = self.inner.lock();
        let id = inner.id("c");
        let container = Container {
            sandbox: sandbox.into(),
            config,
            state: v1::ContainerState::ContainerCreated,
            created_at: now() + i64::from(inner.next),
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
        };
        inner.call("create", container.name());
        inner.containers.insert(id.clone(), container);
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let mut inner = self.inner.lock();
        let name = inner.container(id)?.name().to_owned();
        inner.call("start", &name);
        let behaviour = inner.behaviours.get(&name).copied().unwrap_or(Behaviour::Run);
        let container = inner.container(id)?;
        container.state = v1::ContainerState::ContainerRunning;
        container.started_at = now();
        if let Behaviour::Exit(code) = behaviour {
            container.end(code);
        }
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let stubborn = {
            let mut inner = self.inner.lock();
            let name = inner.container(id)?.name().to_owned();
            inner.call(&format!("stop({}s)", grace.as_secs()), &name);
            inner.behaviours.get(&name) == Some(&Behaviour::Stubborn)
        };
        if stubborn {
            tokio::time::sleep(grace).await;
        }
        let code = if stubborn { 137 } else { 0 };
        self.inner.lock().container(id)?.end(code);
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.inner.lock().containers.remove(id);
        Ok(())
    }

    async fn list_containers(&self, filter: Option<v1::ContainerFilter>) -> Result<Vec<v1::Container>> {
        let filter = filter.unwrap_or_default();
        let inner = self.inner.lock();
        let found = inner.containers.iter().filter(|(_, container)| {
            selected(&container.config.labels, &filter.label_selector)
                && filter.state.as_ref().is_none_or(|state| state.state == container.state as i32)
        });
        Ok(found
            .map(|(id, container)| v1::Container {
                id: id.clone(),
                pod_sandbox_id: container.sandbox.clone(),
                metadata: container.config.metadata.clone(),
                image: container.config.image.clone(),
                image_ref: container.config.image.as_ref().map_or(String::new(), |image| image.image.clone()),
                state: container.state as i32,
                created_at: container.created_at,
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
                ..Default::default()
            })
            .collect())
    }

    async fn container_status(&self, id: &str, _verbose: bool) -> Result<v1::ContainerStatusResponse> {
        let mut inner = self.inner.lock();
        let container = inner.container(id)?;
        let exited = container.state == v1::ContainerState::ContainerExited;
        let reason = if !exited {
            ""
        } else if container.exit_code == 0 {
            "Completed"
        } else {
            "Error"
        };
        Ok(v1::ContainerStatusResponse {
            status: Some(v1::ContainerStatus {
                id: id.into(),
                metadata: container.config.metadata.clone(),
                state: container.state as i32,
                created_at: container.created_at,
                started_at: container.started_at,
                finished_at: container.finished_at,
                exit_code: container.exit_code,
                image: container.config.image.clone(),
                reason: reason.into(),
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
                mounts: container.config.mounts.clone(),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    async fn update_container_resources(
        &self,
        id: &str,
        linux: v1::LinuxContainerResources,
        _: HashMap<String, String>,
    ) -> Result<()> {
        let mut inner = self.inner.lock();
        let name = inner.container(id)?.name().to_owned();
        let (shares, memory) = (linux.cpu_shares, linux.memory_limit_in_bytes);
        inner.call(&format!("resize(shares={shares},memory={memory})"), &name);
        Ok(())
    }

    async fn reopen_container_log(&self, _id: &str) -> Result<()> {
        Ok(())
    }

    async fn exec_sync(&self, id: &str, command: &[String], _timeout: Duration) -> Result<ExecOutput> {
        let mut inner = self.inner.lock();
        let name = inner.container(id)?.name().to_owned();
        inner.call(&format!("exec({})", command.join(" ")), &name);
        let exit_code = inner.exec.get(&name).copied().unwrap_or(0);
        Ok(ExecOutput { exit_code, stdout: b"said".to_vec(), stderr: Vec::new() })
    }

    async fn exec_url(&self, _: v1::ExecRequest) -> Result<String> {
        self.streaming_url("exec")
    }

    async fn attach_url(&self, _: v1::AttachRequest) -> Result<String> {
        self.streaming_url("attach")
    }

    async fn port_forward_url(&self, _: v1::PortForwardRequest) -> Result<String> {
        self.streaming_url("portforward")
    }

    async fn container_stats(&self, id: &str) -> Result<v1::ContainerStats> {
        let mut inner = self.inner.lock();
        let name = inner.container(id)?.name().to_owned();
        let usage_bytes = inner.memory.get(&name).map(|bytes| v1::UInt64Value { value: *bytes });
        let memory = v1::MemoryUsage { usage_bytes, ..Default::default() };
        Ok(v1::ContainerStats { memory: Some(memory), ..Default::default() })
    }

    async fn list_container_stats(
        &self,
        _: Option<v1::ContainerStatsFilter>,
    ) -> Result<Vec<v1::ContainerStats>> {
        Ok(Vec::new())
    }

    async fn pod_sandbox_stats(&self, id: &str) -> Result<v1::PodSandboxStats> {
        Err(not_found(id))
    }

    async fn list_pod_sandbox_stats(
        &self,
        _: Option<v1::PodSandboxStatsFilter>,
    ) -> Result<Vec<v1::PodSandboxStats>> {
        Ok(Vec::new())
    }

    async fn update_runtime_config(&self, _: &str) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Images for FakeRuntime {
    async fn list_images(&self, _: Option<&str>) -> Result<Vec<v1::Image>> {
        Ok(Vec::new())
    }

    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>> {
        let present = image.starts_with("present");
        Ok(present.then(|| v1::Image { id: image.to_owned(), size: 42, ..Default::default() }))
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        _: Option<v1::PodSandboxConfig>,
    ) -> Result<String> {
        let mut inner = self.inner.lock();
        let user = auth.map_or(String::new(), |auth| auth.username);
        inner.call(&format!("pull({user})"), image);
        if inner.images.get(image) == Some(&false) {
            return Err(not_found(image));
        }
        Ok(format!("present-{image}"))
    }

    async fn remove_image(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse> {
        Ok(v1::ImageFsInfoResponse::default())
    }
}
