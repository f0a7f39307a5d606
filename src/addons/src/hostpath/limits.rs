//! The provisioner's dealings with quotas: directories of volumes of this node are held to the volumes' sizes.

use super::projects::{self, Held};
use super::quota::ProjectQuotas;
use super::{ProvisionError, Provisioner, blocking, plan};
use k8s_openapi::api::core::v1::PersistentVolume;
use std::path::Path;
use std::sync::Arc;

/// The quotas, if they are in force on the file system of `root`; tells which.
pub(super) async fn enforcing(quotas: Arc<dyn ProjectQuotas>, root: &Path) -> Option<Arc<dyn ProjectQuotas>> {
    let (asked, directory) = (quotas.clone(), root.to_owned());
    match tokio::task::spawn_blocking(move || asked.check(&directory)).await {
        Ok(Ok(())) => {
            tracing::info!("sizes of volumes in {} are enforced by project quotas", root.display());
            Some(quotas)
        }
        Ok(Err(why)) => {
            tracing::info!("sizes of volumes in {} are written down, not enforced: {why}", root.display());
            None
        }
        Err(error) => {
            tracing::error!("sizes of volumes are not enforced: {error}");
            None
        }
    }
}

impl Provisioner {
    /// Gives the new directory of a volume a project that nobody has, and writes it down in the volume.
    pub(super) async fn take_project(
        &self,
        volume: &mut PersistentVolume,
        path: &Path,
    ) -> Result<(), ProvisionError> {
        let (Some(quotas), Some(bytes)) = (self.quotas.clone(), plan::size_bytes(volume)) else {
            return Ok(());
        };
        let candidates = plan::projects(volume.metadata.name.as_deref().unwrap_or_default());
        let taken = plan::taken(self.volumes.list().iter().map(|volume| &**volume), &self.node);
        let work = move |path: &Path| projects::take(&*quotas, path, candidates, &taken, bytes);
        let wrong = |source| ProvisionError::Quota { verb: "set", path: path.to_owned(), source };
        match blocking(path.to_owned(), work).await.map_err(wrong)? {
            Some(project) => plan::set_project(volume, project),
            None => tracing::warn!("{} has files already: its size is not enforced", path.display()),
        }
        Ok(())
    }

    /// Sees to it that the directory of a volume of this node that has a project takes no more than `bytes`.
    pub(super) async fn hold(&self, volume: &PersistentVolume, bytes: u64) -> Result<(), ProvisionError> {
        let (Some(quotas), Some(project)) = (self.quotas.clone(), plan::project(volume, &self.node)) else {
            return Ok(());
        };
        let Some(path) = plan::directory(volume, &self.root) else { return Ok(()) };
        let work = move |path: &Path| projects::hold(&*quotas, path, project, bytes);
        let wrong = |source| ProvisionError::Quota { verb: "set", path: path.clone(), source };
        if blocking(path.clone(), work).await.map_err(wrong)? == Held::Filled {
            let path = path.display();
            tracing::warn!(
                "{path} is not in its volume's project, and its size not enforced: on the node, `find {path} -type d \
                 -exec chattr -p {project} +P {{}} + -o -type f -exec chattr -p {project} {{}} +` puts it there with \
                 what it holds; then restart this pod"
            );
        }
        Ok(())
    }

    /// The directory is gone: another one may get its project.
    pub(super) async fn forget_project(&self, volume: &PersistentVolume) -> Result<(), ProvisionError> {
        let (Some(quotas), Some(project)) = (self.quotas.clone(), plan::project(volume, &self.node)) else {
            return Ok(());
        };
        let wrong = |source| ProvisionError::Quota { verb: "clear", path: self.root.clone(), source };
        blocking(self.root.clone(), move |root| quotas.set_limit(root, project, 0)).await.map_err(wrong)
    }
}
