//! What the kinds that make pods from a template share.

use crate::Kind;
use crate::columns::{container_names, images, selector_text};
use crate::core::pod::validation as pods;
use crate::validation::{self as rules, Errors, label_selector, percent_of, selector_is_empty};
use crate::value::{at, at_mut, field, has, int, text};
use apimachinery::field::{ErrorList, Path};
use apimachinery::labels::Selector;
use apimachinery::table::Column;
use apimachinery::{meta, validation};
use serde_json::{Map, Value};

/// The selector of a workload's spec: there, not empty, well formed, and matching the template's labels. `words`
/// is what the message calls the kind.
pub fn selector_and_template(spec: &Value, words: &str, path: &Path, errors: &mut ErrorList) {
    if spec.get("selector").is_none() {
        errors.required(&path.child("selector"), "");
    }
    given_selector(spec, words, path, errors);
    template(spec, path, errors);
}

/// The selector of a spec, if there is one: as [`selector_and_template`].
pub fn given_selector(spec: &Value, words: &str, path: &Path, errors: &mut ErrorList) {
    let Some(selector) = spec.get("selector") else { return };
    label_selector(spec, "selector", path, errors);
    if selector_is_empty(selector) {
        errors.invalid(
            &path.child("selector"),
            selector.clone(),
            format!("empty selector is invalid for {words}"),
        );
    }
}

/// The template, whose labels the spec's selector must match.
pub fn template(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("template");
    let template = field(spec, "template");
    let selector = field(spec, "selector");
    match Selector::from_label_selector(selector) {
        Ok(parsed) if !selector_is_empty(selector) => {
            let labels = at(template, &["metadata", "labels"]);
            if !parsed.matches(labels.as_object().unwrap_or(&Map::new())) {
                not_selected(labels, &path, errors);
            }
        }
        _ => {}
    }
    pods::template(template, &path, errors);
}

/// The labels of the template at `path` are not those that the selector asks for.
pub fn not_selected(labels: &Value, path: &Path, errors: &mut ErrorList) {
    errors.invalid(
        &path.child("metadata").child("labels"),
        if labels.is_null() { Value::Object(Map::new()) } else { labels.clone() },
        "`selector` does not match template `labels`",
    );
}

/// Pods of a replicated workload are always restarted and never end by a deadline.
pub fn always_restarted(spec: &Value, kind: &str, path: &Path, errors: &mut ErrorList) {
    let (path, pod) = (path.child("template").child("spec"), at(spec, &["template", "spec"]));
    let policy = text(pod, "restartPolicy");
    if matches!(policy, "OnFailure" | "Never") {
        errors.not_supported(&path.child("restartPolicy"), policy, &["Always"]);
    }
    if has(pod, "activeDeadlineSeconds") {
        errors.forbidden(
            &path.child("activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {kind} is not Supported"),
        );
    }
}

/// A warning about a name that is right for the object, but not for the pods that are named after it.
pub fn name_warning(object: &Value) -> Option<String> {
    let problems = validation::dns1123_label(meta::name(object));
    (!problems.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        )
    })
}

/// The warnings of a kind, where an update changed what is wanted of the object: otherwise they have been given already.
pub fn warnings_of_change(kind: &dyn Kind, object: &Value, old: &Value) -> Vec<String> {
    if meta::generation(object) == meta::generation(old) { Vec::new() } else { kind.warnings(object) }
}

/// The spec's selector never changes.
pub fn immutable_selector(object: &Value, old: &Value, errors: &mut ErrorList) {
    rules::immutable(field(object, "spec"), field(old, "spec"), "selector", &Path::new("spec"), errors);
}

/// Counters of a status: none is negative, and for each `(lesser, greater, words)` the first is not above the
/// second.
pub fn status_counters(
    status: &Value,
    counters: &[&str],
    bounds: &[(&str, &str, &str)],
    errors: &mut ErrorList,
) {
    let path = Path::new("status");
    for name in counters {
        rules::non_negative(status, name, &path, errors);
    }
    for (lesser, greater, words) in bounds {
        let (less, more) = (int(status, lesser).unwrap_or(0), int(status, greater).unwrap_or(0));
        if less > more {
            errors.invalid(&path.child(lesser), less, format!("cannot be greater than {words}"));
        }
    }
}

/// A counter of hash collisions only rises.
pub fn collision_count(object: &Value, old: &Value, errors: &mut ErrorList) {
    let count = |o: &Value| int(field(o, "status"), "collisionCount");
    let path = Path::new("status").child("collisionCount");
    match (count(object), count(old)) {
        (Some(new), Some(old)) if new < old => errors.invalid(&path, new, "cannot be decremented"),
        (None, Some(_)) => errors.invalid(&path, 0, "cannot be decremented"),
        _ => {}
    }
}

/// `maxUnavailable` or the like: a number or a percentage of at most 100.
pub fn share(strategy: &Value, name: &str, at_most_all: bool, path: &Path, errors: &mut ErrorList) {
    rules::int_or_percent(strategy, name, path, errors);
    let value = field(strategy, name);
    if at_most_all && percent_of(value).is_some_and(|percent| percent > 100) {
        errors.invalid(&path.child(name), value.clone(), "must not be greater than 100%");
    }
}

/// Whether a number or percentage is zero.
pub fn is_nothing(value: &Value) -> bool {
    value.as_i64().or_else(|| percent_of(value)).unwrap_or(0) == 0
}

/// The template's defaults.
pub fn default_template(spec: &mut Value) {
    crate::core::pod::defaults::template(spec);
}

/// The annotations of the last rollout do not count as a change of the template.
pub fn template_changed(object: &Value, old: &Value) -> bool {
    field(field(object, "spec"), "template") != field(field(old, "spec"), "template")
}

/// The wide columns of a workload.
pub fn template_columns() -> [Column; 3] {
    [
        Column::new("Containers").describe("Names of each container in the template.").wide(),
        Column::new("Images").describe("Images referenced by each container in the template.").wide(),
        Column::new("Selector").wide(),
    ]
}

/// Their cells.
pub fn template_cells(spec: &Value) -> [Value; 3] {
    let pod = at(spec, &["template", "spec"]);
    [container_names(pod), images(pod), selector_text(field(spec, "selector"))]
}

/// The object in a field of `spec`, made where it is absent.
pub fn ensure<'a>(spec: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(spec, |value, name| crate::value::ensure_object(value, name))
}

/// The spec, to change it.
pub fn spec_mut(object: &mut Value) -> Option<&mut Value> {
    at_mut(object, &["spec"])
}
