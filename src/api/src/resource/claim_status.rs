//! The rules of a claim's status: what was allocated, for whom, and what drivers say of it (KEP-4381, KEP-4817,
//! KEP-5007, KEP-5075).

use super::claim_spec::{self, references};
use super::lists::{limited, unique};
use super::{names, selectors};
use crate::core::pod::validation::node_selector_without_values;
use crate::validation::{
    Errors, conditions, csi_driver_name, immutable, label_name, required_one_of, required_text,
    sloppy_network,
};
use crate::value::{at, field, has, is_empty_value, list, text};
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::meta;
use serde_json::Value;

const CONSUMERS_MAX: usize = 256;
const RESULTS_MAX: usize = 32;
const BINDING_MAX: usize = 4;
const CONDITIONS_MAX: usize = 8;
const DATA_MAX_BYTES: usize = 10 * 1024;
const ADDRESSES_MAX: usize = 16;
const INTERFACE_MAX_BYTES: usize = 256;
const HARDWARE_MAX_BYTES: usize = 128;

/// An update of a claim's status.
pub fn validate_update(claim: &Value, old: &Value) -> ErrorList {
    let (path, mut errors) = (Path::new("status"), ErrorList::new());
    let (status, before) = (field(claim, "status"), field(old, "status"));
    reserved(claim, old, &path, &mut errors);
    let devices = list(status, "devices");
    if !devices.is_empty() {
        let path = path.child("devices");
        for (i, device) in devices.iter().enumerate() {
            device_status(device, status, &path.index(i), &mut errors);
        }
        unique(devices, &path, &mut errors, identity);
    }
    if has(status, "allocation") {
        if has(before, "allocation") {
            immutable(status, before, "allocation", &path, &mut errors);
        } else {
            let requested = at(claim, &["spec", "devices"]);
            allocation(field(status, "allocation"), requested, &path.child("allocation"), &mut errors);
        }
    }
    errors
}

/// Statuses of devices that were allocated and no longer are.
pub fn drop_deallocated(claim: &mut Value, old: &Value) {
    let results = |claim: &Value| -> Vec<Value> {
        list(at(claim, &["status", "allocation", "devices"]), "results").to_vec()
    };
    let (before, now) = (results(old), results(claim));
    let Some(Value::Array(devices)) = claim.pointer_mut("/status/devices") else { return };
    let among = |results: &[Value], device: &Value| results.iter().any(|r| identity(r) == identity(device));
    devices.retain(|device| !among(&before, device) || among(&now, device));
    if devices.is_empty()
        && let Some(status) = claim.get_mut("status").and_then(Value::as_object_mut)
    {
        status.remove("devices");
    }
}

/// What tells one allocated device from another.
fn identity(device: &Value) -> (&str, &str, &str, &str) {
    (text(device, "driver"), text(device, "pool"), text(device, "device"), text(device, "shareID"))
}

fn reserved(claim: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let status = field(claim, "status");
    let consumers = list(status, "reservedFor");
    if consumers.is_empty() {
        return;
    }
    let path = path.child("reservedFor");
    limited(consumers, CONSUMERS_MAX, &path, errors, |consumer, path, errors| {
        for name in ["resource", "name", "uid"] {
            required_text(consumer, name, path, errors);
        }
    });
    unique(consumers, &path, errors, |consumer| text(consumer, "uid"));
    let before = list(field(old, "status"), "reservedFor");
    if !has(status, "allocation") {
        errors.forbidden(&path, "may not be specified when `allocated` is not set");
    } else if meta::is_terminating(claim) && consumers.iter().any(|consumer| !before.contains(consumer)) {
        errors.forbidden(
            &path,
            "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
        );
    }
}

fn allocation(allocation: &Value, requested: &Value, path: &Path, errors: &mut ErrorList) {
    let (devices, at) = (field(allocation, "devices"), path.child("devices"));
    limited(list(devices, "results"), RESULTS_MAX, &at.child("results"), errors, |result, path, errors| {
        claim_spec::reference(text(result, "request"), requested, &path.child("request"), errors);
        csi_driver_name(result, "driver", path, errors);
        names::pool(result, "pool", path, errors);
        names::label(result, "device", path, errors);
        binding(result, path, errors);
        selectors::tolerations(result, path, errors);
        names::share_id(result, path, errors);
    });
    limited(
        list(devices, "config"),
        2 * claim_spec::MAX,
        &at.child("config"),
        errors,
        |config, path, errors| {
            required_one_of(config, "source", path, &["FromClaim", "FromClass"], errors);
            references(config, requested, path, errors);
            selectors::configuration(config, false, path, errors);
        },
    );
    if has(allocation, "nodeSelector") {
        node_selector_without_values(field(allocation, "nodeSelector"), &path.child("nodeSelector"), errors);
    }
}

/// The conditions under which a device is ready, or never will be.
pub fn binding(object: &Value, path: &Path, errors: &mut ErrorList) {
    let (ready, failed) = (list(object, "bindingConditions"), list(object, "bindingFailureConditions"));
    if ready.is_empty() && failed.is_empty() {
        return;
    }
    let (ready_path, failed_path) = (path.child("bindingConditions"), path.child("bindingFailureConditions"));
    for (list, path) in [(ready, &ready_path), (failed, &failed_path)] {
        limited(list, BINDING_MAX, path, errors, |kind, path, errors| {
            label_name(kind.as_str().unwrap_or_default(), path, errors);
        });
    }
    unique(ready, &ready_path, errors, Value::as_str);
    unique(failed, &failed_path, errors, Value::as_str);
    for (i, kind) in failed.iter().enumerate() {
        if ready.contains(kind) {
            errors.invalid(
                &failed_path.index(i),
                kind.clone(),
                "bindingFailureConditions must not overlap with bindingConditions",
            );
        }
    }
    if ready.is_empty() {
        let problem = "bindingConditions are required to use bindingFailureConditions";
        errors.invalid(&ready_path, field(object, "bindingConditions").clone(), problem);
    }
    if failed.is_empty() {
        let problem = "bindingFailureConditions are required to use bindingConditions";
        errors.invalid(&failed_path, field(object, "bindingFailureConditions").clone(), problem);
    }
}

fn device_status(device: &Value, status: &Value, path: &Path, errors: &mut ErrorList) {
    csi_driver_name(device, "driver", path, errors);
    names::pool(device, "pool", path, errors);
    names::label(device, "device", path, errors);
    names::share_id(device, path, errors);
    let results = list(at(status, &["allocation", "devices"]), "results");
    let identity = identity(device);
    if !results.iter().any(|result| self::identity(result) == identity) {
        let (driver, pool, name, share) = identity;
        let slash = if share.is_empty() { "" } else { "/" };
        let shown = format!("{driver}/{pool}/{name}{slash}{share}");
        errors.invalid(path, shown, "must be an allocated device in the claim");
    }
    let count = list(device, "conditions").len();
    if count > CONDITIONS_MAX {
        errors.push(FieldError::too_many(&path.child("conditions"), count, CONDITIONS_MAX));
    }
    conditions(device, "conditions", path, errors);
    if has(device, "data") {
        selectors::json_object(device, "data", false, DATA_MAX_BYTES, path, errors);
    }
    let network = field(device, "networkData");
    if !is_empty_value(network) {
        network_data(network, &path.child("networkData"), errors);
    }
}

fn network_data(data: &Value, path: &Path, errors: &mut ErrorList) {
    for (name, max) in [("interfaceName", INTERFACE_MAX_BYTES), ("hardwareAddress", HARDWARE_MAX_BYTES)] {
        if text(data, name).len() > max {
            errors.push(FieldError::too_long(&path.child(name), max));
        }
    }
    let addresses = list(data, "ips");
    let path = path.child("ips");
    limited(addresses, ADDRESSES_MAX, &path, errors, |address, path, errors| {
        let address = address.as_str().unwrap_or_default();
        match sloppy_network(address) {
            None => errors.invalid(
                path,
                address,
                "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
            ),
            Some((ip, length)) => {
                let canonical = format!("{ip}/{length}");
                if canonical != address {
                    errors.invalid(path, address, format!("must be in canonical form (\"{canonical}\")"));
                }
            }
        }
    });
    unique(addresses, &path, errors, Value::as_str);
}
