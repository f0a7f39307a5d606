//! The rules of the devices of a slice (KEP-4381, KEP-4815, KEP-5007, KEP-5055, KEP-5075).

use super::claim_status::binding;
use super::lists::{limited, unique};
use super::{capacity, names, selectors};
use crate::core::pod::validation::node_selector_without_values;
use crate::validation::{Errors, required_text};
use crate::value::{boolean, entries, field, has, is_true, list, same, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation as forms;
use serde_json::Value;
use std::collections::HashSet;

const DEVICES_MAX: usize = 128;
/// How many devices there can be where one of them has a taint or consumes counters.
const ADVANCED_DEVICES_MAX: usize = 64;
const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTE_MAX_BYTES: usize = 64;
const TAINTS_MAX: usize = 16;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
/// Values of attributes that are lists, of which there are none yet (KEP-5491, which is off).
const LIST_VALUES: [&str; 4] = ["bools", "ints", "strings", "versions"];
const WHERE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";

/// The devices of a slice, and the counters that they share.
pub fn validate(spec: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let (devices, counters) = (list(spec, "devices"), list(spec, "sharedCounters"));
    if has(spec, "sharedCounters") && has(spec, "devices") {
        errors.invalid(path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    if !devices.is_empty() {
        let advanced = |d: &Value| !list(d, "taints").is_empty() || !list(d, "consumesCounters").is_empty();
        let max = if devices.iter().any(advanced) { ADVANCED_DEVICES_MAX } else { DEVICES_MAX };
        let (path, each) = (path.child("devices"), is_true(spec, "perDeviceNodeSelection"));
        limited(devices, max, &path, errors, |one, path, errors| {
            let before = list(old, "devices").iter().find(|old| text(old, "name") == text(one, "name"));
            device(one, before, each, path, errors);
        });
        let mut seen = HashSet::new();
        for (i, device) in devices.iter().enumerate().take(max) {
            let name = text(device, "name");
            if !seen.insert(name) {
                errors.duplicate(&path.index(i), name);
            }
        }
    }
    if !counters.is_empty() {
        let path = path.child("sharedCounters");
        limited(counters, COUNTER_SETS_MAX, &path, errors, |set, path, errors| {
            counter_set(set, "name", path, errors);
        });
        unique(counters, &path, errors, |set| text(set, "name"));
    }
}

/// Fields of devices whose features are off, unless they are in use.
pub fn drop_disabled(slice: &mut Value, old: Option<&Value>) {
    let devices = |slice: &Value| list(field(slice, "spec"), "devices").to_vec();
    let before = old.map(devices).unwrap_or_default();
    let lists = |d: &Value| {
        entries(d, "attributes").any(|(_, attribute)| LIST_VALUES.iter().any(|name| has(attribute, name)))
    };
    let (keeps_lists, keeps_mappings) =
        (before.iter().any(lists), before.iter().any(|d| has(d, "nodeAllocatableResourceMappings")));
    let Some(Value::Array(devices)) = slice.pointer_mut("/spec/devices") else { return };
    for device in devices {
        if !keeps_mappings {
            crate::value::remove(device, "nodeAllocatableResourceMappings");
        }
        let Some(Value::Object(attributes)) = device.get_mut("attributes") else { continue };
        for attribute in attributes.values_mut().filter(|_| !keeps_lists) {
            for name in LIST_VALUES {
                crate::value::remove(attribute, name);
            }
        }
    }
}

fn device(device: &Value, old: Option<&Value>, selects_node: bool, path: &Path, errors: &mut ErrorList) {
    names::label(device, "name", path, errors);
    let count = entries(device, "attributes").count() + entries(device, "capacity").count();
    if count > ATTRIBUTES_MAX {
        let problem =
            format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}");
        errors.invalid(path, count, problem);
    }
    for (key, value) in entries(device, "attributes") {
        let path = path.child("attributes");
        names::qualified(key, &path, errors);
        attribute(value, &path.key(&names::shown_key(key)), errors);
    }
    let shared = is_true(device, "allowMultipleAllocations");
    for (key, value) in entries(device, "capacity") {
        let path = path.child("capacity");
        names::qualified(key, &path, errors);
        let before = old.map_or(&Value::Null, |old| field(field(old, "capacity"), key));
        capacity::validate(value, shared, before, &path.key(&names::shown_key(key)), errors);
    }
    let taints = list(device, "taints");
    if !taints.is_empty() && !old.is_some_and(|old| same(field(old, "taints"), field(device, "taints"))) {
        limited(taints, TAINTS_MAX, &path.child("taints"), errors, selectors::taint);
    }
    let consumed = list(device, "consumesCounters");
    if !consumed.is_empty() {
        let path = path.child("consumesCounters");
        limited(consumed, CONSUMPTIONS_MAX, &path, errors, |set, path, errors| {
            counter_set(set, "counterSet", path, errors);
        });
        unique(consumed, &path, errors, |set| text(set, "counterSet"));
    }
    node(device, selects_node, path, errors);
    binding(device, path, errors);
}

fn attribute(attribute: &Value, path: &Path, errors: &mut ErrorList) {
    let limit = |name: &str, errors: &mut ErrorList| {
        if text(attribute, name).len() > ATTRIBUTE_MAX_BYTES {
            errors.push(FieldError::too_long(&path.child(name), ATTRIBUTE_MAX_BYTES));
        }
    };
    limit("string", errors);
    if has(attribute, "version") && !names::is_version(text(attribute, "version")) {
        errors.invalid(
            &path.child("version"),
            text(attribute, "version"),
            "must be a string compatible with semver.org spec 2.0.0",
        );
    }
    limit("version", errors);
    let given = ["bool", "int", "string", "version"].into_iter().chain(LIST_VALUES);
    match given.filter(|name| has(attribute, name)).count() {
        1 => {}
        0 => errors.invalid(path, "", "exactly one value must be specified"),
        _ => errors.invalid(path, attribute.clone(), "exactly one value must be specified"),
    }
}

/// A set of counters, named by `name`.
fn counter_set(set: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    if required_text(set, name, path, errors) {
        names::label(set, name, path, errors);
    }
    let count = entries(set, "counters").count();
    let path = path.child("counters");
    if count == 0 {
        errors.required(&path, "");
    } else if count > COUNTERS_MAX {
        errors.push(FieldError::too_many(&path, count, COUNTERS_MAX));
    } else {
        for (counter, _) in entries(set, "counters") {
            errors.check_at(&path, counter, forms::dns1123_label(counter));
        }
    }
}

/// Where a device is, if its slice leaves that to the devices.
fn node(device: &Value, selects_node: bool, path: &Path, errors: &mut ErrorList) {
    let fields = ["nodeName", "nodeSelector", "allNodes"];
    if !selects_node {
        if fields.iter().any(|name| has(device, name)) {
            errors.invalid(
                path,
                "null",
                "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
            );
        }
        return;
    }
    let mut given = Vec::new();
    match field(device, "nodeName").as_str() {
        None => {}
        Some("") => errors.invalid(&path.child("nodeName"), "", "must not be empty"),
        Some(name) => {
            given.push("`nodeName`");
            errors.check(path, "nodeName", name, forms::dns1123_subdomain(name));
        }
    }
    if has(device, "nodeSelector") {
        given.push("`nodeSelector`");
        node_selector_without_values(field(device, "nodeSelector"), &path.child("nodeSelector"), errors);
    }
    match boolean(device, "allNodes") {
        None => {}
        Some(true) => given.push("`allNodes`"),
        Some(false) => {
            errors.invalid(&path.child("allNodes"), false, "must be either unset or set to true");
        }
    }
    match given.len() {
        0 => errors.required(path, WHERE),
        1 => {}
        _ => errors.invalid(path, format!("{{{}}}", given.join(", ")), WHERE),
    }
}
