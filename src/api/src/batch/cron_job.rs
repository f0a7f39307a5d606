//! CronJob: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/cron-job-v1/>.

use super::{job, schedule};
use crate::apps::workload;
use crate::columns::{age, name, or_none, translate_timestamp_since};
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

/// The kind.
#[derive(Debug)]
pub struct CronJob;

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
            workload::default_template(job);
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (path, spec) = (Path::new("spec"), field(object, "spec"));
        let wanted = text(spec, "schedule");
        if required_text(spec, "schedule", &path, &mut errors) {
            let own = path.child("schedule");
            if let Some(problem) = schedule::problem(wanted) {
                errors.invalid(&own, wanted, problem);
            }
            if wanted.contains("TZ") {
                errors.invalid(
                    &own,
                    wanted,
                    "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
                );
            }
        }
        time_zone(spec, &path, &mut errors);
        non_negative(spec, "startingDeadlineSeconds", &path, &mut errors);
        required_one_of(spec, "concurrencyPolicy", &path, &["Allow", "Forbid", "Replace"], &mut errors);
        non_negative(spec, "successfulJobsHistoryLimit", &path, &mut errors);
        non_negative(spec, "failedJobsHistoryLimit", &path, &mut errors);
        let template = path.child("jobTemplate").child("spec");
        let job_spec = field(field(spec, "jobTemplate"), "spec");
        job::validate_spec(job_spec, &template, false, &mut errors);
        if is_true(job_spec, "manualSelector") {
            errors.not_supported(&template.child("manualSelector"), true, &["nil", "false"]);
        }
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let zone = text(field(object, "spec"), "schedule").contains("TZ");
        if zone {
            vec![
                "CRON_TZ or TZ used in spec.schedule is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                    .to_owned(),
            ]
        } else {
            Vec::new()
        }
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

fn time_zone(spec: &Value, path: &Path, errors: &mut ErrorList) {
    if !has(spec, "timeZone") {
        return;
    }
    let (zone, own) = (text(spec, "timeZone"), path.child("timeZone"));
    if zone.is_empty() {
        errors.invalid(&own, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("local") {
        errors.invalid(
            &own,
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    } else if jiff::tz::TimeZone::get(zone).is_err() {
        errors.invalid(&own, zone, format!("unknown time zone {zone}"));
    }
}
