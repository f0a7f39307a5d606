//! Where a pod may run: tolerations, spreading, gates, node selectors.

use crate::validation::{Errors, label_selector, one_of};
use crate::value::{entries, field, has, int, list, text, texts};
use apimachinery::field::{ErrorList, Path};
use apimachinery::validation as forms;
use serde_json::Value;
use std::collections::HashSet;

const TAINT_EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const HONOR: [&str; 2] = ["Honor", "Ignore"];

/// `schedulingGates`: names, each once.
pub fn gates(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen: HashSet<&str> = HashSet::new();
    for (i, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let path = path.child("schedulingGates").index(i);
        let name = text(gate, "name");
        errors.check_at(&path, name, forms::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

/// The effect of a taint or a toleration. That of a toleration may be empty.
pub fn taint_effect(object: &Value, allow_empty: bool, path: &Path, errors: &mut ErrorList) {
    let effect = text(object, "effect");
    if effect.is_empty() {
        if !allow_empty {
            errors.required(&path.child("effect"), "");
        }
    } else if !TAINT_EFFECTS.contains(&effect) {
        errors.not_supported(&path.child("effect"), effect, &TAINT_EFFECTS);
    }
}

/// `tolerations` of an object, at `path`.
pub fn tolerations(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let list_path = path.child("tolerations");
    toleration_list(list(spec, "tolerations"), &list_path, errors);
}

/// A list of tolerations at `path`.
pub fn toleration_list(tolerations: &[Value], path: &Path, errors: &mut ErrorList) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let path = path.index(i);
        let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
        if !key.is_empty() {
            errors.check(&path, "key", key, forms::qualified_name(key));
        }
        if key.is_empty() && operator != "Exists" {
            errors.invalid(
                &path.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if has(toleration, "tolerationSeconds") && text(toleration, "effect") != "NoExecute" {
            errors.invalid(
                &path.child("effect"),
                text(toleration, "effect"),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        let value = text(toleration, "value");
        match operator {
            "" | "Equal" => {
                let messages = forms::label_value(value);
                if !messages.is_empty() {
                    errors.invalid(&path.child("operator"), value, messages.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid(
                    &path.child("operator"),
                    value,
                    "value must be empty when `operator` is 'Exists'",
                );
            }
            "Exists" => {}
            // KEP-5471, which is off.
            "Lt" | "Gt" => {
                errors.not_supported(&path.child("operator"), operator, &["Equal", "Exists", "Lt", "Gt"]);
            }
            other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
        }
        taint_effect(toleration, true, &path, errors);
    }
}

/// `topologySpreadConstraints`.
pub fn topology_spread(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let constraints = list(spec, "topologySpreadConstraints");
    for (i, constraint) in constraints.iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(i);
        let skew = int(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&path.child("maxSkew"), skew, "must be greater than zero");
        }
        let (key, when) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        if !matches!(when, "DoNotSchedule" | "ScheduleAnyway") {
            errors.not_supported(
                &path.child("whenUnsatisfiable"),
                when,
                &["DoNotSchedule", "ScheduleAnyway"],
            );
        }
        // The first of two of the same kind is told, not the second.
        let again =
            |other: &Value| text(other, "topologyKey") == key && text(other, "whenUnsatisfiable") == when;
        if constraints.iter().skip(i + 1).any(again) {
            errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {when}}}"));
        }
        if let Some(domains) = int(constraint, "minDomains") {
            let own = path.child("minDomains");
            if domains <= 0 {
                errors.invalid(&own, domains, "must be greater than zero");
            }
            if when != "DoNotSchedule" {
                errors.invalid(
                    &own,
                    domains,
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"),
                );
            }
        }
        one_of(constraint, "nodeAffinityPolicy", &path, &HONOR, errors);
        one_of(constraint, "nodeTaintsPolicy", &path, &HONOR, errors);
        selector_and_keys(constraint, &path, errors);
        label_selector(constraint, "labelSelector", &path, errors);
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys` beside a `labelSelector` (KEP-3243, KEP-3633).
pub fn selector_and_keys(term: &Value, path: &Path, errors: &mut ErrorList) {
    let selector = field(term, "labelSelector");
    for lists in ["matchLabelKeys", "mismatchLabelKeys"] {
        if list(term, lists).is_empty() {
            continue;
        }
        let own = path.child(lists);
        if selector.is_null() {
            errors.forbidden(&own, "must not be specified when labelSelector is not set");
            continue;
        }
        for (i, key) in texts(term, lists).enumerate() {
            let messages = forms::qualified_name(key);
            if !messages.is_empty() {
                errors.check_at(&own.index(i), key, messages);
            }
        }
    }
    if list(term, "matchLabelKeys").is_empty() {
        return;
    }
    // What the keys stand for was written into the selector already, so once is fine.
    let mut selected: Vec<&str> = entries(selector, "matchLabels").map(|(key, _)| key).collect();
    for expression in list(selector, "matchExpressions") {
        let key = text(expression, "key");
        let index = texts(term, "matchLabelKeys").position(|other| other == key);
        if let Some(index) = index
            && selected.contains(&key)
        {
            // The index stands at the term itself.
            errors.invalid(&path.index(index), key, "exists in both matchLabelKeys and labelSelector");
        }
        selected.push(key);
    }
    for (i, key) in texts(term, "matchLabelKeys").enumerate() {
        if texts(term, "mismatchLabelKeys").any(|other| other == key) {
            errors.invalid(
                &path.child("matchLabelKeys").index(i),
                key,
                "exists in both matchLabelKeys and mismatchLabelKeys",
            );
        }
    }
}

/// A NodeSelector: of node affinity, of a persistent volume.
pub fn node_selector(selector: &Value, path: &Path, errors: &mut ErrorList) {
    node_selector_terms(selector, true, path, errors);
}

/// A NodeSelector whose labels may have values that no label has: of slices and claims.
pub fn node_selector_without_values(selector: &Value, path: &Path, errors: &mut ErrorList) {
    node_selector_terms(selector, false, path, errors);
}

fn node_selector_terms(selector: &Value, check_values: bool, path: &Path, errors: &mut ErrorList) {
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&path.child("nodeSelectorTerms"), "must have at least one node selector term");
    }
    for (i, term) in terms.iter().enumerate() {
        node_selector_term(term, check_values, &path.child("nodeSelectorTerms").index(i), errors);
    }
}

/// One term of a NodeSelector. `check_values`: whether labels must have a value that there can be.
pub fn node_selector_term(term: &Value, check_values: bool, path: &Path, errors: &mut ErrorList) {
    for (i, requirement) in list(term, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values = list(requirement, "values");
        match text(requirement, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                errors
                    .required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "Exists" | "DoesNotExist" => {}
            "Gt" | "Lt" if values.len() != 1 => errors.required(
                &path.child("values"),
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            ),
            "Gt" | "Lt" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        let key = text(requirement, "key");
        errors.check(&path, "key", key, forms::qualified_name(key));
        if check_values {
            checked_values(requirement, forms::label_value, &path, errors);
        }
    }
    for (i, requirement) in list(term, "matchFields").iter().enumerate() {
        let path = path.child("matchFields").index(i);
        let (key, values) = (text(requirement, "key"), list(requirement, "values"));
        match text(requirement, "operator") {
            "In" | "NotIn" if values.len() != 1 => errors.required(
                &path.child("values"),
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            ),
            "In" | "NotIn" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        if key == "metadata.name" {
            checked_values(requirement, forms::dns1123_subdomain, &path, errors);
        } else {
            errors.invalid(&path.child("key"), key, "not a valid field selector key");
        }
    }
}

fn checked_values(requirement: &Value, form: fn(&str) -> Vec<String>, path: &Path, errors: &mut ErrorList) {
    for (i, value) in texts(requirement, "values").enumerate() {
        let messages = form(value);
        if !messages.is_empty() {
            errors.check_at(&path.child("values").index(i), value, messages);
        }
    }
}
