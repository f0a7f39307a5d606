//! `status.images`. Pure.

use k8s_cri::v1::Image;
use serde_json::{Value, json};

/// The most images that a Node tells (upstream's `nodeStatusMaxImages`).
const MOST: usize = 50;
/// The most names of one image.
const MOST_NAMES: usize = 5;

/// The largest images, the largest first.
pub fn node_images(mut images: Vec<Image>) -> Value {
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let listed = images.iter().take(MOST).map(|image| {
        let names: Vec<&String> =
            image.repo_digests.iter().chain(&image.repo_tags).take(MOST_NAMES).collect();
        json!({"names": names, "sizeBytes": image.size})
    });
    Value::Array(listed.collect())
}
