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
            "spec.containers[0].resources.limits[disk]: Invalid value: \"disk\": must be a standard resource for containers",
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

#[test]
fn leaving_out_what_is_empty_is_no_change() {
    let old =
        json!({"containers": [{"name": "c", "image": "i", "args": [], "tty": false}], "nodeSelector": {}});
    assert!(update(old, json!({"containers": [{"name": "c", "image": "i"}]})).is_empty());
}
