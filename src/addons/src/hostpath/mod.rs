//! The provisioner of the `hostpath-storage` add-on: one on each node makes and deletes the directories there.
//!
//! A claim's class waits for the first pod; the scheduler writes the pod's node into the claim; the provisioner of that
//! node makes a directory and a PersistentVolume of type `hostPath` that names the node. When the claim is gone, the
//! same one deletes both, if the reclaim policy says so. Where the file system has project quotas, a directory belongs
//! to a project of its own that holds no more than the volume's size; elsewhere sizes are written down, not enforced.
//!
//! Upstream counterpart: sig-storage-lib-external-provisioner with the hostpath example.

#[cfg(test)]
#[path = "../../tests/in_process/hostpath/disk.rs"]
mod disk;
mod limits;
mod plan;
mod projects;
pub mod quota;

use crate::http::Ready;
use client::rest::{self, DeleteOptions, Patch};
use client::{EventRecorder, EventType, Informer, ObjectKey, Rest, SharedInformers, WorkQueue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use plan::{ClaimPlan, FINALIZER, VolumePlan};
use quota::ProjectQuotas;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use volume_binding::claim_class;

pub use plan::NAME;

/// Index of claims by the volume that they name.
const BY_VOLUME: &str = "volume";

/// What the provisioner needs.
pub struct Config {
    /// The node that it runs on.
    pub node_name: String,
    /// Where volumes are; the same path in the pod and on the node.
    pub directory: PathBuf,
    /// What enforces sizes there, if it can.
    pub quotas: Arc<dyn ProjectQuotas>,
    /// Informers over the cluster.
    pub informers: SharedInformers,
    /// Set when all claims and volumes have been seen.
    pub ready: Ready,
}

/// Why a claim or a volume could not be dealt with; it is tried again with back-off.
#[derive(Debug, thiserror::Error)]
enum ProvisionError {
    /// The API server refused something.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// A directory cannot be made or removed.
    #[error("cannot {verb} {}: {source}", path.display())]
    Directory { verb: &'static str, path: PathBuf, source: std::io::Error },
    /// The file system enforces sizes, and not that of this directory.
    #[error("cannot {verb} the quota of {}: {source}", path.display())]
    Quota { verb: &'static str, path: PathBuf, source: std::io::Error },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Claim(ObjectKey),
    Volume(String),
}

struct Provisioner {
    node: String,
    root: PathBuf,
    /// None where sizes are not enforced.
    quotas: Option<Arc<dyn ProjectQuotas>>,
    rest: Rest,
    recorder: EventRecorder,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
}

/// Makes and deletes volumes until `stop`.
pub async fn run(config: Config, stop: CancellationToken) {
    let informers = &config.informers;
    let client = informers.client().clone();
    let provisioner = Provisioner {
        recorder: EventRecorder::new(client.clone(), NAME, &config.node_name),
        quotas: limits::enforcing(config.quotas, &config.directory).await,
        node: config.node_name,
        root: config.directory,
        rest: Rest::new(client),
        claims: informers.get(),
        volumes: informers.get(),
        classes: informers.get(),
    };
    let (claims, volumes) = (provisioner.claims.clone(), provisioner.volumes.clone());
    claims.add_index(BY_VOLUME, |claim| {
        claim.spec.iter().filter_map(|spec| spec.volume_name.clone()).collect()
    });
    let queue = WorkQueue::new();
    let add = queue.clone();
    let _claims = claims.add_handler(move |event| add.add(Key::Claim(ObjectKey::of(&**event.object()))));
    let (add, bound) = (queue.clone(), claims.clone());
    let _volumes = volumes.add_handler(move |event| {
        let name = event.object().metadata.name.clone().unwrap_or_default();
        for claim in bound.by_index(BY_VOLUME, &name) {
            add.add(Key::Claim(ObjectKey::of(&*claim)));
        }
        add.add(Key::Volume(name));
    });
    let (add, all) = (queue.clone(), claims.clone());
    let _classes = provisioner.classes.add_handler(move |_| {
        all.keys().into_iter().for_each(|key| add.add(Key::Claim(key)));
    });
    claims.synced().await;
    volumes.synced().await;
    provisioner.classes.synced().await;
    config.ready.set();
    tracing::info!(node = %provisioner.node, "ready");
    loop {
        let key = tokio::select! {
            () = stop.cancelled() => break,
            key = queue.get() => key,
        };
        let Some(key) = key else { break };
        let done = match &key {
            Key::Claim(claim) => provisioner.claim(claim).await,
            Key::Volume(name) => provisioner.volume(name).await,
        };
        match done {
            Ok(()) => queue.forget(&key),
            Err(error) => {
                tracing::warn!("{key:?}: {error}");
                queue.add_rate_limited(key.clone());
            }
        }
        queue.done(&key);
    }
}

impl Provisioner {
    async fn claim(&self, key: &ObjectKey) -> Result<(), ProvisionError> {
        let Some(claim) = self.claims.get(key) else { return Ok(()) };
        let class = self.classes.get(&ObjectKey::cluster(claim_class(&claim)));
        let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or("");
        let volume = self.volumes.get(&ObjectKey::cluster(named));
        let decided = plan::claim(&claim, class.as_deref(), volume.as_deref(), &self.node, &self.root);
        match decided {
            ClaimPlan::Leave => Ok(()),
            ClaimPlan::Refuse(why) => {
                self.recorder.about(&*claim, EventType::Warning, "ProvisioningFailed", why);
                Ok(())
            }
            ClaimPlan::Provision(volume) => {
                let name = volume.metadata.name.clone().unwrap_or_default();
                let made = self.provision(*volume).await;
                match &made {
                    Ok(true) => self.recorder.about(
                        &*claim,
                        EventType::Normal,
                        "ProvisioningSucceeded",
                        format!("Successfully provisioned volume {name}"),
                    ),
                    Ok(false) => {}
                    Err(error) => {
                        self.recorder.about(
                            &*claim,
                            EventType::Warning,
                            "ProvisioningFailed",
                            error.to_string(),
                        );
                    }
                }
                made.map(drop)
            }
            ClaimPlan::Expand(size) => self.expand(key, volume.as_deref(), &size).await,
        }
    }

    /// Answers false when the volume is there already.
    async fn provision(&self, mut volume: PersistentVolume) -> Result<bool, ProvisionError> {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        let key = ObjectKey::cluster(name);
        if self.volumes.get(&key).is_some() || self.rest.get::<PersistentVolume>(&key).await?.is_some() {
            return Ok(false);
        }
        let Some(path) = plan::directory(&volume, &self.root) else { return Ok(false) };
        let wrong = |source| ProvisionError::Directory { verb: "make", path: path.clone(), source };
        blocking(path.clone(), make_directory).await.map_err(wrong)?;
        self.take_project(&mut volume, &path).await?;
        match self.rest.create(&volume).await {
            Ok(_) => Ok(true),
            // Of a class that does not wait, the provisioner of another node was faster.
            Err(error) if rest::is_already_exists(&error) => {
                let theirs = self.rest.get::<PersistentVolume>(&key).await?;
                let same = theirs.is_some_and(|t| {
                    t.spec.and_then(|s| s.node_affinity)
                        == volume.spec.as_ref().and_then(|s| s.node_affinity.clone())
                });
                if !same && blocking(path, |path| std::fs::remove_dir(path)).await.is_ok() {
                    self.forget_project(&volume).await?;
                }
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn expand(
        &self,
        claim: &ObjectKey,
        volume: Option<&PersistentVolume>,
        size: &str,
    ) -> Result<(), ProvisionError> {
        let Some(volume) = volume else { return Ok(()) };
        // First what there is, then what is said of it.
        if let Some(bytes) = plan::bytes(size) {
            self.hold(volume, bytes).await?;
        }
        let patch = Patch::Merge(json!({"spec": {"capacity": {"storage": size}}}));
        self.rest.patch::<PersistentVolume>(&ObjectKey::of(volume), "", &patch).await?;
        let patch = Patch::Merge(json!({"status": {"capacity": {"storage": size}, "conditions": null}}));
        self.rest.patch::<PersistentVolumeClaim>(claim, "status", &patch).await?;
        Ok(())
    }

    async fn volume(&self, name: &str) -> Result<(), ProvisionError> {
        let key = ObjectKey::cluster(name);
        let Some(seen) = self.volumes.get(&key) else { return Ok(()) };
        if plan::volume(&seen, &self.node) == VolumePlan::Leave {
            return match plan::size_bytes(&seen) {
                Some(bytes) => self.hold(&seen, bytes).await,
                None => Ok(()),
            };
        }
        // What is deleted does not come back: nothing is decided by a cache alone.
        let Some(volume) = self.rest.get::<PersistentVolume>(&key).await? else { return Ok(()) };
        let decided = plan::volume(&volume, &self.node);
        if matches!(decided, VolumePlan::Delete | VolumePlan::LetGo { data: true })
            && let Some(path) = plan::directory(&volume, &self.root)
        {
            let wrong = |source| ProvisionError::Directory { verb: "remove", path: path.clone(), source };
            if let Err(error) = blocking(path.clone(), remove_directory).await.map_err(wrong) {
                self.recorder.about(&volume, EventType::Warning, "VolumeFailedDelete", error.to_string());
                return Err(error);
            }
            self.forget_project(&volume).await?;
        }
        match decided {
            VolumePlan::Leave => {}
            VolumePlan::Delete => {
                let uid = volume.metadata.uid.unwrap_or_default();
                match self.rest.delete::<PersistentVolume>(&key, &DeleteOptions::uid(uid)).await {
                    Err(error) if !rest::is_conflict(&error) => return Err(error.into()),
                    _ => {}
                }
            }
            VolumePlan::LetGo { .. } => {
                self.rest
                    .update::<PersistentVolume>(&key, "", |volume| {
                        let Some(finalizers) = volume.metadata.finalizers.as_mut() else { return false };
                        let before = finalizers.len();
                        finalizers.retain(|finalizer| finalizer != FINALIZER);
                        finalizers.len() < before
                    })
                    .await?;
            }
        }
        Ok(())
    }
}

/// Anybody's pod may write into it, whatever user it runs as.
fn make_directory(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))
}

fn remove_directory(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A tree can take long to remove: not on the thread that answers probes.
async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(move || work(&path))
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
