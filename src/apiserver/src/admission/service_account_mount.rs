//! The volume `kube-api-access-XXXXX` and its mounts.

use rand::Rng;
use serde_json::{Value, json};

use super::support::{items, list, spec, text};
use crate::authentication::PROJECTED_LIFETIME;

/// Where clients look for their token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// The characters of generated names: no vowels and no digits that look like vowels, so no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;

/// Mounts a token into every container that has nothing at that path; adds the volume if one needs it.
pub(super) fn mount_token(pod: &mut Value) {
    let existing = items(pod, "/spec/volumes")
        .iter()
        .find(|volume| is_token_volume(volume))
        .map(|volume| text(volume, "/name").to_owned());
    let add = existing.is_none();
    let name = existing.unwrap_or_else(|| free_name(pod));
    let mut mounted = false;
    for containers in ["initContainers", "containers"] {
        let containers = spec(pod).and_then(|spec| spec.get_mut(containers)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if items(container, "/volumeMounts").iter().any(|mount| text(mount, "/mountPath") == MOUNT_PATH) {
                continue;
            }
            if let Some(mounts) =
                container.as_object_mut().and_then(|container| list(container, "volumeMounts"))
            {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
                mounted = true;
            }
        }
    }
    if mounted
        && add
        && let Some(volumes) = spec(pod).and_then(|spec| list(spec, "volumes"))
    {
        volumes.push(volume(&name));
    }
}

/// Is it a volume that was added here before, to a pod that is created from another's spec?
fn is_token_volume(volume: &Value) -> bool {
    text(volume, "/name").starts_with(VOLUME_PREFIX)
        && items(volume, "/projected/sources")
            .iter()
            .any(|source| source.get("serviceAccountToken").is_some_and(|token| !token.is_null()))
}

fn free_name(pod: &Value) -> String {
    let mut random = rand::rng();
    loop {
        let suffix = (0..SUFFIX_LENGTH).filter_map(|_| ALPHABET.get(random.random_range(0..ALPHABET.len())));
        let suffix: String = suffix.map(|byte| char::from(*byte)).collect();
        let name = format!("{VOLUME_PREFIX}{suffix}");
        if !items(pod, "/spec/volumes").iter().any(|volume| text(volume, "/name") == name) {
            return name;
        }
    }
}

fn volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            // 0644
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": PROJECTED_LIFETIME, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_without_one_gets_the_mount() {
        let mut pod = json!({"spec": {
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "x", "mountPath": MOUNT_PATH}]}],
        }});
        mount_token(&mut pod);
        let name = pod["spec"]["volumes"][0]["name"].as_str().unwrap().to_owned();
        assert_eq!(name.len(), VOLUME_PREFIX.len() + SUFFIX_LENGTH);
        for list in ["initContainers", "containers"] {
            assert_eq!(pod["spec"][list][0]["volumeMounts"][0]["name"], json!(name));
        }
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
        // Again, with the volume there: the same one is used.
        pod["spec"]["containers"][0].as_object_mut().unwrap().remove("volumeMounts");
        mount_token(&mut pod);
        assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 1);
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], json!(name));
    }

    #[test]
    fn no_volume_without_a_mount() {
        let mounts = json!([{"name": "x", "mountPath": MOUNT_PATH}]);
        let mut pod = json!({"spec": {"containers": [{"name": "b", "volumeMounts": mounts}]}});
        mount_token(&mut pod);
        assert!(pod["spec"].get("volumes").is_none());
    }
}
