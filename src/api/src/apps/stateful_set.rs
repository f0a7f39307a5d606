//! StatefulSet: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/stateful-set-v1/>.

use super::workload;
use crate::columns::{age, container_names, images, name};
use crate::core::persistent_volume_claim::default_claim;
use crate::kind::{Kind, STANDARD_SCALE, ScalePaths};
use crate::validation::{Errors, non_negative, required_one_of};
use crate::value::{at, copy, default, default_text, equivalent, field, has, int, list_mut, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

const MUTABLE: [&str; 8] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "volumeClaimTemplates",
];
const RETENTION: [&str; 2] = ["Delete", "Retain"];

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

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        required_one_of(spec, "podManagementPolicy", &path, &["OrderedReady", "Parallel"], &mut errors);
        strategy(field(spec, "updateStrategy"), &path.child("updateStrategy"), &mut errors);
        let policy = path.child("persistentVolumeClaimRetentionPolicy");
        for name in ["whenDeleted", "whenScaled"] {
            required_one_of(
                field(spec, "persistentVolumeClaimRetentionPolicy"),
                name,
                &policy,
                &RETENTION,
                &mut errors,
            );
        }
        for name in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
            non_negative(spec, name, &path, &mut errors);
        }
        non_negative(field(spec, "ordinals"), "start", &path.child("ordinals"), &mut errors);
        workload::selector_and_template(spec, "statefulset", &path, &mut errors);
        workload::always_restarted(spec, "StatefulSet", &path, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        let (mut munged, old_spec) = (field(object, "spec").clone(), field(old, "spec"));
        for name in MUTABLE.iter().filter(|name| **name != "volumeClaimTemplates") {
            copy(&mut munged, old_spec, name);
        }
        if !equivalent(&munged, old_spec) {
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

fn strategy(strategy: &Value, path: &Path, errors: &mut ErrorList) {
    let own = path.child("rollingUpdate");
    match text(strategy, "type") {
        "" => errors.required(&path.child("type"), ""),
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
