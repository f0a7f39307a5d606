//! Job: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/>.

use super::{failure_policy, job_rules};
use crate::apps::workload::{self, template_cells, template_columns};
use crate::columns::{age, last_condition, name, translate_timestamp_since};
use crate::core::pod::strategy::drop_disabled_template;
use crate::kind::Kind;
use crate::validation::{Errors, immutable};
use crate::value::{
    at, at_mut, copy, default, equivalent, field, has, int, is_empty, is_true, list, list_mut, same, text,
};
use apimachinery::field::{ErrorList, Path};
use apimachinery::labels::Selector;
use apimachinery::table::Column;
use apimachinery::{meta, time, validation as forms};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The label that ties pods to their job; its value is the job's uid.
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
/// The label that names a pod's job.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// The same two under the names that they had before they had a domain.
const OLD_CONTROLLER_UID: &str = "controller-uid";
const OLD_JOB_NAME: &str = "job-name";

/// The kind.
#[derive(Debug)]
pub struct Job;

impl Kind for Job {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("batch", "Job")
    }

    fn categories(&self) -> &'static [&'static str] {
        &["all"]
    }

    fn default(&self, object: &mut Value) {
        label_as_template(object);
        let Some(spec) = workload::spec_mut(object) else { return };
        if !has(spec, "completions") && !has(spec, "parallelism") {
            default(spec, "completions", 1);
        }
        default(spec, "parallelism", 1);
        let limit = if has(spec, "backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
        default(spec, "backoffLimit", limit);
        default(spec, "completionMode", "NonIndexed");
        default(spec, "suspend", false);
        default(spec, "manualSelector", false);
        let replace = if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        default(spec, "podReplacementPolicy", replace);
        failure_policy::fill(spec);
        workload::default_template(spec);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        drop_disabled_template(object, None);
        generate_selector(object);
        label_as_template(object);
    }

    fn writes_name_on_create(&self) -> bool {
        true
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        drop_disabled_template(object, Some(old));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate(object, true, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let (spec, old_spec) = (field(object, "spec"), field(old, "spec"));
        let had = |label: &str| at(old_spec, &["template", "metadata", "labels", label]).is_string();
        validate(object, had(JOB_NAME) && had(CONTROLLER_UID), &mut errors);
        completions_update(spec, old_spec, &path, &mut errors);
        immutable(spec, old_spec, "selector", &path, &mut errors);
        template_update(spec, old, &path, &mut errors);
        for name in
            ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
        {
            immutable(spec, old_spec, name, &path, &mut errors);
        }
        errors
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        super::job_status::validate(object, old)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = crate::core::pod_warnings::of_template(object);
        warnings.extend(job_rules::size_warning(field(object, "spec"), "spec"));
        warnings
    }

    fn warnings_on_update(&self, object: &Value, old: &Value) -> Vec<String> {
        workload::warnings_of_change(self, object, old)
    }

    fn warnings_on_create(&self, object: &Value) -> Vec<String> {
        workload::name_warning(object).into_iter().collect()
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("status.successful", int(field(object, "status"), "succeeded").unwrap_or(0).to_string())]
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![
            Column::object_name(),
            Column::new("Status").describe("Status of the job."),
            Column::new("Completions"),
            Column::new("Duration").describe("Time required to complete the job."),
            Column::age(),
        ];
        columns.extend(template_columns());
        columns
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (field(object, "spec"), field(object, "status"));
        let mut row = vec![
            name(object),
            Value::from(shown_status(object)),
            Value::from(completions(spec, status)),
            Value::from(duration(status, now)),
            age(object, now),
        ];
        row.extend(template_cells(spec));
        row
    }
}

fn shown_status(object: &Value) -> &'static str {
    let holds = |kind| last_condition(object, kind).is_some_and(|c| text(c, "status") == "True");
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if meta::is_terminating(object) {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(spec: &Value, status: &Value) -> String {
    let succeeded = int(status, "succeeded").unwrap_or(0);
    match (int(spec, "completions"), int(spec, "parallelism").unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(status: &Value, now: Timestamp) -> String {
    let (start, end) = (text(status, "startTime"), text(status, "completionTime"));
    if start.is_empty() {
        return String::new();
    }
    let end = if end.is_empty() { Some(now) } else { time::parse(end) };
    translate_timestamp_since(start, end.unwrap_or(now))
}

/// A job without labels has its template's.
fn label_as_template(object: &mut Value) {
    if !is_empty(field(object, "metadata"), "labels") {
        return;
    }
    if let Value::Object(labels) = at(object, &["spec", "template", "metadata", "labels"]).clone()
        && !labels.is_empty()
    {
        meta::set(object, "labels", Value::Object(labels));
    }
}

/// The labels by which a job finds its pods hold its uid, so that no two jobs share pods.
fn generate_selector(object: &mut Value) {
    if is_true(field(object, "spec"), "manualSelector") {
        return;
    }
    let (uid, name) = (meta::uid(object).to_owned(), meta::name(object).to_owned());
    let Some(spec) = workload::spec_mut(object) else { return };
    if let Some(labels) = workload::ensure(spec, &["template", "metadata", "labels"]) {
        for (key, value) in
            [(OLD_CONTROLLER_UID, &uid), (CONTROLLER_UID, &uid), (OLD_JOB_NAME, &name), (JOB_NAME, &name)]
        {
            default(labels, key, value.clone());
        }
    }
    if let Some(matched) = workload::ensure(spec, &["selector", "matchLabels"]) {
        default(matched, CONTROLLER_UID, uid);
    }
}

fn validate(object: &Value, prefixed_labels: bool, errors: &mut ErrorList) {
    let spec = field(object, "spec");
    generated_labels(object, prefixed_labels, errors);
    job_rules::spec(spec, &Path::new("spec"), errors);
    let completions = int(spec, "completions").unwrap_or(0);
    if text(spec, "completionMode") == "Indexed" && completions > 0 {
        let hostname = format!("{}-{}", meta::name(object), completions - 1);
        if !forms::dns1123_label(&hostname).is_empty() {
            errors.invalid(
                &Path::new("metadata").child("name"),
                meta::name(object),
                format!("will not able to create pod with invalid DNS label: {hostname}"),
            );
        }
    }
}

/// A selector that was not generated is only for those who say that they know.
fn generated_labels(object: &Value, prefixed: bool, errors: &mut ErrorList) {
    let spec = field(object, "spec");
    if is_true(spec, "manualSelector") || !has(spec, "selector") {
        return;
    }
    let (uid, name) = (meta::uid(object), meta::name(object));
    let path = Path::new("spec");
    let labels = at(spec, &["template", "metadata", "labels"]);
    let mut all = vec![(OLD_CONTROLLER_UID, uid), (OLD_JOB_NAME, name)];
    if prefixed {
        all.extend([(CONTROLLER_UID, uid), (JOB_NAME, name)]);
    }
    for (key, wanted) in &all {
        let own = || path.child("template").child("metadata").child("labels").key(key);
        match labels.get(key).and_then(Value::as_str) {
            None => errors.required(&own(), &format!("must be '{wanted}'")),
            Some(given) if given != *wanted => {
                errors.invalid(&own(), labels.clone(), format!("must be '{wanted}'"));
            }
            Some(_) => {}
        }
    }
    let generated: Map<String, Value> =
        all.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
    if let Ok(selector) = Selector::from_label_selector(field(spec, "selector"))
        && !selector.matches(&generated)
    {
        errors.invalid(
            &path.child("selector"),
            field(spec, "selector").clone(),
            "`selector` not auto-generated",
        );
    }
}

/// How often a job has to complete only changes together with how many pods an indexed job runs (KEP-3715).
fn completions_update(spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    if text(spec, "completionMode") != "Indexed" {
        return immutable(spec, old, "completions", path, errors);
    }
    let (new, old) = (int(spec, "completions"), int(old, "completions"));
    if let Some(completions) = new
        && new != old
        && new != int(spec, "parallelism")
    {
        errors.invalid(
            &path.child("completions"),
            completions,
            "can only be modified in tandem with spec.parallelism",
        );
    }
}

/// The template never changes, but for where pods may run and what they ask for while the job is suspended and has no
/// pods (KEP-2926, KEP-5440).
fn template_update(spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let old_spec = field(old, "spec");
    let (template, old_template) = (field(spec, "template"), field(old_spec, "template"));
    if template == old_template {
        return;
    }
    let idle = int(field(old, "status"), "active").unwrap_or(0) == 0;
    let same = if is_true(old_spec, "suspend") && idle {
        equivalent(&as_before(template, old_template), old_template)
    } else {
        equivalent(template, old_template)
    };
    if !same {
        errors.invalid(&path.child("template"), template.clone(), "field is immutable");
    }
}

/// The template with everything that may change while the job is suspended as it was.
fn as_before(template: &Value, old: &Value) -> Value {
    let mut template = template.clone();
    if let Some(metadata) = at_mut(&mut template, &["metadata"]) {
        for name in ["annotations", "labels"] {
            copy(metadata, field(old, "metadata"), name);
        }
    }
    let Some(pod) = at_mut(&mut template, &["spec"]) else { return template };
    let old = field(old, "spec");
    for name in ["nodeSelector", "tolerations", "schedulingGates"] {
        copy(pod, old, name);
    }
    let node_affinity = field(old, "affinity").get("nodeAffinity");
    if let Some(node_affinity) = node_affinity
        && let Some(affinity) = workload::ensure(pod, &["affinity"])
    {
        crate::value::set(affinity, "nodeAffinity", node_affinity.clone());
    } else if let Some(affinity) = at_mut(pod, &["affinity"]) {
        crate::value::remove(affinity, "nodeAffinity");
    }
    for lists in ["containers", "initContainers"] {
        for (container, old) in list_mut(pod, lists).iter_mut().zip(list(old, lists)) {
            if same(field(container, "name"), field(old, "name")) {
                resources_as_before(container, old);
            }
        }
    }
    template
}

/// What a container asks for, and may use at most, as it was; claims are none of that.
fn resources_as_before(container: &mut Value, old: &Value) {
    let old = field(old, "resources");
    if let Some(resources) = workload::ensure(container, &["resources"]) {
        for name in ["limits", "requests"] {
            copy(resources, old, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job() -> Value {
        let mut object = json!({
            "metadata": {"name": "j", "uid": "u1"},
            "spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}],
            }}},
        });
        Job.default(&mut object);
        Job.prepare_for_create(&mut object);
        object
    }

    #[test]
    fn a_job_gets_a_selector_of_its_own() {
        let object = job();
        assert_eq!(Job.validate(&object), vec![]);
        assert_eq!(object["spec"]["selector"]["matchLabels"][CONTROLLER_UID], "u1");
        assert_eq!(object["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
        assert_eq!(object["spec"]["backoffLimit"], 6);
    }

    #[test]
    fn pods_of_a_job_are_not_always_restarted() {
        let mut object = job();
        object["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
        assert_eq!(
            Job.validate(&object)[0].to_string(),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
        );
    }

    #[test]
    fn the_template_is_immutable() {
        let mut new = job();
        new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
        let errors = Job.validate_update(&new, &job());
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().ends_with("field is immutable"));
    }

    fn told(new: &Value, old: &Value) -> Vec<String> {
        Job.validate_update(new, old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_suspended_job_s_pods_may_be_placed_and_sized_anew() {
        let mut old = job();
        old["spec"]["suspend"] = json!(true);
        let mut new = old.clone();
        let pod = &mut new["spec"]["template"]["spec"];
        pod["nodeSelector"] = json!({"disk": "fast"});
        pod["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}});
        pod["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
        assert_eq!(told(&new, &old), Vec::<String>::new());
        // What was set can be taken back.
        assert_eq!(told(&old, &new), Vec::<String>::new());
        new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
        assert!(told(&new, &old)[0].ends_with("field is immutable"));
        new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("busybox");
        old["status"] = json!({"active": 1});
        assert!(told(&new, &old)[0].ends_with("field is immutable"));
    }

    #[test]
    fn completions_of_an_indexed_job_change_with_its_parallelism() {
        let mut old = job();
        old["spec"]["completionMode"] = json!("Indexed");
        old["spec"]["parallelism"] = json!(1);
        let mut new = old.clone();
        new["spec"]["completions"] = json!(3);
        assert_eq!(
            told(&new, &old),
            ["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"]
        );
        new["spec"]["parallelism"] = json!(3);
        assert_eq!(told(&new, &old), Vec::<String>::new());
        let mut plain = job();
        plain["spec"]["completions"] = json!(3);
        assert_eq!(told(&plain, &job()), ["spec.completions: Invalid value: 3: field is immutable"]);
    }

    #[test]
    fn generated_labels_are_the_job_s_own() {
        let mut object = job();
        object["spec"]["template"]["metadata"]["labels"] =
            json!({"controller-uid": "u1", "job-name": "j", CONTROLLER_UID: "u2"});
        object["spec"]["selector"]["matchLabels"] = json!({CONTROLLER_UID: "u2"});
        let told: Vec<String> = Job.validate(&object).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3);
        assert!(told[0].starts_with(
            "spec.template.metadata.labels[batch.kubernetes.io/controller-uid]: Invalid value: {"
        ));
        assert!(told[0].ends_with("}: must be 'u1'"));
        assert_eq!(
            told[1],
            "spec.template.metadata.labels[batch.kubernetes.io/job-name]: Required value: must be 'j'"
        );
        assert!(
            told[2].starts_with("spec.selector: Invalid value: ")
                && told[2].ends_with("`selector` not auto-generated")
        );
    }

    #[test]
    fn pods_of_an_indexed_job_have_host_names() {
        let mut object = job();
        object["metadata"]["name"] = json!("j.x");
        object["spec"]["completionMode"] = json!("Indexed");
        object["spec"]["template"]["metadata"]["labels"]["job-name"] = json!("j.x");
        object["spec"]["template"]["metadata"]["labels"][JOB_NAME] = json!("j.x");
        assert_eq!(
            Job.validate(&object)[0].to_string(),
            "metadata.name: Invalid value: \"j.x\": will not able to create pod with invalid DNS label: j.x-0"
        );
        assert!(Job.warnings_on_create(&object)[0].starts_with(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [a lowercase RFC 1123 label must"
        ));
    }

    #[test]
    fn the_table_tells_how_long_it_took() {
        let mut object = job();
        object["status"] = json!({
            "succeeded": 1, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:12Z",
            "conditions": [{"type": "Complete", "status": "True"}],
        });
        let row = Job.row(&object, Timestamp::UNIX_EPOCH);
        assert_eq!((&row[1], &row[2], &row[3]), (&json!("Complete"), &json!("1/1"), &json!("12s")));
    }
}
