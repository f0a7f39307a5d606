//! PersistentVolumeClaims: their storage, also per class.

use super::scopes::Scope;
use super::{Amounts, amount, one};
use crate::value::{at, field, has, text, text_at};
use apimachinery::meta;
use serde_json::Value;

const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
const NAMES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];

pub(super) fn is_name(name: &str) -> bool {
    NAMES.contains(&name)
        || NAMES.iter().any(|own| name.strip_suffix(own).is_some_and(|class| class.ends_with(OF_CLASS)))
}

pub(super) fn usage(claim: &Value) -> Amounts {
    let spec = field(claim, "spec");
    let class = meta::annotation(claim, CLASS_BETA).unwrap_or_else(|| text(spec, "storageClassName"));
    let mut usage = Amounts::from([("persistentvolumeclaims".to_owned(), one())]);
    let asked = at(spec, &["resources", "requests", "storage"]);
    if !asked.is_null() {
        let mut storage = amount(asked);
        let allocated = at(claim, &["status", "allocatedResources", "storage"]);
        // While a claim grows or a growth is taken back, the larger one (KEP-1790).
        if !allocated.is_null() {
            storage = storage.max(amount(allocated));
        }
        usage.insert("requests.storage".to_owned(), storage);
    }
    if !class.is_empty() {
        let of_class: Vec<_> =
            usage.iter().map(|(name, n)| (format!("{class}{OF_CLASS}{name}"), *n)).collect();
        usage.extend(of_class);
    }
    usage
}

pub(super) fn in_scope(scope: &Scope, claim: &Value) -> bool {
    if scope.name != "VolumeAttributesClass" {
        return false;
    }
    // Wanted, had, and on the way.
    let mut names = Vec::new();
    if has(field(claim, "spec"), "volumeAttributesClassName") {
        names.push(text_at(claim, &["spec", "volumeAttributesClassName"]));
    }
    names.push(text_at(claim, &["status", "currentVolumeAttributesClassName"]));
    names.push(text_at(claim, &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"]));
    names.retain(|name| !name.is_empty());
    scope.holds(&names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn storage_counts_for_all_and_for_its_class() {
        let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "10Gi"}}},
            "status": {"allocatedResources": {"storage": "20Gi"}}});
        assert_eq!(
            super::super::pretty(&usage(&claim)),
            "fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
             fast.storageclass.storage.k8s.io/requests.storage=20Gi,persistentvolumeclaims=1,requests.storage=20Gi"
        );
        assert!(usage(&claim).keys().all(|name| is_name(name)));
    }
}
