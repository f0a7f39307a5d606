//! Removes unused images when the disk that holds them fills up. Choosing is pure.

use crate::events::Events;
use cri::{Images, Runtime};
use k8s_cri::v1::Image;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// When images are removed, upstream's defaults.
#[derive(Debug, Clone, Copy)]
pub struct ImageGcPolicy {
    /// Removing begins above this use of the disk, in percent.
    pub high_percent: u8,
    /// And goes on down to this.
    pub low_percent: u8,
    /// No image younger than this is removed: its pod may be about to start.
    pub minimum_age: Duration,
}

impl Default for ImageGcPolicy {
    fn default() -> Self {
        Self { high_percent: 85, low_percent: 80, minimum_age: Duration::from_secs(120) }
    }
}

/// Use of a disk in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUse {
    /// Size.
    pub capacity: u64,
    /// What is left for root.
    pub available: u64,
}

/// Knarr's own image: sandboxes run from it, which no list of containers shows, and it cannot be pulled again.
const OWN_IMAGES: &str = "knarr.local/";

/// An image and when it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The runtime's id.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// When it was seen first, since the kubelet's start.
    pub detected: Duration,
    /// When a container used it last; the first sight when none has.
    pub last_used: Duration,
}

/// Bytes to free so that use falls from above `high` to `low` percent; 0 when it is below `high`.
pub fn bytes_to_free(disk: DiskUse, policy: &ImageGcPolicy) -> u64 {
    if disk.capacity == 0 {
        return 0;
    }
    let used = disk.capacity.saturating_sub(disk.available);
    let percent = |percent: u8| {
        u64::try_from(u128::from(disk.capacity) * u128::from(percent) / 100).unwrap_or(u64::MAX)
    };
    if used < percent(policy.high_percent) {
        return 0;
    }
    used.saturating_sub(percent(policy.low_percent))
}

/// Which images to remove, the least recently used first, until `wanted` bytes are free.
pub fn choose(
    mut unused: Vec<Candidate>,
    wanted: u64,
    now: Duration,
    policy: &ImageGcPolicy,
) -> Vec<Candidate> {
    unused.retain(|image| now.saturating_sub(image.detected) >= policy.minimum_age);
    unused.sort_by_key(|image| (image.last_used, image.detected));
    let mut freed = 0_u64;
    let mut chosen = Vec::new();
    for image in unused {
        if freed >= wanted {
            break;
        }
        freed = freed.saturating_add(image.size);
        chosen.push(image);
    }
    chosen
}

/// Looks after the disk that images are on.
pub struct ImageGc {
    images: Arc<dyn Images>,
    runtime: Arc<dyn Runtime>,
    events: Events,
    policy: ImageGcPolicy,
    seen: Mutex<HashMap<String, (Duration, Duration)>>,
    started: Instant,
}

impl ImageGc {
    /// Looks after the images of `images` that no container of `runtime` uses.
    pub fn new(
        images: Arc<dyn Images>,
        runtime: Arc<dyn Runtime>,
        events: Events,
        policy: ImageGcPolicy,
    ) -> Self {
        Self { images, runtime, events, policy, seen: Mutex::default(), started: Instant::now() }
    }

    /// Removes what has to go for the disk to be below the high mark; returns the bytes freed.
    pub async fn collect(&self, disk: DiskUse) -> u64 {
        let wanted = bytes_to_free(disk, &self.policy);
        if wanted == 0 {
            return 0;
        }
        let freed = self.free(wanted).await;
        if freed < wanted {
            let message = format!(
                "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
            );
            self.events.node(true, "FreeDiskSpaceFailed", &message);
        }
        freed
    }

    /// Removes every image that nothing uses; for a disk under pressure.
    pub async fn delete_unused(&self) -> u64 {
        self.free(u64::MAX).await
    }

    async fn free(&self, wanted: u64) -> u64 {
        let Ok(unused) = self.unused().await else { return 0 };
        let now = self.started.elapsed();
        let policy = if wanted == u64::MAX {
            ImageGcPolicy { minimum_age: Duration::ZERO, ..self.policy }
        } else {
            self.policy
        };
        let mut freed = 0_u64;
        for image in choose(unused, wanted, now, &policy) {
            match self.images.remove_image(&image.id).await {
                Ok(()) => {
                    tracing::info!(image = image.id, size = image.size, "removed unused image");
                    freed = freed.saturating_add(image.size);
                    self.seen.lock().remove(&image.id);
                }
                Err(error) => tracing::warn!(image = image.id, %error, "removing image failed"),
            }
        }
        freed
    }

    async fn unused(&self) -> cri::Result<Vec<Candidate>> {
        let (images, containers) =
            tokio::try_join!(self.images.list_images(None), self.runtime.list_containers(None))?;
        let used: BTreeSet<&str> = containers
            .iter()
            .flat_map(|container| {
                let asked = container.image.as_ref().map(|image| image.image.as_str());
                [Some(container.image_ref.as_str()), Some(container.image_id.as_str()), asked]
            })
            .flatten()
            .filter(|name| !name.is_empty())
            .collect();
        let now = self.started.elapsed();
        let mut seen = self.seen.lock();
        seen.retain(|id, _| images.iter().any(|image| &image.id == id));
        let mut unused = Vec::new();
        for image in &images {
            let times = seen.entry(image.id.clone()).or_insert((now, now));
            if is_used(image, &used) {
                times.1 = now;
            } else if !image.pinned {
                unused.push(Candidate {
                    id: image.id.clone(),
                    size: image.size,
                    detected: times.0,
                    last_used: times.1,
                });
            }
        }
        Ok(unused)
    }
}

fn is_used(image: &Image, used: &BTreeSet<&str>) -> bool {
    if image.repo_tags.iter().any(|tag| tag.starts_with(OWN_IMAGES)) {
        return true;
    }
    let names = image.repo_tags.iter().chain(&image.repo_digests).chain([&image.id]);
    names.into_iter().any(|name| used.contains(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_removed_below_the_high_mark() {
        let policy = ImageGcPolicy::default();
        assert_eq!(bytes_to_free(DiskUse { capacity: 1000, available: 200 }, &policy), 0);
        assert_eq!(bytes_to_free(DiskUse { capacity: 1000, available: 100 }, &policy), 100);
    }

    #[test]
    fn the_least_recently_used_go_first_and_the_young_stay() {
        let image = |id: &str, detected, last_used| Candidate {
            id: id.into(),
            size: 10,
            detected: Duration::from_secs(detected),
            last_used: Duration::from_secs(last_used),
        };
        let unused = vec![image("new", 950, 950), image("b", 0, 500), image("a", 0, 100), image("c", 0, 600)];
        let chosen = choose(unused, 15, Duration::from_secs(1000), &ImageGcPolicy::default());
        let ids: Vec<&str> = chosen.iter().map(|image| image.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
    }
}
