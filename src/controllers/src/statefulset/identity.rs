//! Names, and what a pod of a set looks like. Pure.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{history, ownership};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The name of the pod with this ordinal.
pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default())
}

/// The ordinal of a pod of this set; `None` when its name is not one of the set's.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, ordinal) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    (Some(parent) == set.metadata.name.as_deref()).then(|| ordinal.parse().ok()).flatten()
}

/// The first ordinal and the number of replicas.
pub(super) fn range(set: &StatefulSet) -> (i32, i32) {
    let spec = set.spec.as_ref();
    let start = spec.and_then(|spec| spec.ordinals.as_ref()).and_then(|ordinals| ordinals.start).unwrap_or(0);
    (start, spec.and_then(|spec| spec.replicas).unwrap_or(1))
}

/// The name of the revision that made a pod.
pub(super) fn revision_of(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(history::HASH)).map(String::as_str).unwrap_or_default()
}

fn claim_templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_deref()).unwrap_or_default()
}

fn claim_name(template: &PersistentVolumeClaim, pod: &str) -> String {
    format!("{}-{pod}", template.metadata.name.as_deref().unwrap_or_default())
}

/// The claims that the pod with this ordinal mounts.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let pod = pod_name(set, ordinal);
    let selector = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
    claim_templates(set)
        .iter()
        .map(|template| {
            let mut labels = template.metadata.labels.clone().unwrap_or_default();
            labels.extend(selector.clone());
            PersistentVolumeClaim {
                metadata: ObjectMeta {
                    name: Some(claim_name(template, &pod)),
                    namespace: set.metadata.namespace.clone(),
                    labels: Some(labels),
                    annotations: template.metadata.annotations.clone(),
                    ..ObjectMeta::default()
                },
                spec: template.spec.clone(),
                status: None,
            }
        })
        .collect()
}

/// A new pod with this ordinal, from the template of a revision.
pub(super) fn pod(set: &StatefulSet, ordinal: i32, template: &PodTemplateSpec, revision: &str) -> Pod {
    let name = pod_name(set, ordinal);
    let meta = template.metadata.clone().unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(POD_NAME.to_owned(), name.clone());
    labels.insert(POD_INDEX.to_owned(), ordinal.to_string());
    labels.insert(history::HASH.to_owned(), revision.to_owned());
    let mut spec = template.spec.clone().unwrap_or_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone());
    let templates = claim_templates(set);
    let is_claimed = |volume: &Volume| {
        templates.iter().any(|template| template.metadata.name.as_ref() == Some(&volume.name))
    };
    let mut volumes: Vec<Volume> = spec.volumes.take().unwrap_or_default();
    volumes.retain(|volume| !is_claimed(volume));
    volumes.extend(templates.iter().map(|template| Volume {
        name: template.metadata.name.clone().unwrap_or_default(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim_name(template, &name),
            read_only: Some(false),
        }),
        ..Volume::default()
    }));
    spec.volumes = (!volumes.is_empty()).then_some(volumes);
    Pod {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![ownership::controller_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{apps::v1::StatefulSetSpec, core::v1::PodSpec};

    use super::*;

    #[test]
    fn a_pod_has_the_name_volumes_and_labels_of_its_ordinal() {
        let claim = PersistentVolumeClaim {
            metadata: ObjectMeta { name: Some("data".into()), ..ObjectMeta::default() },
            ..PersistentVolumeClaim::default()
        };
        let template = PodTemplateSpec {
            spec: Some(PodSpec {
                volumes: Some(vec![
                    Volume { name: "data".into(), ..Volume::default() },
                    Volume { name: "tmp".into(), ..Volume::default() },
                ]),
                ..PodSpec::default()
            }),
            ..PodTemplateSpec::default()
        };
        let set = StatefulSet {
            metadata: ObjectMeta {
                name: Some("db".into()),
                namespace: Some("ns".into()),
                ..ObjectMeta::default()
            },
            spec: Some(StatefulSetSpec {
                service_name: Some("db".into()),
                volume_claim_templates: Some(vec![claim]),
                template: template.clone(),
                ..StatefulSetSpec::default()
            }),
            status: None,
        };
        let pod = pod(&set, 2, &template, "db-abc");
        assert_eq!(pod.metadata.name.as_deref(), Some("db-2"));
        assert_eq!(ordinal(&set, &pod), Some(2));
        assert_eq!(revision_of(&pod), "db-abc");
        let volumes = pod.spec.unwrap().volumes.unwrap();
        assert_eq!(volumes.len(), 2);
        assert_eq!(volumes[1].persistent_volume_claim.as_ref().unwrap().claim_name, "data-db-2");
        assert_eq!(claims(&set, 2)[0].metadata.name.as_deref(), Some("data-db-2"));
        let stranger = Pod {
            metadata: ObjectMeta { name: Some("db-x-1".into()), ..ObjectMeta::default() },
            ..Pod::default()
        };
        assert_eq!(ordinal(&set, &stranger), None);
    }
}
