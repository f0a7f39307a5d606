//! Makes sure that a container's image is there.

use super::credentials::Keyring;
use super::reference::is_valid_reference;
use crate::backoff::{self, Backoff};
use crate::events::Events;
use crate::pod;
use cri::{CriError, Images};
use k8s_cri::v1::PodSandboxConfig;
use k8s_openapi::api::core::v1::{Container, Pod};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Why an image is not there.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ImageError {
    /// The waiting reason: `ErrImagePull`, `ImagePullBackOff`, `ErrImageNeverPull`, `InvalidImageName`,
    /// `ImageInspectError`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// When it makes sense to try again.
    pub retry_after: Option<Duration>,
}

/// For whom an image is pulled.
pub struct PullRequest<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// The pod's pull secrets.
    pub keyring: &'a Keyring,
    /// The pod's sandbox.
    pub sandbox_config: &'a PodSandboxConfig,
    /// Gives the pull up.
    pub cancel: &'a CancellationToken,
}

/// Pulls images.
pub struct ImageManager {
    images: Arc<dyn Images>,
    events: Events,
    /// How many pulls run at a time.
    slots: Semaphore,
    backoff: Mutex<Backoff>,
    /// The last failure by back-off key: what the back-off message quotes.
    failures: Mutex<HashMap<String, (Duration, String)>>,
    started: Instant,
}

impl ImageManager {
    /// A manager that pulls at most `parallel` images at a time.
    pub fn new(images: Arc<dyn Images>, events: Events, parallel: usize) -> Self {
        Self {
            images,
            events,
            slots: Semaphore::new(parallel.max(1)),
            backoff: Mutex::default(),
            failures: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// Returns the reference to run the container's image by, pulling it as the policy demands.
    ///
    /// # Errors
    /// When the image is not there and cannot be had now.
    pub async fn ensure(&self, request: &PullRequest<'_>) -> Result<String, ImageError> {
        let PullRequest { pod, container, .. } = request;
        let image = container.image.as_deref().unwrap_or("");
        if !is_valid_reference(image) {
            let message = format!(
                "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
            );
            self.events.container(pod, &container.name, true, "InspectFailed", &message);
            return Err(ImageError { reason: "InvalidImageName", message, retry_after: None });
        }
        let present = self.images.image_status(image).await.map_err(|error| {
            let message = format!("Failed to inspect image {image:?}: {error}");
            self.events.container(pod, &container.name, true, "InspectFailed", &message);
            ImageError { reason: "ImageInspectError", message, retry_after: Some(Duration::from_secs(10)) }
        })?;
        match (policy(container), present) {
            ("Never", None) => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                self.events.container(pod, &container.name, true, "ErrImageNeverPull", &message);
                Err(ImageError {
                    reason: "ErrImageNeverPull",
                    message,
                    retry_after: Some(Duration::from_secs(10)),
                })
            }
            ("Always", _) | (_, None) => self.pull(request, image).await,
            (_, Some(found)) => {
                let message = format!(
                    "Container image {image:?} already present on machine and can be accessed by the pod"
                );
                self.events.container(pod, &container.name, false, "Pulled", &message);
                Ok(found.id)
            }
        }
    }

    /// Forgets the failures of a pod's pulls.
    pub fn forget(&self, uid: &str) {
        self.backoff.lock().forget(uid);
        self.failures.lock().retain(|key, _| !key.starts_with(uid));
    }

    async fn pull(&self, request: &PullRequest<'_>, image: &str) -> Result<String, ImageError> {
        let PullRequest { pod, container, cancel, .. } = request;
        let key = format!("{}/{image}", pod::uid(pod));
        if let Some(error) = self.held_back(&key, image) {
            self.events.container(
                pod,
                &container.name,
                false,
                "BackOff",
                &format!("Back-off pulling image {image:?}"),
            );
            return Err(error);
        }
        self.events.container(pod, &container.name, false, "Pulling", &format!("Pulling image {image:?}"));
        let asked = Instant::now();
        let cancelled = || ImageError {
            reason: "ErrImagePull",
            message: "the pod is being stopped".to_owned(),
            retry_after: None,
        };
        let pulling = async {
            let _slot = self.slots.acquire().await;
            let began = Instant::now();
            (self.pull_with_credentials(request, image).await, began.elapsed())
        };
        let (result, pulled_in) = tokio::select! {
            result = pulling => result,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        let waited = asked.elapsed();
        match result {
            Ok(reference) => {
                let size =
                    self.images.image_status(&reference).await.ok().flatten().map_or(0, |image| image.size);
                let message = format!(
                    "Successfully pulled image {image:?} in {} ({} including waiting). Image size: {size} bytes.",
                    backoff::show(millis(pulled_in)),
                    backoff::show(millis(waited))
                );
                self.events.container(pod, &container.name, false, "Pulled", &message);
                self.backoff.lock().reset(&key);
                self.failures.lock().remove(&key);
                Ok(reference)
            }
            Err(error) => {
                let message = format!("Failed to pull image {image:?}: {error}");
                self.events.container(pod, &container.name, true, "Failed", &message);
                let now = self.started.elapsed();
                self.backoff.lock().next(&key, now);
                let error = error.to_string();
                self.failures.lock().insert(key.clone(), (now, error.clone()));
                let retry_after =
                    self.backoff.lock().remaining(&key, now, now).map(|remaining| remaining.left);
                Err(ImageError { reason: "ErrImagePull", message: error, retry_after })
            }
        }
    }

    fn held_back(&self, key: &str, image: &str) -> Option<ImageError> {
        let (failed, error) = self.failures.lock().get(key).cloned()?;
        let remaining = self.backoff.lock().remaining(key, failed, self.started.elapsed())?;
        Some(ImageError {
            reason: "ImagePullBackOff",
            message: format!("Back-off pulling image {image:?}: ErrImagePull: {error}"),
            retry_after: Some(remaining.left),
        })
    }

    async fn pull_with_credentials(
        &self,
        request: &PullRequest<'_>,
        image: &str,
    ) -> Result<String, CriError> {
        let mut last = None;
        for credentials in request.keyring.lookup(image) {
            let sandbox = Some(request.sandbox_config.clone());
            match self.images.pull_image(image, Some(credentials.to_auth()), sandbox).await {
                Ok(reference) => return Ok(reference),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error),
            None => self.images.pull_image(image, None, Some(request.sandbox_config.clone())).await,
        }
    }
}

fn policy(container: &Container) -> &str {
    container.image_pull_policy.as_deref().unwrap_or("IfNotPresent")
}

fn millis(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
