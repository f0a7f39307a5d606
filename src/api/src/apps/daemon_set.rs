//! DaemonSet: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/daemon-set-v1/>.

use super::workload;
use crate::columns::{age, int_cell, name, selector_text};
use crate::core::pod::strategy::drop_disabled_template;
use crate::kind::Kind;
use crate::validation::{Errors, non_negative};
use crate::value::{at, default, default_text, field, has, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::meta;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// Counts the template's versions, as clients of the old API expect it.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The kind.
#[derive(Debug)]
pub struct DaemonSet;

impl Kind for DaemonSet {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("apps", "DaemonSet")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["ds"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["all"]
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = workload::spec_mut(object) else { return };
        default(spec, "revisionHistoryLimit", 10);
        if let Some(strategy) = workload::ensure(spec, &["updateStrategy"]) {
            default_text(strategy, "type", "RollingUpdate");
            if text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = workload::ensure(strategy, &["rollingUpdate"])
            {
                default(rolling, "maxUnavailable", 1);
                default(rolling, "maxSurge", 0);
            }
        }
        workload::default_template(spec);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_disabled_template(object, None);
        if template_generation(object) < 1 {
            meta::set_annotation(object, TEMPLATE_GENERATION, "1");
        }
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        drop_disabled_template(object, Some(old));
        let generation = template_generation(old) + i64::from(workload::template_changed(object, old));
        if generation > 0 {
            meta::set_annotation(object, TEMPLATE_GENERATION, &generation.to_string());
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        workload::given_selector(spec, "daemonset", &path, &mut errors);
        if !has(spec, "selector") {
            // None selects nothing.
            let labels = at(spec, &["template", "metadata", "labels"]);
            workload::not_selected(labels, &path.child("template"), &mut errors);
        }
        workload::template(spec, &path, &mut errors);
        workload::always_restarted(spec, "DaemonSet", &path, &mut errors);
        non_negative(spec, "minReadySeconds", &path, &mut errors);
        non_negative(spec, "revisionHistoryLimit", &path, &mut errors);
        strategy(field(spec, "updateStrategy"), &path.child("updateStrategy"), &mut errors);
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
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            ],
            &[],
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

    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![
            Column::object_name(),
            Column::new("Desired").integer(),
            Column::new("Current").integer(),
            Column::new("Ready").integer(),
            Column::new("Up-to-date").integer(),
            Column::new("Available").integer(),
            Column::new("Node Selector"),
            Column::age(),
        ];
        columns.extend(workload::template_columns());
        columns
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (field(object, "spec"), field(object, "status"));
        let mut row = vec![
            name(object),
            int_cell(status, "desiredNumberScheduled"),
            int_cell(status, "currentNumberScheduled"),
            int_cell(status, "numberReady"),
            int_cell(status, "updatedNumberScheduled"),
            int_cell(status, "numberAvailable"),
            selector_text(at(spec, &["template", "spec", "nodeSelector"])),
            age(object, now),
        ];
        row.extend(workload::template_cells(spec));
        row
    }
}

fn template_generation(object: &Value) -> i64 {
    meta::annotation(object, TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn strategy(strategy: &Value, path: &Path, errors: &mut ErrorList) {
    let own = path.child("rollingUpdate");
    let rolling = field(strategy, "rollingUpdate");
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" if !has(strategy, "rollingUpdate") => errors.required(&own, ""),
        "RollingUpdate" => {
            workload::share(rolling, "maxUnavailable", true, &own, errors);
            workload::share(rolling, "maxSurge", true, &own, errors);
            let nothing = |name| workload::is_nothing(field(rolling, name));
            match (nothing("maxUnavailable"), nothing("maxSurge")) {
                (true, true) => {
                    errors.required(&own.child("maxUnavailable"), "cannot be 0 when maxSurge is 0");
                }
                (false, false) => errors.invalid(
                    &own.child("maxSurge"),
                    field(rolling, "maxSurge").clone(),
                    "may not be set when maxUnavailable is non-zero",
                ),
                _ => {}
            }
        }
        _ => errors.not_supported(path, strategy.clone(), &["RollingUpdate", "OnDelete"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(strategy: &Value) -> Vec<String> {
        let mut object = json!({"spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "updateStrategy": strategy,
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        }});
        DaemonSet.default(&mut object);
        DaemonSet.validate(&object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pods_go_before_or_after_others_come() {
        let rolling = |unavailable: Value, surge: Value| {
            told(&json!({"rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}))
        };
        assert_eq!(told(&json!({})), Vec::<String>::new());
        assert_eq!(rolling(json!(0), json!("10%")), Vec::<String>::new());
        assert_eq!(
            rolling(json!(0), json!("0%")),
            [
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"
            ]
        );
        assert_eq!(
            rolling(json!(1), json!("101%")),
            [
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"101%\": must not be greater than 100%",
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"101%\": may not be set when maxUnavailable is non-zero",
            ]
        );
        assert_eq!(
            told(&json!({"type": "Now"})),
            [
                "spec.updateStrategy: Unsupported value: {\"type\":\"Now\"}: supported values: \"RollingUpdate\", \"OnDelete\""
            ]
        );
    }

    #[test]
    fn without_a_selector_the_labels_match_nothing() {
        let spec = json!({"template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}});
        let mut object = json!({"spec": spec});
        DaemonSet.default(&mut object);
        let told: Vec<String> = DaemonSet.validate(&object).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"
            ]
        );
    }

    #[test]
    fn the_template_s_generation_counts_its_changes() {
        let mut old = json!({"metadata": {}, "spec": {"template": {"spec": {}}}});
        DaemonSet.prepare_for_create(&mut old);
        let mut new = old.clone();
        DaemonSet.prepare_for_update(&mut new, &old);
        assert_eq!(template_generation(&new), 1);
        new["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
        DaemonSet.prepare_for_update(&mut new, &old);
        assert_eq!(template_generation(&new), 2);
    }
}
