//! StatefulSet: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/stateful-set-v1/>.

use super::workload;
use crate::columns::{age, container_names, images, name};
use crate::core::persistent_volume_claim::{self, default_claim};
use crate::core::pod::strategy::drop_disabled_template;
use crate::kind::{Kind, NameRule, STANDARD_SCALE, ScalePaths};
use crate::validation::{Errors, mutable_only, non_negative, one_of};
use crate::value::{at, at_mut, default, default_text, field, has, int, list, list_mut, set, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::{meta, validation as forms};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What of the spec may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];
const RETENTION: [&str; 2] = ["Retain", "Delete"];

/// The kind.
#[derive(Debug)]
pub struct StatefulSet;

impl Kind for StatefulSet {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("apps", "StatefulSet")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["sts"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["all"]
    }

    /// Pods are named after their set.
    fn name_rule(&self) -> NameRule {
        NameRule::Dns1123Label
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = workload::spec_mut(object) else { return };
        default_text(spec, "podManagementPolicy", "OrderedReady");
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
        if let Some(strategy) = workload::ensure(spec, &["updateStrategy"]) {
            default_text(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = workload::ensure(strategy, &["rollingUpdate"])
            {
                default(rolling, "partition", 0);
            }
        }
        if let Some(policy) = workload::ensure(spec, &["persistentVolumeClaimRetentionPolicy"]) {
            default_text(policy, "whenDeleted", "Retain");
            default_text(policy, "whenScaled", "Retain");
        }
        for claim in list_mut(spec, "volumeClaimTemplates") {
            default_text(claim, "apiVersion", "v1");
            default_text(claim, "kind", "PersistentVolumeClaim");
            default_claim(claim);
        }
        workload::default_template(spec);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_disabled_template(object, None);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        drop_disabled_template(object, Some(old));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let spec = field(object, "spec");
        let mut errors = validate_spec(spec);
        let service = text(spec, "serviceName");
        if !service.is_empty() {
            errors.check(&Path::new("spec"), "serviceName", service, forms::dns1123_label(service));
        }
        for (i, claim) in list(spec, "volumeClaimTemplates").iter().enumerate() {
            let path = Path::new("spec").child("volumeClaimTemplates").index(i).child("spec");
            persistent_volume_claim::validate_spec(field(claim, "spec"), &path, &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let (spec, old_spec) = (field(object, "spec"), field(old, "spec"));
        let mut errors = validate_spec(spec);
        if !mutable_only(spec, old_spec, &MUTABLE) {
            errors.forbidden(
                &Path::new("spec"),
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            );
        }
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        workload::status_counters(
            field(object, "status"),
            &[
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
                "observedGeneration",
                "collisionCount",
            ],
            &[
                ("readyReplicas", "replicas", "status.replicas"),
                ("currentReplicas", "replicas", "status.replicas"),
                ("updatedReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "readyReplicas", "status.readyReplicas"),
            ],
            &mut errors,
        );
        workload::collision_count(object, old, &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = crate::core::pod_warnings::of_template(object);
        if int(field(object, "spec"), "revisionHistoryLimit").is_some_and(|limit| limit < 0) {
            warnings.push(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                    .to_owned(),
            );
        }
        warnings
    }

    fn warnings_on_update(&self, object: &Value, old: &Value) -> Vec<String> {
        workload::warnings_of_change(self, object, old)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::object_name(),
            Column::new("Ready").describe("Number of the pod with ready state"),
            Column::age(),
            Column::new("Containers").describe("Names of each container in the template.").wide(),
            Column::new("Images").describe("Images referenced by each container in the template.").wide(),
        ]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (field(object, "spec"), field(object, "status"));
        let pod = at(spec, &["template", "spec"]);
        let ready = int(status, "readyReplicas").unwrap_or(0);
        vec![
            name(object),
            Value::from(format!("{ready}/{}", int(spec, "replicas").unwrap_or(0))),
            age(object, now),
            container_names(pod),
            images(pod),
        ]
    }

    fn scale(&self) -> Option<ScalePaths> {
        Some(STANDARD_SCALE)
    }
}

fn validate_spec(spec: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    match text(spec, "podManagementPolicy") {
        "" => errors.required(&path.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => {
            errors.invalid(&path.child("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'");
        }
    }
    strategy(field(spec, "updateStrategy"), &path.child("updateStrategy"), &mut errors);
    let (policy, policy_path) = (
        field(spec, "persistentVolumeClaimRetentionPolicy"),
        path.child("persistentVolumeClaimRetentionPolicy"),
    );
    for name in ["whenDeleted", "whenScaled"] {
        one_of(policy, name, &policy_path, &RETENTION, &mut errors);
    }
    for name in ["replicas", "minReadySeconds"] {
        non_negative(spec, name, &path, &mut errors);
    }
    non_negative(field(spec, "ordinals"), "start", &path.child("ordinals"), &mut errors);
    if list(spec, "volumeClaimTemplates").is_empty() {
        workload::selector_and_template(spec, "statefulset", &path, &mut errors);
    } else {
        workload::selector_and_template(&with_claims(spec), "statefulset", &path, &mut errors);
    }
    workload::always_restarted(spec, "StatefulSet", &path, &mut errors);
    errors
}

/// The spec as its pods will have it: with a volume for each claim template, so that containers can mount it. It takes
/// the place of one with its name.
fn with_claims(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let volumes: Vec<Value> = list(&spec, "volumeClaimTemplates")
        .iter()
        .map(|claim| {
            let name = meta::name(claim);
            json!({"name": name, "persistentVolumeClaim": {"claimName": name}})
        })
        .collect();
    if let Some(pod) = at_mut(&mut spec, &["template", "spec"]) {
        let others =
            list(pod, "volumes").iter().filter(|v| !volumes.iter().any(|c| c.get("name") == v.get("name")));
        let all: Vec<Value> = others.cloned().chain(volumes.iter().cloned()).collect();
        set(pod, "volumes", all);
    }
    spec
}

fn strategy(strategy: &Value, path: &Path, errors: &mut ErrorList) {
    let own = path.child("rollingUpdate");
    match text(strategy, "type") {
        "" => errors.required(path, ""),
        "OnDelete" => {
            if has(strategy, "rollingUpdate") {
                errors.invalid(
                    &own,
                    field(strategy, "rollingUpdate").clone(),
                    "only allowed for updateStrategy 'RollingUpdate'",
                );
            }
        }
        "RollingUpdate" => {
            let rolling = field(strategy, "rollingUpdate");
            non_negative(rolling, "partition", &own, errors);
            workload::share(rolling, "maxUnavailable", true, &own, errors);
            if has(rolling, "maxUnavailable") && workload::is_nothing(field(rolling, "maxUnavailable")) {
                errors.invalid(
                    &own.child("maxUnavailable"),
                    field(rolling, "maxUnavailable").clone(),
                    "cannot be 0",
                );
            }
        }
        _ => errors.invalid(path, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_with(changes: &Value) -> Value {
        let mut object = json!({"metadata": {"name": "s"}, "spec": {
            "serviceName": "s",
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{
                    "name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }]},
            },
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            }}],
        }});
        for (name, value) in changes.as_object().unwrap() {
            object["spec"][name] = value.clone();
        }
        StatefulSet.default(&mut object);
        object
    }

    fn told(changes: &Value) -> Vec<String> {
        StatefulSet.validate(&set_with(changes)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn containers_mount_the_claims() {
        assert_eq!(told(&json!({})), Vec::<String>::new());
        assert_eq!(
            told(&json!({"volumeClaimTemplates": []})),
            ["spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\""]
        );
    }

    #[test]
    fn claims_are_as_right_as_others() {
        let claim =
            json!({"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}});
        assert_eq!(
            told(&json!({"volumeClaimTemplates": [claim]})),
            [
                "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required"
            ]
        );
    }

    #[test]
    fn policies_are_known_ones() {
        assert_eq!(
            told(&json!({
                "podManagementPolicy": "Any", "serviceName": "A_b",
                "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Drop"},
                "updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}},
                "ordinals": {"start": -1},
            })),
            [
                "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'",
                "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy 'RollingUpdate'",
                "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"Drop\": supported values: \"Retain\", \"Delete\"",
                "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
                "spec.serviceName: Invalid value: \"A_b\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            ]
        );
        assert_eq!(
            told(
                &json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}})
            ),
            ["spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0"]
        );
    }

    #[test]
    fn the_claims_and_the_service_stay() {
        let old = set_with(&json!({}));
        let update = |changes: &Value| -> Vec<String> {
            StatefulSet.validate_update(&set_with(changes), &old).iter().map(ToString::to_string).collect()
        };
        assert_eq!(update(&json!({"replicas": 3, "ordinals": {"start": 1}})), Vec::<String>::new());
        for changes in [json!({"serviceName": "other"}), json!({"podManagementPolicy": "Parallel"})] {
            assert_eq!(
                update(&changes),
                [
                    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
                ]
            );
        }
    }
}
