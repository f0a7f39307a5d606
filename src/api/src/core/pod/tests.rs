use super::Pod;
use crate::kind::Kind;
use serde_json::{Value, json};

fn pod(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
    Pod.default(&mut object);
    object
}

fn errors(spec: Value) -> Vec<String> {
    Pod.validate(&pod(spec)).iter().map(ToString::to_string).collect()
}

fn with_container(container: Value) -> Vec<String> {
    let mut base = json!({"name": "c", "image": "i"});
    for (key, value) in container.as_object().unwrap() {
        base[key] = value.clone();
    }
    errors(json!({"containers": [base]}))
}

fn update(old: Value, new: Value) -> Vec<String> {
    Pod.validate_update(&pod(new), &pod(old)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_pod_needs_containers_with_names_and_images() {
    assert_eq!(errors(json!({})), ["spec.containers: Required value"]);
    assert_eq!(
        errors(json!({"containers": [{}]})),
        ["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"]
    );
    assert_eq!(
        errors(json!({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]})),
        ["spec.containers[1].name: Duplicate value: \"a\""]
    );
    assert!(with_container(json!({})).is_empty());
}

#[test]
fn enumerations_tell_what_is_supported() {
    assert_eq!(
        errors(json!({"containers": [{"name": "a", "image": "i"}], "restartPolicy": "Sometimes"})),
        [
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\""
        ]
    );
    assert_eq!(
        with_container(json!({"imagePullPolicy": "x"})),
        [
            "spec.containers[0].imagePullPolicy: Unsupported value: \"x\": supported values: \"Always\", \"IfNotPresent\", \"Never\""
        ]
    );
}

#[test]
fn mounts_name_volumes() {
    assert_eq!(
        with_container(json!({"volumeMounts": [{"name": "v", "mountPath": "/a"}]})),
        ["spec.containers[0].volumeMounts[0].name: Not found: \"v\""]
    );
    assert_eq!(
        errors(json!({
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}, {"name": "w", "secret": {}}],
        })),
        [
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[1].secret.secretName: Required value"
        ]
    );
}

#[test]
fn requests_stay_below_limits() {
    assert_eq!(
        with_container(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
        [
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"
        ]
    );
    assert_eq!(
        with_container(json!({"resources": {"limits": {"disk": "1"}}})),
        [
            "spec.containers[0].resources.limits[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
            "spec.containers[0].resources.limits[disk]: Invalid value: \"disk\": must be a standard resource for containers",
            "spec.containers[0].resources.requests[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
            "spec.containers[0].resources.requests[disk]: Invalid value: \"disk\": must be a standard resource for containers"
        ]
    );
    assert!(with_container(json!({"resources": {"limits": {"nvidia.com/gpu": "1"}}})).is_empty());
}

#[test]
fn probes_have_one_handler() {
    assert_eq!(
        with_container(json!({"livenessProbe": {}})),
        ["spec.containers[0].livenessProbe: Required value: must specify a handler type"]
    );
    assert_eq!(
        with_container(json!({"readinessProbe": {"httpGet": {"port": 0}}})),
        [
            "spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive"
        ]
    );
}

#[test]
fn sources_of_the_environment_are_checked() {
    assert_eq!(
        with_container(json!({"env": [
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "C", "valueFrom": {}},
            {"name": "D", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "E=", "value": "x"},
        ]}))
        .len(),
        3
    );
}

#[test]
fn images_can_change_and_little_else() {
    let base = json!({"containers": [{"name": "c", "image": "i:1"}]});
    assert!(update(base.clone(), json!({"containers": [{"name": "c", "image": "i:2"}]})).is_empty());
    let found =
        update(base.clone(), json!({"containers": [{"name": "c", "image": "i:1", "command": ["x"]}]}));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
        ),
        "{}",
        found[0]
    );
    assert_eq!(
        update(base, json!({"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "i:1"}]})),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"]
    );
}

#[test]
fn a_new_pod_is_pending() {
    let mut object =
        pod(json!({"containers": [{"name": "c", "image": "i"}], "schedulingGates": [{"name": "g"}]}));
    Pod.prepare_for_create(&mut object);
    assert_eq!(object["status"]["phase"], "Pending");
    assert_eq!(object["status"]["qosClass"], "BestEffort");
    assert_eq!(object["status"]["conditions"][0]["reason"], "SchedulingGated");
}

#[test]
fn tolerations_are_checked() {
    let of = |t: Value| errors(json!({"containers": [{"name": "c", "image": "i"}], "tolerations": [t]}));
    assert!(of(json!({"operator": "Exists"})).is_empty());
    assert_eq!(of(json!({"key": "a", "operator": "Exists", "value": "b"})).len(), 1);
    assert_eq!(of(json!({"key": "a", "effect": "Never"})).len(), 1);
}

#[test]
fn ephemeral_containers_are_only_added() {
    let container = json!({"name": "c", "image": "i"});
    let debug = |image: &str| json!({"name": "d", "image": image});
    let with = |debuggers: Value| pod(json!({"containers": [container], "ephemeralContainers": debuggers}));
    let old = with(json!([debug("a")]));
    let check = |new: &Value| -> Vec<String> {
        let mut new = new.clone();
        Pod.prepare_for_subresource_update("ephemeralcontainers", &mut new, &old);
        let errors = Pod.validate_subresource_update("ephemeralcontainers", &new, &old);
        errors.iter().map(ToString::to_string).collect()
    };
    assert!(check(&with(json!([debug("a"), {"name": "e", "image": "a"}]))).is_empty());
    assert!(check(&with(json!([])))[0].contains("existing ephemeral containers \"d\" may not be removed"));
    assert!(check(&with(json!([debug("b")])))[0].contains("may not be changed"));
}

#[test]
fn only_cpu_and_memory_are_resized() {
    let with = |cpu: &str, image: &str| {
        pod(json!({"containers": [{"name": "c", "image": image, "resources": {"requests": {"cpu": cpu}}}]}))
    };
    let old = with("1", "i");
    let mut new = with("2", "other");
    Pod.prepare_for_subresource_update("resize", &mut new, &old);
    assert_eq!(new["spec"]["containers"][0]["image"], "i");
    assert_eq!(new["spec"]["containers"][0]["resources"]["requests"]["cpu"], "2");
    assert!(Pod.validate_subresource_update("resize", &new, &old).is_empty());
    new["spec"]["containers"][0]["resources"] = json!({});
    let errors = Pod.validate_subresource_update("resize", &new, &old);
    assert!(errors[0].to_string().contains("Pod QOS Class may not change"), "{errors:?}");
}

/// Pods whose resources a node tells of, as `resize` sees them.
fn resize(old: Value, new: Value) -> Vec<String> {
    let made = |spec: Value| {
        let mut object = pod(spec);
        Pod.prepare_for_create(&mut object);
        object
    };
    let (old, mut new) = (made(old), made(new));
    Pod.prepare_for_subresource_update("resize", &mut new, &old);
    let errors = Pod.validate_subresource_update("resize", &new, &old);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn resizing_neither_removes_nor_renames() {
    let with = |requests: Value| json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": requests}}]});
    let old = with(json!({"cpu": "1", "memory": "1Gi"}));
    assert!(resize(old.clone(), with(json!({"cpu": "2", "memory": "2Gi"}))).is_empty());
    assert_eq!(
        resize(old.clone(), with(json!({"cpu": "2"}))),
        ["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"]
    );
    assert_eq!(
        resize(old.clone(), with(json!({"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}))),
        ["spec: Forbidden: only cpu and memory resources are mutable"]
    );
    let mut renamed = old.clone();
    renamed["containers"][0]["name"] = json!("d");
    assert_eq!(
        resize(old.clone(), renamed),
        ["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"]
    );
    let mut whole = old.clone();
    whole["resources"] = json!({"limits": {"cpu": "4"}, "requests": {"cpu": "2", "memory": "1Gi"}});
    let mut more = whole.clone();
    more["resources"]["limits"]["cpu"] = json!("8");
    assert!(resize(whole.clone(), more).is_empty());
    assert_eq!(resize(whole, old), ["spec.resources: Forbidden: pod-level resources cannot be removed"]);
}

#[test]
fn gated_pods_only_become_pickier() {
    let with = |gates: Value, selector: Value| {
        json!({
            "containers": [{"name": "c", "image": "i"}], "schedulingGates": gates, "nodeSelector": selector,
        })
    };
    let gate = json!([{"name": "g"}]);
    let old = with(gate.clone(), json!({"a": "b"}));
    assert!(update(old.clone(), with(json!([]), json!({"a": "b", "c": "d"}))).is_empty());
    assert_eq!(
        update(old.clone(), with(gate, json!({"c": "d"}))),
        [
            "spec.nodeSelector: Invalid value: {\"c\":\"d\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        ]
    );
    assert_eq!(
        update(old, with(json!([{"name": "g"}, {"name": "h"}]), json!({"a": "b"}))),
        [
            "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'h'"
        ]
    );
}

#[test]
fn a_deadline_comes_closer_and_annotations_of_mirrors_stay() {
    let with = |deadline: Value| {
        let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
        if !deadline.is_null() {
            spec["activeDeadlineSeconds"] = deadline;
        }
        spec
    };
    assert!(update(with(json!(9)), with(json!(5))).is_empty());
    assert_eq!(
        update(with(json!(5)), with(json!(9))),
        ["spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value"]
    );
    assert!(
        update(with(json!(5)), with(Value::Null))[0]
            .starts_with("spec.activeDeadlineSeconds: Invalid value: \"null\": must not update from")
    );
    let old = pod(with(Value::Null));
    let mut new = old.clone();
    new["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let found: Vec<String> = Pod.validate_update(&new, &old).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
            "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation"
        ]
    );
}

#[test]
fn a_status_update_keeps_what_is_decided() {
    let mut old = pod(json!({
        "containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never", "nodeName": "n",
    }));
    Pod.prepare_for_create(&mut old);
    old["status"]["containerStatuses"] = json!([{"name": "c", "state": {"terminated": {"exitCode": 0}}}]);
    let mut new = old.clone();
    new["status"]["containerStatuses"] = json!([{
        "name": "c", "state": {"running": {}}, "allocatedResourcesStatus": [{"name": "x.y/gpu", "resources": [
            {"resourceID": "a", "health": "Fine"}, {"resourceID": "a", "health": "Healthy", "message": ""},
        ]}],
    }]);
    new["status"]["qosClass"] = json!("Guaranteed");
    new["status"]["podIP"] = json!("10.0.0.01");
    new["status"]["nominatedNodeName"] = json!("m");
    new["status"]["conditions"] = json!([{"type": "My Own", "observedGeneration": -1}]);
    Pod.prepare_for_status_update(&mut new, &old);
    assert_eq!(new["status"]["podIPs"], json!([{"ip": "10.0.0.01"}]));
    let found: Vec<String> = Pod.validate_status_update(&new, &old).iter().map(ToString::to_string).collect();
    let begin = |i: usize| found[i].split(": a ").next().unwrap();
    assert_eq!(
        begin(0),
        "status.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer"
    );
    assert!(
        found[1]
            .starts_with("status.conditions[0].Type: Invalid value: \"My Own\": name part must consist of")
    );
    assert_eq!(
        found[2..],
        [
            "status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node",
            "status.qosClass: Invalid value: \"Guaranteed\": field is immutable",
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
            "status.podIPs[0]: Invalid value: \"10.0.0.01\": must not have leading 0s",
            "status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"x.y/gpu\": must match one of the container's resource requests",
            "status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: \"Fine\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\"",
            "status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].message: Required value: must be non-empty if specified",
            "status.containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: \"a\"",
        ]
    );
}

#[test]
fn rules_of_a_container_let_it_start_again() {
    let with = |rules: Value, code: i64| -> Vec<String> {
        let mut old = pod(json!({"restartPolicy": "Never", "containers": [
            {"name": "c", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rules},
        ]}));
        Pod.prepare_for_create(&mut old);
        old["status"]["containerStatuses"] =
            json!([{"name": "c", "state": {"terminated": {"exitCode": code}}}]);
        let mut new = old.clone();
        new["status"]["containerStatuses"][0]["state"] = json!({"waiting": {}});
        Pod.validate_status_update(&new, &old).iter().map(ToString::to_string).collect()
    };
    let rule = |action: &str| json!([{"action": action, "exitCodes": {"operator": "In", "values": [3]}}]);
    assert!(with(rule("Restart"), 3).is_empty());
    assert_eq!(with(rule("Restart"), 4).len(), 1);
    assert!(with(rule("RestartAllContainers"), 4).is_empty());
}

#[test]
fn what_is_off_is_dropped_and_old_annotations_become_fields() {
    let mut object = pod(json!({
        "schedulingGroup": {"podGroupName": "g"},
        "containers": [{"name": "c", "image": "i", "lifecycle": {"stopSignal": "SIGTERM"}}],
        "volumes": [{"name": "v", "projected": {"sources": [{"clusterTrustBundle": {"name": "b"}}]}}],
    }));
    object["metadata"]["annotations"] =
        json!({"container.apparmor.security.beta.kubernetes.io/c": "localhost/p"});
    let old = object.clone();
    let mut kept = object.clone();
    Pod.prepare_for_update(&mut kept, &old);
    assert_eq!(kept["spec"], old["spec"]);
    Pod.prepare_for_create(&mut object);
    let spec = &object["spec"];
    assert!(spec.get("schedulingGroup").is_none());
    assert!(spec["containers"][0].get("lifecycle").is_none());
    assert_eq!(spec["volumes"][0]["projected"]["sources"], json!([{}]));
    assert_eq!(
        spec["containers"][0]["securityContext"],
        json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}})
    );
    assert!(Pod.validate(&object).is_empty(), "{:?}", Pod.validate(&object));
}

#[test]
fn leaving_out_what_is_empty_is_no_change() {
    let old =
        json!({"containers": [{"name": "c", "image": "i", "args": [], "tty": false}], "nodeSelector": {}});
    assert!(update(old, json!({"containers": [{"name": "c", "image": "i"}]})).is_empty());
}

#[test]
fn what_is_off_is_dropped_from_every_workload_s_template() {
    let template = json!({"spec": {"containers": [
        {"name": "c", "image": "i", "lifecycle": {"stopSignal": "SIGTERM"}}]}});
    let signal = "containers/0/lifecycle/stopSignal";
    let mut seen = 0;
    for kind in crate::kinds() {
        let (object, path) = match kind.group_kind() {
            ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
            | ("batch", "Job")
            | ("", "ReplicationController") => {
                (json!({"spec": {"template": template}}), "/spec/template/spec")
            }
            ("", "PodTemplate") => (json!({"template": template}), "/template/spec"),
            ("batch", "CronJob") => (
                json!({"spec": {"jobTemplate": {"spec": {"template": template}}}}),
                "/spec/jobTemplate/spec/template/spec",
            ),
            _ => continue,
        };
        let has_signal = |object: &Value| object.pointer(&format!("{path}/{signal}")).is_some();
        let (mut new, mut kept) = (object.clone(), object.clone());
        kind.prepare_for_create(&mut new);
        kind.prepare_for_update(&mut kept, &object);
        assert!(!has_signal(&new) && has_signal(&kept), "{:?}", kind.group_kind());
        seen += 1;
    }
    assert_eq!(seen, 8);
}
