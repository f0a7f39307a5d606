//! Hashes of pod templates and history of them as ControllerRevisions.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde::Serialize;

/// Characters of names derived from hashes: no vowels, so that no words appear, and none that look alike.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A short name for the content of a template; `collisions` makes another one when the name is taken by a
/// different template.
pub fn template_hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    content_hash(template, collisions)
}

/// A short name for any content that serialises the same way every time.
pub fn content_hash<T: Serialize>(content: &T, collisions: Option<i32>) -> String {
    // Serialising API types cannot fail: their maps have string keys.
    let mut bytes = serde_json::to_vec(content).unwrap_or_default();
    if let Some(collisions) = collisions {
        bytes.extend_from_slice(&collisions.to_le_bytes());
    }
    safe_encode(fnv1a(&bytes))
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn safe_encode(hash: u32) -> String {
    let digits = hash.to_string();
    let letter = |digit: u8| SAFE.get(usize::from(digit) % SAFE.len()).copied().map_or('b', char::from);
    digits.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, PodSpec};

    use super::*;

    #[test]
    fn the_hash_depends_on_content_and_collisions_only() {
        let template = |image: &str| PodTemplateSpec {
            spec: Some(PodSpec {
                containers: vec![Container { image: Some(image.into()), ..Container::default() }],
                ..PodSpec::default()
            }),
            ..PodTemplateSpec::default()
        };
        let hash = template_hash(&template("nginx"), None);
        assert_eq!(hash, template_hash(&template("nginx"), None));
        assert_ne!(hash, template_hash(&template("nginx:2"), None));
        assert_ne!(hash, template_hash(&template("nginx"), Some(1)));
        assert!(hash.len() <= 10 && hash.bytes().all(|byte| SAFE.contains(&byte)));
    }
}
