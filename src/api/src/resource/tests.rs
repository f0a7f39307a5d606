#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

use super::device_class::DeviceClass;
use super::resource_claim::ResourceClaim;
use super::resource_claim_template::ResourceClaimTemplate;
use super::resource_slice::ResourceSlice;
use crate::Kind;
use apimachinery::field::ErrorList;
use serde_json::{Value, json};

fn texts(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn claim(devices: Value) -> Value {
    let mut claim = json!({"metadata": {"name": "c"}, "spec": {"devices": devices}, "status": {}});
    ResourceClaim.default(&mut claim);
    claim
}

fn claim_errors(devices: Value) -> Vec<String> {
    texts(&ResourceClaim.validate(&claim(devices)))
}

#[test]
fn a_request_is_exact_or_a_choice() {
    assert_eq!(
        claim_errors(json!({"requests": [
            {"name": "a", "exactly": {"deviceClassName": "gpu"}},
            {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "gpu"}]}],
            "constraints": [{"requests": ["a", "b/x"], "matchAttribute": "gpu.example.com/numa"}],
            "config": [{"requests": ["b"], "opaque": {"driver": "gpu.example.com", "parameters": {"a": 1}}}]})),
        Vec::<String>::new()
    );
    assert_eq!(
        claim_errors(json!({"requests": [
            {"name": "a"},
            {"name": "b", "exactly": {"deviceClassName": "gpu"},
             "firstAvailable": [{"name": "x", "deviceClassName": "gpu"}]},
            {"name": "c", "exactly": {"allocationMode": "All", "count": 2}},
            {"name": "d", "exactly": {"deviceClassName": "gpu", "allocationMode": "Some"}},
            {"name": "e", "exactly": {"deviceClassName": "gpu", "count": -1}}]})),
        [
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "spec.devices.requests[1]: Invalid value: \"null\": exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
            "spec.devices.requests[2].exactly.deviceClassName: Required value",
            "spec.devices.requests[2].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            "spec.devices.requests[3].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"",
            "spec.devices.requests[4].exactly.count: Invalid value: -1: must be greater than zero",
        ]
    );
}

#[test]
fn requests_are_referred_to_by_name() {
    let request = json!({"name": "a", "exactly": {"deviceClassName": "gpu"}});
    let reference = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    assert_eq!(
        claim_errors(json!({"requests": [request],
            "constraints": [{"requests": ["b", "a/x", "a/x/y", "a", "a"]}],
            "config": [{"opaque": {"parameters": [1]}}, {}]})),
        [
            format!("spec.devices.constraints[0].requests[0]: Invalid value: \"b\": {reference}"),
            format!("spec.devices.constraints[0].requests[1]: Invalid value: \"a/x\": {reference}"),
            format!("spec.devices.constraints[0].requests[2]: Invalid value: \"a/x/y\": {reference}"),
            "spec.devices.constraints[0].requests[4]: Duplicate value: \"a\"".to_owned(),
            "spec.devices.constraints[0]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set".to_owned(),
            "spec.devices.config[0].opaque.driver: Required value".to_owned(),
            "spec.devices.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a valid JSON object".to_owned(),
            "spec.devices.config[1].opaque: Required value".to_owned(),
        ]
    );
    assert_eq!(
        claim_errors(json!({"requests": vec![request; 33]})),
        ["spec.devices.requests: Too many: 33: must have at most 32 items"]
            .map(str::to_owned)
            .into_iter()
            .chain((1..33).map(|i| format!(
                "spec.devices.requests[{i}]: Duplicate value: {}",
                json!({"name": "a", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}})
            )))
            .collect::<Vec<_>>()
    );
}

#[test]
fn expressions_are_about_a_device() {
    let class = |expression: &str| {
        let class = json!({"spec": {"selectors": [{"cel": {"expression": expression}}]}});
        texts(&DeviceClass.validate(&class))
    };
    for good in [
        "device.driver == 'gpu.example.com'",
        "device.attributes['gpu.example.com'].model == 'a100' && device.allowMultipleAllocations",
        "device.capacity['gpu.example.com'].memory.compareTo(quantity('1Gi')) >= 0",
        "cel.bind(a, device.attributes['gpu.example.com'], a.fast && a.version.isGreaterThan(semver('1.0.0')))",
        "device.attributes['gpu.example.com'].fast",
    ] {
        assert_eq!(class(good), Vec::<String>::new(), "{good}");
    }
    assert_eq!(
        class("device.driver"),
        [
            "spec.selectors[0].cel.expression: Invalid value: \"device.driver\": must evaluate to bool or the unknown type, not string"
        ]
    );
    assert!(
        class("device.nothing")[0].starts_with(
            "spec.selectors[0].cel.expression: Invalid value: \"device.nothing\": compilation failed: ERROR: <input>:1:7: undefined field 'nothing'"
        )
    );
    assert_eq!(
        texts(&DeviceClass.validate(&json!({"spec": {"selectors": [{}], "extendedResourceName": "cpu",
            "config": [{"opaque": {"driver": "a_b", "parameters": {}}}]}})))
        .iter()
        .map(|e| e.split(": ").take(2).collect::<Vec<_>>().join(": "))
        .collect::<Vec<_>>(),
        [
            "spec.selectors[0].cel: Required value",
            "spec.config[0].opaque.driver: Invalid value",
            "spec.extendedResourceName: Invalid value",
        ]
    );
}

#[test]
fn specs_do_not_change() {
    let old = claim(json!({"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu"}}]}));
    let mut new = old.clone();
    new["spec"]["devices"]["requests"][0]["name"] = json!("b");
    let shown = new["spec"].to_string();
    assert_eq!(
        texts(&ResourceClaim.validate_update(&new, &old)),
        [format!("spec: Invalid value: {shown}: field is immutable")]
    );
    let template =
        json!({"spec": {"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"devices": {}}}});
    assert_eq!(
        texts(&ResourceClaimTemplate.validate(&template)),
        ["spec.metadata.name: Forbidden: cannot be set"]
    );
}

#[test]
fn a_claim_is_reserved_once_allocated() {
    let devices = json!({"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu"}}]});
    let old = claim(devices);
    let errors = |status: Value, old: &Value| {
        let mut new = old.clone();
        new["status"] = status;
        texts(&ResourceClaim.validate_status_update(&new, old))
    };
    assert_eq!(
        errors(json!({"reservedFor": [{"resource": "pods"}]}), &old),
        [
            "status.reservedFor[0].name: Required value",
            "status.reservedFor[0].uid: Required value",
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
        ]
    );
    let result = json!({"request": "a", "driver": "gpu.example.com", "pool": "node-1", "device": "gpu-0"});
    let allocated = json!({"allocation": {"devices": {"results": [result]}},
        "reservedFor": [{"resource": "pods", "name": "p", "uid": "1"}],
        "devices": [{"driver": "gpu.example.com", "pool": "node-1", "device": "gpu-0",
            "networkData": {"ips": ["10.0.0.1/24"]}}]});
    assert_eq!(errors(allocated.clone(), &old), Vec::<String>::new());
    let mut stored = old.clone();
    stored["status"] = allocated.clone();
    let mut other = allocated.clone();
    other["allocation"]["devices"]["results"][0]["device"] = json!("gpu-1");
    other["devices"][0]["networkData"]["ips"] = json!(["10.0.0.1", "010.0.0.1/24"]);
    let found = errors(other, &stored);
    assert_eq!(
        found[..3],
        [
            "status.devices[0]: Invalid value: \"gpu.example.com/node-1/gpu-0\": must be an allocated device in the claim",
            "status.devices[0].networkData.ips[0]: Invalid value: \"10.0.0.1\": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
            "status.devices[0].networkData.ips[1]: Invalid value: \"010.0.0.1/24\": must be in canonical form (\"10.0.0.1/24\")",
        ]
    );
    assert!(
        found[3].starts_with("status.allocation: Invalid value: {")
            && found[3].ends_with("field is immutable")
    );

    stored["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut more = stored["status"].clone();
    more["reservedFor"].as_array_mut().unwrap().push(json!({"resource": "pods", "name": "q", "uid": "2"}));
    assert_eq!(
        errors(more, &stored),
        [
            "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        ]
    );
}

#[test]
fn what_drivers_said_goes_with_the_device() {
    let device = json!({"driver": "d.example.com", "pool": "p", "device": "0"});
    let mut old = claim(json!({}));
    old["status"] = json!({"allocation": {"devices": {"results": [device]}}, "devices": [device]});
    let mut new = old.clone();
    new["status"].as_object_mut().unwrap().remove("allocation");
    ResourceClaim.prepare_for_status_update(&mut new, &old);
    assert_eq!(new["status"], json!({}));
}

fn slice(spec: Value) -> Vec<String> {
    let mut whole = json!({"driver": "gpu.example.com", "pool": {"name": "p", "generation": 1,
        "resourceSliceCount": 1}, "nodeName": "n"});
    for (name, value) in spec.as_object().unwrap() {
        whole[name] = value.clone();
    }
    texts(&ResourceSlice.validate(&json!({"spec": whole})))
}

#[test]
fn a_slice_is_of_one_driver_pool_and_place() {
    assert_eq!(slice(json!({})), Vec::<String>::new());
    assert_eq!(
        slice(json!({"allNodes": true, "pool": {"generation": -1}})),
        [
            "spec.pool.name: Required value",
            "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
            "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
            "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
        ]
    );
    assert_eq!(
        slice(json!({"nodeName": null, "allNodes": false})),
        [
            "spec.allNodes: Invalid value: false: must be either unset or set to true",
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
        ]
    );
    let old = json!({"spec": {"driver": "a.example.com", "nodeName": "n", "pool": {"name": "p",
        "generation": 1, "resourceSliceCount": 1}}});
    let mut new = old.clone();
    new["spec"]["driver"] = json!("b.example.com");
    new["spec"]["pool"]["name"] = json!("q");
    new["spec"]["nodeName"] = json!("m");
    assert_eq!(
        texts(&ResourceSlice.validate_update(&new, &old)),
        [
            "spec.pool.name: Invalid value: \"q\": field is immutable",
            "spec.driver: Invalid value: \"b.example.com\": field is immutable",
            "spec.nodeName: Invalid value: \"m\": field is immutable",
        ]
    );
}

#[test]
fn devices_say_what_they_are() {
    assert_eq!(
        slice(json!({"devices": [
            {"name": "gpu-0", "attributes": {"model": {"string": "a"}, "d.example.com/v": {"version": "1.2.3"}},
             "capacity": {"memory": {"value": "1Gi"}},
             "taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}],
             "bindingConditions": ["a"], "bindingFailureConditions": ["b"],
             "consumesCounters": [{"counterSet": "s", "counters": {"c": {"value": "1"}}}]}]})),
        Vec::<String>::new()
    );
    assert_eq!(
        slice(json!({"devices": [
            {"name": "a", "nodeName": "n", "attributes": {"m": {}, "v": {"version": "1", "int": 1}},
             "taints": [{"key": "a"}], "bindingConditions": ["a", "a"],
             "consumesCounters": [{}]},
            {"name": "a"}], "sharedCounters": [{"name": "s"}]})),
        [
            "spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed",
            "spec.devices[0].attributes[m]: Invalid value: \"\": exactly one value must be specified",
            "spec.devices[0].attributes[v].version: Invalid value: \"1\": must be a string compatible with semver.org spec 2.0.0",
            "spec.devices[0].attributes[v]: Invalid value: {\"int\":1,\"version\":\"1\"}: exactly one value must be specified",
            "spec.devices[0].taints[0].effect: Required value",
            "spec.devices[0].consumesCounters[0].counterSet: Required value",
            "spec.devices[0].consumesCounters[0].counters: Required value",
            "spec.devices[0]: Invalid value: \"null\": `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
            "spec.devices[0].bindingConditions[1]: Duplicate value: \"a\"",
            "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
            "spec.devices[1]: Duplicate value: \"a\"",
            "spec.sharedCounters[0].counters: Required value",
        ]
    );
}

#[test]
fn devices_may_be_in_different_places() {
    assert_eq!(
        slice(json!({"nodeName": null, "perDeviceNodeSelection": true, "devices": [
            {"name": "a", "nodeName": "n"}, {"name": "b"}, {"name": "c", "nodeName": "n", "allNodes": true}]})),
        [
            "spec.devices[1]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
            "spec.devices[2]: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
        ]
    );
}

#[test]
fn fields_of_features_that_are_off_are_dropped() {
    let mut slice = json!({"spec": {"devices": [{"name": "a",
        "attributes": {"m": {"strings": ["a"]}}, "nodeAllocatableResourceMappings": {"cpu": {}}}]}});
    ResourceSlice.prepare_for_create(&mut slice);
    assert_eq!(slice, json!({"spec": {"devices": [{"name": "a", "attributes": {"m": {}}}]}}));
}

#[test]
fn tolerations_compare_for_equality_unless_told() {
    let claim = claim(json!({"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu",
        "tolerations": [{"key": "k", "value": "v"}, {"operator": "Exists", "value": "v", "effect": "No"}]}}]}));
    assert_eq!(claim["spec"]["devices"]["requests"][0]["exactly"]["tolerations"][0]["operator"], "Equal");
    assert_eq!(
        texts(&ResourceClaim.validate(&claim)),
        [
            "spec.devices.requests[0].exactly.tolerations[1].value: Invalid value: \"v\": must be empty for operator `Exists`",
            "spec.devices.requests[0].exactly.tolerations[1].effect: Unsupported value: \"No\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
        ]
    );
}
