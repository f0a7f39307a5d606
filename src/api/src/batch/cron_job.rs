//! CronJob: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/cron-job-v1/>.

use super::{failure_policy, job_rules, schedule};
use crate::apps::workload;
use crate::columns::{age, name, or_none, translate_timestamp_since};
use crate::core::pod::strategy::drop_disabled_at;
use crate::kind::{Kind, NameRule};
use crate::validation::{Errors, non_negative, required_one_of, required_text};
use crate::value::{at_mut, default, default_text, field, has, is_true, list, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use apimachinery::validation as forms;
use jiff::Timestamp;
use serde_json::Value;

/// Jobs are named after their CronJob and a time, in at most 63 characters.
const NAME_MAX_BYTES: usize = 52;
/// The longest part of a time zone's name (the naming rules of the zone database).
const ZONE_PART_MAX_BYTES: usize = 14;

/// The kind.
#[derive(Debug)]
pub struct CronJob;

/// Where the spec of the pods is.
const TEMPLATE: [&str; 5] = ["spec", "jobTemplate", "spec", "template", "spec"];

impl Kind for CronJob {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("batch", "CronJob")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["cj"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["all"]
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Custom(|name| {
            let mut problems = forms::dns1123_subdomain(name);
            if name.len() > NAME_MAX_BYTES {
                problems.push(format!("must be no more than {NAME_MAX_BYTES} characters"));
            }
            problems
        })
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = workload::spec_mut(object) else { return };
        default_text(spec, "concurrencyPolicy", "Allow");
        default(spec, "suspend", false);
        default(spec, "successfulJobsHistoryLimit", 3);
        default(spec, "failedJobsHistoryLimit", 1);
        if let Some(job) = at_mut(spec, &["jobTemplate", "spec"]) {
            failure_policy::fill(job);
            workload::default_template(job);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_disabled_at(object, None, &TEMPLATE);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        drop_disabled_at(object, Some(old), &TEMPLATE);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        validate(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        validate(object, Some(field(old, "spec")))
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let spec = field(object, "spec");
        let template = field(spec, "jobTemplate");
        let mut warnings: Vec<String> =
            job_rules::size_warning(field(template, "spec"), "spec.jobTemplate.spec").into_iter().collect();
        // Those begin with the path of the pod's field.
        let of_pods = crate::core::pod_warnings::of_template(template);
        warnings.extend(of_pods.into_iter().map(|warning| format!("spec.jobTemplate.{warning}")));
        if text(spec, "schedule").contains("TZ") {
            warnings.push(
                "CRON_TZ or TZ used in spec.schedule is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                    .to_owned(),
            );
        }
        warnings
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
            Column::new("Schedule"),
            Column::new("Timezone"),
            Column::new("Suspend"),
            Column::new("Active").integer(),
            Column::new("Last Schedule"),
            Column::age(),
        ];
        columns.extend(workload::template_columns());
        columns
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (field(object, "spec"), field(object, "status"));
        let last = text(status, "lastScheduleTime");
        let last = if last.is_empty() { String::new() } else { translate_timestamp_since(last, now) };
        let mut row = vec![
            name(object),
            Value::from(text(spec, "schedule")),
            or_none(text(spec, "timeZone")),
            Value::from(if is_true(spec, "suspend") { "True" } else { "False" }),
            Value::from(list(status, "active").len()),
            or_none(&last),
            age(object, now),
        ];
        row.extend(workload::template_cells(field(field(spec, "jobTemplate"), "spec")));
        row
    }
}

fn validate(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, spec) = (Path::new("spec"), field(object, "spec"));
    if required_text(spec, "schedule", &path, &mut errors) {
        let zone_was_there = old.is_some_and(|old| text(old, "schedule").contains("TZ"));
        validate_schedule(spec, zone_was_there, &path, &mut errors);
    }
    non_negative(spec, "startingDeadlineSeconds", &path, &mut errors);
    if old.is_none_or(|old| field(old, "timeZone") != field(spec, "timeZone")) {
        time_zone(spec, &path, &mut errors);
    }
    required_one_of(spec, "concurrencyPolicy", &path, &["Allow", "Forbid", "Replace"], &mut errors);
    let template = path.child("jobTemplate").child("spec");
    let job = field(field(spec, "jobTemplate"), "spec");
    job_rules::template_spec(job, &template, &mut errors);
    if has(job, "selector") {
        errors.invalid(
            &template.child("selector"),
            field(job, "selector").clone(),
            "`selector` will be auto-generated",
        );
    }
    if is_true(job, "manualSelector") {
        errors.not_supported(&template.child("manualSelector"), true, &["nil", "false"]);
    }
    non_negative(spec, "successfulJobsHistoryLimit", &path, &mut errors);
    non_negative(spec, "failedJobsHistoryLimit", &path, &mut errors);
    errors
}

/// A time zone has its own field; only a schedule that had one from before may keep it.
fn validate_schedule(spec: &Value, zone_was_there: bool, path: &Path, errors: &mut ErrorList) {
    let wanted = text(spec, "schedule");
    if let Some(problem) = schedule::problem(wanted) {
        errors.invalid(&path.child("schedule"), wanted, problem);
    }
    if !wanted.contains("TZ") {
        return;
    }
    let problem = match (zone_was_there, has(spec, "timeZone")) {
        (true, true) => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        (true, false) => return,
        (false, _) => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
    };
    errors.invalid(&path.child("schedule"), wanted, problem);
}

fn time_zone(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(zone) = field(spec, "timeZone").as_str() else { return };
    let own = || path.child("timeZone");
    if zone.is_empty() {
        return errors.invalid(&own(), zone, "timeZone must be nil or non-empty string");
    }
    // The naming rules of the zone database; digits and plus signs are in old names.
    let well_formed = |part: &str| {
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=ZONE_PART_MAX_BYTES).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
    };
    if !zone.split('/').all(well_formed) {
        return errors.invalid(&own(), zone, format!("unknown time zone {zone}"));
    }
    if zone.eq_ignore_ascii_case("local") {
        errors.invalid(
            &own(),
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    } else if jiff::tz::TimeZone::get(zone).is_err() {
        errors.invalid(&own(), zone, format!("unknown time zone {zone}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cron_job(changes: &Value) -> Value {
        let mut object = json!({"metadata": {"name": "c"}, "spec": {
            "schedule": "@daily",
            "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}],
            }}}},
        }});
        for (name, value) in changes.as_object().unwrap() {
            object["spec"][name] = value.clone();
        }
        CronJob.default(&mut object);
        object
    }

    fn told(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_schedule_has_no_zone_unless_it_had_one() {
        let (zoned, plain) = (cron_job(&json!({"schedule": "TZ=UTC @daily"})), cron_job(&json!({})));
        let refused = [
            "spec.schedule: Invalid value: \"TZ=UTC @daily\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ];
        assert_eq!(told(&CronJob.validate(&plain)), Vec::<String>::new());
        assert_eq!(told(&CronJob.validate(&zoned)), refused);
        assert_eq!(told(&CronJob.validate_update(&zoned, &plain)), refused);
        assert_eq!(told(&CronJob.validate_update(&zoned, &zoned)), Vec::<String>::new());
        assert_eq!(CronJob.warnings(&zoned).len(), 1);
        let both = cron_job(&json!({"schedule": "TZ=UTC @daily", "timeZone": "Etc/UTC"}));
        assert!(told(&CronJob.validate_update(&both, &zoned))[0].contains("cannot use both timeZone field"));
    }

    #[test]
    fn conditions_in_the_template_are_meant_to_hold() {
        let mut object = cron_job(&json!({}));
        object["spec"]["jobTemplate"]["spec"]["podFailurePolicy"] =
            json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]});
        CronJob.default(&mut object);
        assert_eq!(told(&CronJob.validate(&object)), Vec::<String>::new());
    }

    #[test]
    fn time_zones_are_known_ones() {
        let check = |zone: &str| told(&CronJob.validate(&cron_job(&json!({"timeZone": zone}))));
        assert_eq!(
            check(""),
            ["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"]
        );
        for unknown in ["Europe/Nowhere", "../etc", "Europe//Berlin", "a b"] {
            let wanted = format!("spec.timeZone: Invalid value: \"{unknown}\": unknown time zone {unknown}");
            assert_eq!(check(unknown), [wanted]);
        }
        assert!(check("Local")[0].contains("timeZone must be an explicit time zone"));
    }

    #[test]
    fn the_template_s_selector_comes_with_the_jobs() {
        let mut object = cron_job(&json!({"concurrencyPolicy": "Never"}));
        object["spec"]["jobTemplate"]["spec"]["selector"] = json!({"matchLabels": {"a": "b"}});
        object["spec"]["jobTemplate"]["spec"]["manualSelector"] = json!(true);
        assert_eq!(
            told(&CronJob.validate(&object)),
            [
                "spec.concurrencyPolicy: Unsupported value: \"Never\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
                "spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated",
                "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
            ]
        );
    }
}
