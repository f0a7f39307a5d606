//! Revisions, and what a replica set remembers of its deployment.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// The number of a rollout, on deployments and replica sets; `kubectl rollout history` lists it.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier revisions of a replica set that was rolled back to.
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Replicas of the deployment when the replica set was last scaled.
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// Replicas plus surge at that time; the base of proportional scaling.
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Label by which the replica sets of a deployment tell their pods apart.
pub(super) const TEMPLATE_HASH: &str = "pod-template-hash";

/// Annotations of the deployment that its replica sets do not get.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
];
/// The revision history is cut at this many characters (upstream's limit).
const HISTORY_CHARACTERS: usize = 2000;

/// The revision of a replica set; 0 when it has none.
pub(super) fn revision(meta: &ObjectMeta) -> i64 {
    annotation(meta, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

pub(super) fn number(meta: &ObjectMeta, name: &str) -> Option<i32> {
    annotation(meta, name)?.parse().ok()
}

/// Whether a replica set was made from this template: equal but for the hash label.
pub(super) fn same_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(mut own) = set.spec.as_ref().and_then(|spec| spec.template.clone()) else { return false };
    if let Some(labels) = own.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(TEMPLATE_HASH);
    }
    let mut wanted = template.clone();
    if let Some(labels) = wanted.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(TEMPLATE_HASH);
    }
    normalise(&mut own);
    normalise(&mut wanted);
    own == wanted
}

// Nothing and an empty map say the same.
fn normalise(template: &mut PodTemplateSpec) {
    let meta = template.metadata.get_or_insert_default();
    meta.labels.take_if(|labels| labels.is_empty());
    meta.annotations.take_if(|annotations| annotations.is_empty());
    meta.creation_timestamp = None;
}

/// Brings the annotations of the newest replica set in line with its deployment and gives it `revision` if that
/// is later than its own.
pub(super) fn synchronise(deployment: &Deployment, set: &mut ReplicaSet, revision_number: i64) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (name, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&name.as_str()) {
            annotations.insert(name.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number = old.as_deref().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    if old_number < revision_number {
        annotations.insert(REVISION.to_owned(), revision_number.to_string());
        if let Some(old) = old.filter(|_| old_number > 0) {
            remember(annotations, &old);
        }
    }
}

fn remember(annotations: &mut BTreeMap<String, String>, revision: &str) {
    let history = annotations.get(REVISION_HISTORY).map(String::as_str).unwrap_or_default();
    let mut revisions: Vec<&str> = history.split(',').filter(|text| !text.is_empty()).collect();
    revisions.push(revision);
    let mut text = revisions.join(",");
    while text.len() > HISTORY_CHARACTERS {
        let Some((_, rest)) = text.split_once(',') else { break };
        text = rest.to_owned();
    }
    annotations.insert(REVISION_HISTORY.to_owned(), text);
}

/// Notes on a replica set what its deployment wanted; proportional scaling starts from it.
pub(super) fn remember_replicas(set: &mut ReplicaSet, desired: i32, max: i32) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED_REPLICAS.to_owned(), desired.to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), max.to_string());
}
