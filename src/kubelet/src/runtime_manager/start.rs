//! Starting one container: back-off, image, environment, mounts, create, start, postStart hook.

use super::actions::Start;
use super::container_config::{ContainerContext, container_config};
use super::hooks::run_hook;
use super::kill::{LEAST_GRACE, Stop};
use super::manager::{RuntimeManager, SyncInputs};
use super::mounts::{MountContext, container_mounts};
use super::observed::{ObservedContainer, Sandbox, State};
use super::security_context::ImageUser;
use crate::backoff;
use crate::cm;
use crate::env::{self, EnvObjects};
use crate::fields::FieldContext;
use crate::images::PullRequest;
use crate::objects::ObjectError;
use crate::pod;
use k8s_cri::v1::PodSandboxConfig;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Why a container could not be started.
pub(super) struct StartFailure {
    /// The waiting reason.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) message: String,
    /// When to try again; the usual pause when absent.
    pub(super) retry_after: Option<Duration>,
}

impl StartFailure {
    fn new(reason: &'static str, message: impl ToString) -> Self {
        Self { reason, message: message.to_string(), retry_after: None }
    }
}

impl RuntimeManager {
    /// Starts one container; its events are recorded here.
    pub(super) async fn start_container(
        &self,
        inputs: &SyncInputs<'_>,
        sandbox: &Sandbox,
        sandbox_config: &PodSandboxConfig,
        start: &Start,
    ) -> Result<(), StartFailure> {
        let SyncInputs { pod, observed, .. } = inputs;
        let container = &start.container;
        let previous = observed.container(&container.name);
        // The last that ended, which is not the newest when that is only about to be stopped.
        let ended = observed.containers.iter().find(|c| c.name == container.name && c.state == State::Exited);
        self.check_backoff(pod, start, ended)?;
        let request =
            PullRequest { pod, container, keyring: inputs.keyring, sandbox_config, cancel: inputs.cancel };
        let image_ref = match self.images.ensure(&request).await {
            Ok(image_ref) => image_ref,
            Err(error) => {
                if !inputs.cancel.is_cancelled() {
                    let message = format!("Error: {}", error.reason);
                    self.events.container(pod, &container.name, true, "Failed", &message);
                }
                return Err(StartFailure {
                    reason: error.reason,
                    message: error.message,
                    retry_after: error.retry_after,
                });
            }
        };
        let failed = |reason: &'static str, message: String| {
            self.events.container(pod, &container.name, true, "Failed", &format!("Error: {message}"));
            StartFailure::new(reason, message)
        };
        let restart_count = match previous {
            Some(previous) => previous.restart_count.saturating_add(1),
            None => inputs.known_restarts.get(&container.name).copied().unwrap_or(0),
        };
        let config = self
            .container_config(inputs, sandbox, start, &image_ref, restart_count)
            .await
            .map_err(|message| failed("CreateContainerConfigError", message))?;
        let log = Path::new(&sandbox_config.log_directory).join(&container.name);
        std::fs::create_dir_all(&log).map_err(|error| {
            failed("CreateContainerError", format!("create log directory {}: {error}", log.display()))
        })?;
        let resources = config.linux.as_ref().and_then(|linux| linux.resources.clone());
        let log_path = Path::new(&sandbox_config.log_directory).join(&config.log_path);
        let id = self
            .runtime
            .create_container(&sandbox.id, config, sandbox_config.clone())
            .await
            .map_err(|error| failed("CreateContainerError", error.to_string()))?;
        self.events.container(pod, &container.name, false, "Created", "Container created");
        self.runtime
            .start_container(&id)
            .await
            .map_err(|error| failed("RunContainerError", error.to_string()))?;
        self.events.container(pod, &container.name, false, "Started", "Container started");
        if let Some(resources) = resources {
            self.applied.lock().insert(id.clone(), resources);
        }
        self.link_log(pod, container, &id, &log_path);
        self.post_start(pod, container, &id, sandbox).await
    }

    /// A container that ended is not started again before its back-off is over.
    fn check_backoff(
        &self,
        pod: &Pod,
        start: &Start,
        previous: Option<&ObservedContainer>,
    ) -> Result<(), StartFailure> {
        let Some(previous) = previous else { return Ok(()) };
        let name = &start.container.name;
        let key = format!("{}/{name}/{:x}", pod::uid(pod), super::labels::container_hash(&start.container));
        let now = self.started.elapsed();
        // The runtime's clock is the wall clock; only the age of the exit is taken from it.
        let wall = jiff::Timestamp::now().as_nanosecond();
        let age = wall.saturating_sub(i128::from(previous.finished_at)).max(0);
        let age = Duration::from_nanos(u64::try_from(age).unwrap_or(u64::MAX));
        let finished = now.saturating_sub(age);
        let mut backoff = self.backoff.lock();
        if let Some(remaining) = backoff.remaining(&key, finished, now) {
            drop(backoff);
            let message =
                format!("Back-off restarting failed container {name} in pod {}", pod::describe(pod));
            self.events.container(pod, name, true, "BackOff", &message);
            return Err(StartFailure {
                reason: "CrashLoopBackOff",
                message: format!(
                    "back-off {} restarting failed container={name} pod={}",
                    backoff::show(remaining.pause),
                    pod::describe(pod)
                ),
                retry_after: Some(remaining.left),
            });
        }
        backoff.next(&key, now);
        Ok(())
    }

    async fn container_config(
        &self,
        inputs: &SyncInputs<'_>,
        sandbox: &Sandbox,
        start: &Start,
        image_ref: &str,
        restart_count: u32,
    ) -> Result<k8s_cri::v1::ContainerConfig, String> {
        let SyncInputs { pod, observed, volumes, .. } = inputs;
        let container = &start.container;
        let host_ips: Vec<String> = self.settings.host_ips.read().iter().map(ToString::to_string).collect();
        let pod_ips = if pod::host_network(pod) { host_ips.clone() } else { sandbox.ips.clone() };
        let fields = FieldContext {
            pod_ips: &pod_ips,
            host_ips: &host_ips,
            allocatable: self.settings.allocatable.clone(),
        };
        let environment = self.environment(pod, container, &fields).await?;
        let image_user = self.image_user(image_ref).await?;
        let target = self.target(pod, container, observed)?;
        let cluster_domain = self.settings.dns.read().cluster_domain.clone();
        let mounts = {
            let (pod, container, volumes) = ((*pod).clone(), container.clone(), (*volumes).clone());
            let (pod_directory, pod_ips) = (self.settings.pods_dir.join(pod::uid(&pod)), pod_ips.clone());
            let environment = environment.clone();
            let prepared = tokio::task::spawn_blocking(move || {
                let context = MountContext {
                    pod_directory,
                    volumes: &volumes,
                    pod_ips: &pod_ips,
                    cluster_domain: &cluster_domain,
                    restart_count,
                    environment: &environment,
                };
                container_mounts(&pod, &container, &context)
            });
            prepared.await.map_err(|error| error.to_string())??
        };
        let resources = cm::container_resources(pod, container, self.settings.memory_capacity, self.kernel);
        let context = ContainerContext {
            image_ref,
            image_user: &image_user,
            restart_count,
            environment: &environment,
            mounts,
            resources,
            target: target.as_deref(),
        };
        container_config(pod, container, context).map_err(|error| error.to_string())
    }

    async fn environment(
        &self,
        pod: &Pod,
        container: &Container,
        fields: &FieldContext<'_>,
    ) -> Result<Vec<(String, String)>, String> {
        let (uid, namespace) = (pod::uid(pod), pod::namespace(pod));
        let (maps, secrets) = env::references(container);
        let mut objects = EnvObjects::default();
        for name in maps {
            match self.config_maps.get(uid, namespace, name).await {
                Ok(map) => drop(objects.config_maps.insert(name.to_owned(), map)),
                Err(ObjectError::NotFound { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        for name in secrets {
            match self.secrets.get(uid, namespace, name).await {
                Ok(secret) => drop(objects.secrets.insert(name.to_owned(), secret)),
                Err(ObjectError::NotFound { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        self.services.synced().await;
        let services = self.services.store().list();
        let links = pod::spec(pod).enable_service_links.unwrap_or(true);
        let variables = env::service_variables(namespace, services.iter().map(AsRef::as_ref), links);
        env::environment(pod, container, &objects, &variables, fields).map_err(|error| error.to_string())
    }

    async fn image_user(&self, image_ref: &str) -> Result<ImageUser, String> {
        let image = self.image_service.image_status(image_ref).await.map_err(|error| error.to_string())?;
        Ok(image.map_or_else(ImageUser::default, |image| ImageUser {
            uid: image.uid.map(|uid| uid.value),
            name: image.username,
        }))
    }

    /// The id of the container that an ephemeral container is to look into.
    #[allow(clippy::unused_self)]
    fn target(
        &self,
        pod: &Pod,
        container: &Container,
        observed: &super::observed::ObservedPod,
    ) -> Result<Option<String>, String> {
        let ephemeral =
            pod::spec(pod).ephemeral_containers.iter().flatten().find(|e| e.name == container.name);
        let Some(name) =
            ephemeral.and_then(|e| e.target_container_name.as_deref()).filter(|name| !name.is_empty())
        else {
            return Ok(None);
        };
        match observed.container(name) {
            Some(target) if target.state == State::Running => Ok(Some(target.id.clone())),
            _ => Err(format!("unable to find target container {name}")),
        }
    }

    async fn post_start(
        &self,
        pod: &Pod,
        container: &Container,
        id: &str,
        sandbox: &Sandbox,
    ) -> Result<(), StartFailure> {
        let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref())
        else {
            return Ok(());
        };
        let ip = if pod::host_network(pod) {
            self.settings.host_ips.read().first().copied()
        } else {
            sandbox.ips.first().and_then(|ip| ip.parse().ok())
        };
        let Err(error) = run_hook(self.runtime.as_ref(), hook, container, id, ip).await else {
            return Ok(());
        };
        tracing::warn!(pod = pod::describe(pod), container = container.name, error, "postStart hook failed");
        self.events.container(pod, &container.name, true, "FailedPostStartHook", "PostStartHook failed");
        let observed = ObservedContainer {
            id: id.to_owned(),
            name: container.name.clone(),
            state: State::Running,
            ..ObservedContainer::default()
        };
        let grace = pod::spec_grace(pod);
        let stop = Stop { grace, message: "FailedPostStartHook", least: grace.min(LEAST_GRACE) };
        if let Err(error) = self.kill_container(Some(pod), &observed, ip, stop).await {
            tracing::warn!(pod = pod::describe(pod), container = container.name, %error, "stopping container failed");
        }
        Err(StartFailure::new("PostStartHookError", "PostStartHook failed"))
    }

    /// The link by which older log collectors find the log.
    fn link_log(&self, pod: &Pod, container: &Container, id: &str, log_path: &Path) {
        let Some(directory) = &self.settings.container_logs_dir else { return };
        let prefix: String = format!("{}_{}_{}", pod::name(pod), pod::namespace(pod), container.name);
        // File names end at 255 bytes; the id with its dash and suffix takes the last 69.
        let prefix: String = prefix.chars().take(186).collect();
        let link = directory.join(format!("{prefix}-{id}.log"));
        let made =
            std::fs::create_dir_all(directory).and_then(|()| std::os::unix::fs::symlink(log_path, &link));
        if let Err(error) = made {
            tracing::debug!(link = %link.display(), %error, "log link not made");
        }
    }
}

impl RuntimeManager {
    /// Removes the link of a container's log.
    pub(super) fn unlink_log(&self, id: &str) {
        let Some(directory) = &self.settings.container_logs_dir else { return };
        let suffix = format!("-{id}.log");
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(&suffix)) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// How often each container was started before, as far as a status tells.
pub fn known_restarts(pod: &Pod) -> BTreeMap<String, u32> {
    let status = pod::status(pod);
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let mut known = BTreeMap::new();
    for status in lists.into_iter().flatten().flatten() {
        let ran = status.container_id.as_deref().is_some_and(|id| !id.is_empty());
        let count = u32::try_from(status.restart_count).unwrap_or(0) + u32::from(ran);
        known.insert(status.name.clone(), count);
    }
    known
}
