//! Where a pod may run: tolerations, spreading, gates, node selectors.

use super::spec::selector_and_keys;
use crate::validation::{Errors, one_of};
use crate::value::{has, int, list, text, texts};
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
        errors.check(&path, "name", name, forms::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

/// The effect of a taint or a toleration; an empty one is none of them.
pub fn taint_effect(object: &Value, allow_empty: bool, path: &Path, errors: &mut ErrorList) {
    let effect = text(object, "effect");
    let known = TAINT_EFFECTS.contains(&effect) || (allow_empty && effect.is_empty());
    if !known {
        errors.not_supported(&path.child("effect"), effect, &TAINT_EFFECTS);
    }
}

/// `tolerations`.
pub fn tolerations(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, toleration) in list(spec, "tolerations").iter().enumerate() {
        let path = path.child("tolerations").index(i);
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
                    toleration.clone(),
                    "value must be empty when `operator` is 'Exists'",
                );
            }
            "Exists" => {}
            other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
        }
        if has(toleration, "effect") {
            taint_effect(toleration, true, &path, errors);
        }
    }
}

/// `topologySpreadConstraints`.
pub fn topology_spread(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    for (i, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(i);
        let skew = int(constraint, "maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&path.child("maxSkew"), skew, "must be greater than zero");
        }
        let (key, when) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        } else {
            errors.check(&path, "topologyKey", key, forms::qualified_name(key));
        }
        if !matches!(when, "DoNotSchedule" | "ScheduleAnyway") {
            errors.not_supported(
                &path.child("whenUnsatisfiable"),
                when,
                &["DoNotSchedule", "ScheduleAnyway"],
            );
        }
        if !seen.insert((key, when)) {
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
    }
}

/// A NodeSelector: of node affinity, of a persistent volume.
pub fn node_selector(selector: &Value, path: &Path, errors: &mut ErrorList) {
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&path.child("nodeSelectorTerms"), "must have at least one node selector term");
    }
    for (i, term) in terms.iter().enumerate() {
        node_selector_term(term, &path.child("nodeSelectorTerms").index(i), errors);
    }
}

/// One term of a NodeSelector.
pub fn node_selector_term(term: &Value, path: &Path, errors: &mut ErrorList) {
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
        for (j, value) in texts(requirement, "values").enumerate() {
            let messages = forms::label_value(value);
            if !messages.is_empty() {
                errors.check_at(&path.child("values").index(j), value, messages);
            }
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
            for (j, value) in texts(requirement, "values").enumerate() {
                let messages = forms::dns1123_subdomain(value);
                if !messages.is_empty() {
                    errors.check_at(&path.child("values").index(j), value, messages);
                }
            }
        } else {
            errors.invalid(&path.child("key"), key, "not a valid field selector key");
        }
    }
}

/// The weight of a preference.
pub fn weight(weighted: &Value, path: &Path, errors: &mut ErrorList) {
    let weight = int(weighted, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

/// One term of pod affinity.
pub fn pod_affinity_term(term: &Value, path: &Path, errors: &mut ErrorList) {
    selector_and_keys(term, path, errors);
    crate::validation::label_selector(term, "namespaceSelector", path, errors);
    for namespace in texts(term, "namespaces") {
        errors.check(path, "namespace", namespace, forms::dns1123_label(namespace));
    }
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    errors.check(path, "topologyKey", key, forms::qualified_name(key));
}
