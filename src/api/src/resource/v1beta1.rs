//! `resource.k8s.io/v1beta1`, where requests and devices had another form (KEP-4381, KEP-4816).

use crate::value::{list_mut, object_mut, remove, set, text};
use apimachinery::status::Status;
use serde_json::{Map, Value};

/// Fields of a request that are in `exactly` since v1beta2.
const EXACTLY: [&str; 7] =
    ["adminAccess", "allocationMode", "capacity", "count", "deviceClassName", "selectors", "tolerations"];
const OLD: &str = "resource.k8s.io/v1beta1";

/// Converts the requests in the `spec.devices` of a claim's spec.
pub fn convert_claim_spec(spec: &mut Value, from: &str, to: &str) {
    let Some(devices) = object_mut(spec, "devices") else { return };
    for request in list_mut(devices, "requests") {
        if from == OLD && to != OLD {
            let mut exact = Map::new();
            for name in EXACTLY {
                if let Some(value) = remove(request, name) {
                    exact.insert(name.to_owned(), value);
                }
            }
            if !exact.is_empty() {
                set(request, "exactly", exact);
            }
        } else if from != OLD
            && to == OLD
            && let Some(Value::Object(exact)) = remove(request, "exactly")
        {
            for (name, value) in exact {
                set(request, &name, value);
            }
        }
    }
}

/// Converts the devices of a slice.
pub fn convert_devices(spec: &mut Value, from: &str, to: &str) {
    for device in list_mut(spec, "devices") {
        if from == OLD && to != OLD {
            if let Some(Value::Object(basic)) = remove(device, "basic") {
                for (name, value) in basic {
                    set(device, &name, value);
                }
            }
        } else if from != OLD && to == OLD {
            let Some(all) = device.as_object_mut() else { continue };
            let name = all.remove("name");
            let basic = std::mem::take(all);
            if let Some(name) = name {
                all.insert("name".to_owned(), name);
            }
            all.insert("basic".to_owned(), Value::Object(basic));
        }
    }
}

/// Sets the version after `spec` was converted by `convert`.
///
/// # Errors
/// Never; the form is that of [`crate::Kind::convert`].
pub fn whole(
    object: &mut Value,
    path: &[&str],
    versions: (&str, &str),
    convert: fn(&mut Value, &str, &str),
) -> Result<(), Status> {
    if let Some(spec) = crate::value::at_mut(object, path) {
        convert(spec, versions.0, versions.1);
    }
    set(object, "apiVersion", versions.1);
    Ok(())
}

/// Fills in how many devices a request is for.
pub fn default_requests(spec: &mut Value) {
    let Some(devices) = object_mut(spec, "devices") else { return };
    for request in list_mut(devices, "requests") {
        if let Some(exact) = object_mut(request, "exactly") {
            default_count(exact);
        }
        list_mut(request, "firstAvailable").iter_mut().for_each(default_count);
    }
}

fn default_count(request: &mut Value) {
    crate::value::default_text(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        crate::value::default_int(request, "count", 1);
    }
    default_tolerations(request);
}

/// Fills in how `tolerations` compare.
pub fn default_tolerations(object: &mut Value) {
    for toleration in list_mut(object, "tolerations") {
        crate::value::default_text(toleration, "operator", "Equal");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn claims_and_devices_survive_both_ways() {
        let old = json!({"devices": {"requests": [{"name": "a", "deviceClassName": "c", "count": 1}]}});
        let mut spec = old.clone();
        convert_claim_spec(&mut spec, OLD, "resource.k8s.io/v1");
        assert_eq!(
            spec,
            json!({"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "c", "count": 1}}]}})
        );
        convert_claim_spec(&mut spec, "resource.k8s.io/v1", OLD);
        assert_eq!(spec, old);
        let old = json!({"devices": [{"name": "d", "basic": {"attributes": {"a": {"int": 1}}}}]});
        let mut spec = old.clone();
        convert_devices(&mut spec, OLD, "resource.k8s.io/v1");
        assert_eq!(spec, json!({"devices": [{"name": "d", "attributes": {"a": {"int": 1}}}]}));
        convert_devices(&mut spec, "resource.k8s.io/v1", OLD);
        assert_eq!(spec, old);
    }
}
