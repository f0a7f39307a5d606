//! Sets a pod's volumes up, keeps them up to date, and takes them away.

use super::payload::{self, Payload, PayloadError};
use super::persistent::{self, Claimed};
use super::projected::{self, Sources};
use super::tokens::{TokenError, Tokens};
use super::{atomic_writer, clean_up, empty_dir, host_path, mounts, ownership};
use crate::fields::FieldContext;
use crate::objects::{ObjectError, Objects};
use crate::pod;
use client::rest::Rest;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMap, EmptyDirVolumeSource, Pod, ProjectedVolumeSource, Secret, Volume,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// A volume cannot be set up now.
#[derive(Debug, Error)]
pub enum VolumeError {
    /// Something it refers to is not there.
    #[error("{0}")]
    Object(#[from] ObjectError),
    /// Its contents cannot be put together.
    #[error("{0}")]
    Payload(#[from] PayloadError),
    /// No token.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

/// The volume that could not be set up.
#[derive(Debug, Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {error}")]
pub struct VolumeFailure {
    /// Its name in the pod.
    pub volume: String,
    /// Why.
    #[source]
    pub error: VolumeError,
}

/// A pod's volumes, ready for its containers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodVolumes {
    /// By name in the pod.
    pub volumes: BTreeMap<String, Mounted>,
    /// When something in them has to be renewed though no object changes: tokens.
    pub renew_at: Option<Timestamp>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is on the node.
    pub path: PathBuf,
    /// Whether containers may only read it, whatever they ask for.
    pub read_only: bool,
}

/// Sets volumes up. One per kubelet.
pub struct VolumeManager {
    pods: PathBuf,
    rest: Rest,
    config_maps: Objects<ConfigMap>,
    secrets: Objects<Secret>,
    tokens: Tokens,
    /// Digest of what each volume of files holds, so that an unchanged one costs nothing.
    written: Mutex<HashMap<(String, String), u64>>,
}

/// What is to be done on the file system for one volume.
enum Task {
    EmptyDir(EmptyDirVolumeSource),
    HostPath { path: PathBuf, type_: String },
    Claimed(Claimed),
    Files { plugin: &'static str, memory: bool, payload: Payload },
}

impl VolumeManager {
    /// Volumes of pods below `pods`.
    pub fn new(pods: &Path, rest: Rest, config_maps: Objects<ConfigMap>, secrets: Objects<Secret>) -> Self {
        let tokens = Tokens::new(rest.clone());
        Self { pods: pods.to_owned(), rest, config_maps, secrets, tokens, written: Mutex::default() }
    }

    /// The directory of a pod.
    pub fn pod_directory(&self, uid: &str) -> PathBuf {
        self.pods.join(uid)
    }

    /// Sets up every volume that a container of the pod uses. Idempotent; also how changed ConfigMaps, Secrets
    /// and tokens reach a running pod.
    ///
    /// # Errors
    /// The first volume that cannot be set up now.
    ///
    /// # Cancel safety
    /// Safe: files are replaced as a whole, and the next call does what was left undone.
    pub async fn set_up(
        &self,
        pod: &Arc<Pod>,
        context: &FieldContext<'_>,
        now: Timestamp,
    ) -> Result<PodVolumes, VolumeFailure> {
        let used = used_volumes(pod);
        let mut tasks = Vec::new();
        let mut ready = PodVolumes::default();
        for volume in
            pod::spec(pod).volumes.iter().flatten().filter(|volume| used.contains(volume.name.as_str()))
        {
            let task = self.plan(pod, volume, context, now, &mut ready.renew_at).await;
            let (task, read_only) =
                task.map_err(|error| VolumeFailure { volume: volume.name.clone(), error })?;
            let mounted = Mounted { path: self.path(pod, &volume.name, &task), read_only };
            ready.volumes.insert(volume.name.clone(), mounted.clone());
            if let Task::Files { payload, .. } = &task
                && self.is_written(pod, &volume.name, payload, &mounted.path)
            {
                continue;
            }
            tasks.push((volume.name.clone(), task, mounted.path));
        }
        if tasks.is_empty() {
            return Ok(ready);
        }
        let (of, root) = (pod.clone(), self.pod_directory(pod::uid(pod)));
        let version = version_name(now);
        let done = tokio::task::spawn_blocking(move || {
            let mut written = Vec::new();
            for (name, task, path) in tasks {
                let result = run(&of, &root, &task, &path, &version);
                result.map_err(|error| VolumeFailure { volume: name.clone(), error })?;
                if let Task::Files { payload, .. } = &task {
                    written.push((name, digest(payload)));
                }
            }
            Ok(written)
        });
        let written = done.await.unwrap_or_else(|error| {
            Err(VolumeFailure { volume: String::new(), error: VolumeError::Other(error.to_string()) })
        })?;
        let uid = pod::uid(pod);
        self.written
            .lock()
            .extend(written.into_iter().map(|(name, digest)| ((uid.to_owned(), name), digest)));
        Ok(ready)
    }

    /// Unmounts and removes everything of a pod and forgets what it referred to. Idempotent.
    ///
    /// # Errors
    /// When something could not be taken away: it is to be tried again.
    pub async fn tear_down(&self, uid: &str) -> Result<(), clean_up::CleanUpError> {
        self.forget(uid);
        let directory = self.pod_directory(uid);
        let removal = tokio::task::spawn_blocking(move || clean_up::remove_pod_directory(&directory));
        removal.await.unwrap_or_else(|error| Err(clean_up::CleanUpError::Table(std::io::Error::other(error))))
    }

    /// Forgets what a pod referred to, leaving its files.
    pub fn forget(&self, uid: &str) {
        self.config_maps.release(uid);
        self.secrets.release(uid);
        self.tokens.forget(uid);
        self.written.lock().retain(|(of, _), _| of != uid);
    }

    /// The uids of pods that have a directory.
    pub fn pods_on_disk(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(&self.pods).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    async fn plan(
        &self,
        pod: &Pod,
        volume: &Volume,
        context: &FieldContext<'_>,
        now: Timestamp,
        renew_at: &mut Option<Timestamp>,
    ) -> Result<(Task, bool), VolumeError> {
        let files = |plugin, memory, payload| Ok((Task::Files { plugin, memory, payload }, false));
        if let Some(source) = &volume.empty_dir {
            return Ok((Task::EmptyDir(source.clone()), false));
        }
        if let Some(source) = &volume.host_path {
            let type_ = source.type_.clone().unwrap_or_default();
            return Ok((Task::HostPath { path: source.path.clone().into(), type_ }, false));
        }
        if let Some(source) = &volume.config_map {
            let optional = source.optional.unwrap_or(false);
            let map = self.config_map(pod, &source.name, optional).await?;
            let mode = payload::mode_of(source.default_mode, payload::DEFAULT_MODE);
            let payload = payload::config_map(map.as_deref(), source.items.as_deref(), mode, optional)?;
            return files("kubernetes.io~configmap", false, payload);
        }
        if let Some(source) = &volume.secret {
            let optional = source.optional.unwrap_or(false);
            let name = source.secret_name.as_deref().unwrap_or("");
            let secret = self.secret(pod, name, optional).await?;
            let mode = payload::mode_of(source.default_mode, payload::DEFAULT_MODE);
            let payload = payload::secret(secret.as_deref(), source.items.as_deref(), mode, optional)?;
            return files("kubernetes.io~secret", true, payload);
        }
        if let Some(source) = &volume.downward_api {
            let mode = payload::mode_of(source.default_mode, payload::DEFAULT_MODE);
            let payload = payload::downward_api(pod, source.items.as_deref().unwrap_or(&[]), mode, context)?;
            return files("kubernetes.io~downward-api", true, payload);
        }
        if let Some(source) = &volume.projected {
            let sources = self.sources(pod, source, now, renew_at).await?;
            let (owner, group) = (common_user(pod), fs_group(pod));
            let payload = projected::payload(pod, source, &sources, context, owner, group)?;
            return files("kubernetes.io~projected", true, payload);
        }
        let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => Some((source.claim_name.clone(), source.read_only.unwrap_or(false))),
            // A generic ephemeral volume's claim is named after pod and volume (KEP-1698).
            (None, Some(_)) => Some((format!("{}-{}", pod::name(pod), volume.name), false)),
            (None, None) => None,
        };
        if let Some((name, read_only)) = claim {
            let claimed = persistent::resolve(&self.rest, pod, &name).await?;
            let read_only = read_only || claimed.read_only;
            return Ok((Task::Claimed(claimed), read_only));
        }
        Err(VolumeError::Other(format!("volumes of {} type are not supported on this node", kind_of(volume))))
    }

    async fn sources(
        &self,
        pod: &Pod,
        volume: &ProjectedVolumeSource,
        now: Timestamp,
        renew_at: &mut Option<Timestamp>,
    ) -> Result<Sources, VolumeError> {
        let mut sources = Sources::default();
        for (index, source) in volume.sources.iter().flatten().enumerate() {
            if let Some(wanted) = &source.config_map {
                let map = self.config_map(pod, &wanted.name, wanted.optional.unwrap_or(false)).await?;
                sources.config_maps.extend(map.map(|map| (wanted.name.clone(), map)));
            } else if let Some(wanted) = &source.secret {
                let secret = self.secret(pod, &wanted.name, wanted.optional.unwrap_or(false)).await?;
                sources.secrets.extend(secret.map(|secret| (wanted.name.clone(), secret)));
            } else if let Some(wanted) = &source.service_account_token {
                let token = self.tokens.get(pod, wanted, now).await?;
                *renew_at = Some(renew_at.map_or(token.renew_at, |known| known.min(token.renew_at)));
                sources.tokens.insert(index, token);
            } else if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
                let kind =
                    if source.pod_certificate.is_some() { "podCertificate" } else { "clusterTrustBundle" };
                return Err(VolumeError::Other(format!(
                    "projected sources of {kind} type are not supported on this node"
                )));
            }
        }
        Ok(sources)
    }

    async fn config_map(
        &self,
        pod: &Pod,
        name: &str,
        optional: bool,
    ) -> Result<Option<Arc<ConfigMap>>, VolumeError> {
        excuse(self.config_maps.get(pod::uid(pod), pod::namespace(pod), name).await, optional)
    }

    async fn secret(
        &self,
        pod: &Pod,
        name: &str,
        optional: bool,
    ) -> Result<Option<Arc<Secret>>, VolumeError> {
        excuse(self.secrets.get(pod::uid(pod), pod::namespace(pod), name).await, optional)
    }

    fn path(&self, pod: &Pod, name: &str, task: &Task) -> PathBuf {
        let plugin = match task {
            Task::HostPath { path, .. } => return path.clone(),
            Task::Claimed(claimed) => return claimed.path.clone(),
            Task::EmptyDir(_) => "kubernetes.io~empty-dir",
            Task::Files { plugin, .. } => plugin,
        };
        self.pod_directory(pod::uid(pod)).join("volumes").join(plugin).join(name)
    }

    fn is_written(&self, pod: &Pod, name: &str, payload: &Payload, path: &Path) -> bool {
        let key = (pod::uid(pod).to_owned(), name.to_owned());
        self.written.lock().get(&key) == Some(&digest(payload)) && path.join("..data").exists()
    }
}

fn run(pod: &Pod, root: &Path, task: &Task, path: &Path, version: &str) -> Result<(), VolumeError> {
    let io = |source| VolumeError::Io { path: path.to_owned(), source };
    let group = fs_group(pod);
    match task {
        Task::EmptyDir(source) => {
            make_private(root).and_then(|()| empty_dir::set_up(path, source, pod, group)).map_err(io)
        }
        Task::HostPath { path, type_ } => host_path::check(path, type_).map_err(VolumeError::Other),
        Task::Claimed(claimed) => {
            host_path::check(&claimed.path, &claimed.type_).map_err(VolumeError::Other)?;
            match group.filter(|_| claimed.managed) {
                Some(group) => ownership::set_group(path, group, only_on_mismatch(pod)).map_err(io),
                None => Ok(()),
            }
        }
        Task::Files { memory, payload, .. } => (|| {
            make_private(root)?;
            fs::create_dir_all(path)?;
            if *memory && !mounts::is_mount_point(path) {
                // What is secret never reaches a disk.
                mounts::mount_tmpfs(path, None)?;
            }
            let mode = if group.is_some() { 0o2775 } else { 0o755 };
            if group.is_some() {
                std::os::unix::fs::chown(path, None, group)?;
            }
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            atomic_writer::write(path, payload, group, version)
        })()
        .map_err(io),
    }
}

/// Users of the node have no business in the directories of pods.
fn make_private(root: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(root.join("volumes"))
}

fn excuse<T>(found: Result<T, ObjectError>, optional: bool) -> Result<Option<T>, VolumeError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(ObjectError::NotFound { .. }) if optional => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The volumes that containers mount; nobody would see the others.
fn used_volumes(pod: &Pod) -> BTreeSet<String> {
    let ephemeral = pod::ephemeral_containers(pod);
    pod::containers(pod)
        .iter()
        .chain(pod::init_containers(pod))
        .chain(&ephemeral)
        .flat_map(|container| container.volume_mounts.iter().flatten())
        .map(|mount| mount.name.clone())
        .collect()
}

fn fs_group(pod: &Pod) -> Option<u32> {
    pod::spec(pod).security_context.as_ref()?.fs_group.and_then(|group| u32::try_from(group).ok())
}

fn only_on_mismatch(pod: &Pod) -> bool {
    let context = pod::spec(pod).security_context.as_ref();
    context.and_then(|context| context.fs_group_change_policy.as_deref()) == Some("OnRootMismatch")
}

/// The one user that all containers run as, if it is the same.
fn common_user(pod: &Pod) -> Option<u32> {
    let of_pod = pod::spec(pod).security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = pod::containers(pod).iter().chain(pod::init_containers(pod)).map(|container| {
        container.security_context.as_ref().and_then(|context| context.run_as_user).or(of_pod)
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

fn kind_of(volume: &Volume) -> String {
    // The only field besides the name is the source, named after its kind.
    let fields = serde_json::to_value(volume).ok();
    let fields = fields.as_ref().and_then(serde_json::Value::as_object);
    fields
        .into_iter()
        .flatten()
        .map(|(field, _)| field)
        .find(|field| *field != "name")
        .cloned()
        .unwrap_or_else(|| "unknown".to_owned())
}

fn digest(payload: &Payload) -> u64 {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    for (path, entry) in payload {
        (path, &entry.data, entry.mode, entry.owner).hash(&mut hasher);
    }
    hasher.finish()
}

/// Names of versions sort by time, for people who look.
fn version_name(now: Timestamp) -> String {
    now.strftime("%Y_%m_%d_%H_%M_%S.%9f").to_string()
}
