//! Deployment: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/deployment-v1/>.

use super::workload;
use crate::columns::{age, int_cell, name};
use crate::core::pod::strategy::drop_disabled_template;
use crate::kind::{Kind, STANDARD_SCALE, ScalePaths};
use crate::validation::{Errors, non_negative};
use crate::value::{default, default_text, field, has, int, same, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
#[derive(Debug)]
pub struct Deployment;

impl Kind for Deployment {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("apps", "Deployment")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["deploy"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["all"]
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = workload::spec_mut(object) else { return };
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "progressDeadlineSeconds", 600);
        if let Some(strategy) = workload::ensure(spec, &["strategy"]) {
            default_text(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = workload::ensure(strategy, &["rollingUpdate"])
            {
                default(rolling, "maxUnavailable", "25%");
                default(rolling, "maxSurge", "25%");
            }
        }
        workload::default_template(spec);
    }

    /// Annotations are copied to ReplicaSets, so that a change of them is one for the controller to see.
    fn prepare_for_create(&self, object: &mut Value) {
        drop_disabled_template(object, None);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        drop_disabled_template(object, Some(old));
        let annotations = |o: &Value| field(field(o, "metadata"), "annotations").clone();
        if !same(&annotations(object), &annotations(old)) {
            meta::set(object, "generation", meta::generation(old) + 1);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        non_negative(spec, "replicas", &path, &mut errors);
        workload::selector_and_template(spec, "deployment", &path, &mut errors);
        workload::always_restarted(spec, "ReplicaSet", &path, &mut errors);
        strategy(field(spec, "strategy"), &path.child("strategy"), &mut errors);
        non_negative(spec, "minReadySeconds", &path, &mut errors);
        non_negative(spec, "revisionHistoryLimit", &path, &mut errors);
        non_negative(spec, "progressDeadlineSeconds", &path, &mut errors);
        if let Some(deadline) = int(spec, "progressDeadlineSeconds")
            && deadline <= int(spec, "minReadySeconds").unwrap_or(0)
        {
            errors.invalid(
                &path.child("progressDeadlineSeconds"),
                deadline,
                "must be greater than minReadySeconds",
            );
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(object);
        workload::immutable_selector(object, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        workload::status_counters(
            field(object, "status"),
            &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            ],
            &[
                ("updatedReplicas", "replicas", "status.replicas"),
                ("readyReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "replicas", "status.replicas"),
                ("availableReplicas", "readyReplicas", "readyReplicas"),
            ],
            &mut errors,
        );
        workload::collision_count(object, old, &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        crate::core::pod_warnings::of_template(object)
    }

    fn warnings_on_update(&self, object: &Value, old: &Value) -> Vec<String> {
        workload::warnings_of_change(self, object, old)
    }

    fn warnings_on_create(&self, object: &Value) -> Vec<String> {
        workload::name_warning(object).into_iter().collect()
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![
            Column::object_name(),
            Column::new("Ready").describe("Number of the pod with ready state"),
            Column::new("Up-to-date"),
            Column::new("Available"),
            Column::age(),
        ];
        columns.extend(workload::template_columns());
        columns
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (field(object, "spec"), field(object, "status"));
        let ready = int(status, "readyReplicas").unwrap_or(0);
        let mut row = vec![
            name(object),
            Value::from(format!("{ready}/{}", int(spec, "replicas").unwrap_or(0))),
            int_cell(status, "updatedReplicas"),
            int_cell(status, "availableReplicas"),
            age(object, now),
        ];
        row.extend(workload::template_cells(spec));
        row
    }

    fn scale(&self) -> Option<ScalePaths> {
        Some(STANDARD_SCALE)
    }
}

fn strategy(strategy: &Value, path: &Path, errors: &mut ErrorList) {
    let rolling = field(strategy, "rollingUpdate");
    let own = path.child("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if has(strategy, "rollingUpdate") => {
            errors.forbidden(&own, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if !has(strategy, "rollingUpdate") => {
            errors.required(&own, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => {
            workload::share(rolling, "maxUnavailable", true, &own, errors);
            workload::share(rolling, "maxSurge", false, &own, errors);
            let unavailable = field(rolling, "maxUnavailable");
            if workload::is_nothing(unavailable) && workload::is_nothing(field(rolling, "maxSurge")) {
                errors.invalid(
                    &own.child("maxUnavailable"),
                    unavailable.clone(),
                    "may not be 0 when `maxSurge` is 0",
                );
            }
        }
        _ => errors.not_supported(path, strategy.clone(), &["Recreate", "RollingUpdate"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Value {
        let mut object = json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": {
                "metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "c", "image": "nginx"}]},
            },
        }});
        Deployment.default(&mut object);
        object
    }

    #[test]
    fn defaults_make_a_rolling_update() {
        let object = deployment();
        assert!(Deployment.validate(&object).is_empty());
        assert_eq!(object["spec"]["replicas"], 1);
        assert_eq!(
            object["spec"]["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"], "Always");
        assert!(object["spec"]["template"]["spec"].get("enableServiceLinks").is_none());
    }

    #[test]
    fn the_selector_matches_the_template() {
        let mut object = deployment();
        object["spec"]["template"]["metadata"]["labels"] = json!({"app": "b"});
        assert_eq!(
            Deployment.validate(&object)[0].to_string(),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"
        );
        let mut other = deployment();
        other["spec"]["selector"]["matchLabels"]["x"] = json!("y");
        other["spec"]["template"]["metadata"]["labels"]["x"] = json!("y");
        let errors = Deployment.validate_update(&other, &deployment());
        assert!(errors[0].to_string().ends_with("field is immutable"), "{errors:?}");
    }

    #[test]
    fn nothing_may_not_be_unavailable_and_not_surge() {
        let mut object = deployment();
        object["spec"]["strategy"]["rollingUpdate"] = json!({"maxUnavailable": 0, "maxSurge": "0%"});
        assert_eq!(
            Deployment.validate(&object)[0].to_string(),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"
        );
    }

    #[test]
    fn a_strategy_is_one_of_two() {
        let mut object = deployment();
        object["spec"]["strategy"] = json!({"type": "Fast"});
        object["spec"]["progressDeadlineSeconds"] = json!(5);
        object["spec"]["minReadySeconds"] = json!(5);
        let told: Vec<String> = Deployment.validate(&object).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "spec.strategy: Unsupported value: {\"type\":\"Fast\"}: supported values: \"Recreate\", \"RollingUpdate\"",
                "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
            ]
        );
        object["spec"]["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}});
        assert_eq!(
            Deployment.validate(&object)[0].to_string(),
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"
        );
    }

    #[test]
    fn names_that_pods_cannot_have_are_warned_of() {
        let mut object = deployment();
        assert!(Deployment.warnings_on_create(&object).is_empty());
        object["metadata"]["name"] = json!("a.b");
        assert!(
            Deployment.warnings_on_create(&object)[0].starts_with("metadata.name: this is used in Pod names")
        );
    }

    #[test]
    fn an_update_warns_of_what_it_asks_for() {
        let mut old = deployment();
        old["metadata"]["generation"] = json!(1);
        old["spec"]["template"]["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
        let mut new = old.clone();
        assert!(Deployment.warnings_on_update(&new, &old).is_empty());
        new["metadata"]["generation"] = json!(2);
        assert_eq!(Deployment.warnings_on_update(&new, &old), Deployment.warnings(&new));
        assert_eq!(Deployment.warnings(&new).len(), 1);
    }

    #[test]
    fn the_table_shows_ready_of_wanted() {
        let mut object = deployment();
        object["status"] = json!({"readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1});
        let row = Deployment.row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(row.len(), Deployment.columns().len());
        assert_eq!(row[1], "1/1");
        assert_eq!(row[7], "app=a");
    }
}
