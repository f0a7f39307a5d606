use super::{template, validate_create};
use crate::core::pod::defaults;
use apimachinery::field::{ErrorList, Path};
use serde_json::{Value, json};

/// What is wrong with a pod of one container whose spec has `extra` too.
pub(super) fn pod(extra: Value) -> Vec<String> {
    let mut spec = json!({"containers": [{"name": "c", "image": "i"}], "serviceAccountName": "a"});
    for (name, value) in extra.as_object().unwrap() {
        spec[name] = value.clone();
    }
    let mut object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec});
    defaults::pod(&mut object);
    validate_create(&object).iter().map(ToString::to_string).collect()
}

/// The same for its container.
pub(super) fn container(extra: Value) -> Vec<String> {
    let mut container = json!({"name": "c", "image": "i"});
    for (name, value) in extra.as_object().unwrap() {
        container[name] = value.clone();
    }
    pod(json!({"containers": [container]}))
}

pub(super) fn assert_told(cases: Vec<(Vec<String>, &[&str])>) {
    for (found, wanted) in cases {
        assert_eq!(found, wanted);
    }
}

#[test]
fn the_environment_comes_from_what_there_is() {
    let env = |source: Value| container(json!({"env": [{"name": "A", "valueFrom": source}]}));
    assert_told(vec![
        (
            env(json!({"fieldRef": {"fieldPath": "status.phase"}})),
            &[
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
            ],
        ),
        (
            env(json!({"fieldRef": {"fieldPath": "spec.nodeName['a']"}})),
            &[
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.nodeName['a']\": error converting fieldPath: field label does not support subscript: spec.nodeName['a']",
            ],
        ),
        (
            env(json!({"fieldRef": {"apiVersion": "v2", "fieldPath": "metadata.name"}})),
            &[
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"metadata.name\": error converting fieldPath: unsupported pod version: v2",
            ],
        ),
        (
            env(json!({"resourceFieldRef": {"resource": "limits.memory", "divisor": "3"}})),
            &[
                "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.memory\": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource",
            ],
        ),
        (
            env(json!({"fileKeyRef": {"volumeName": "w", "path": "../f", "key": "K"}})),
            &[
                "spec.containers[0].env[0].valueFrom.fileKeyRef.path: Invalid value: \"../f\": must not contain '..'",
                "spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found: \"w\"",
            ],
        ),
        (
            container(json!({"envFrom": [{"prefix": "A"}]})),
            &[
                "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            ],
        ),
    ]);
}

#[test]
fn mounts_and_devices_stay_apart() {
    let with = |container: Value| {
        let mut all = json!({"name": "c", "image": "i"});
        for (name, value) in container.as_object().unwrap() {
            all[name] = value.clone();
        }
        pod(json!({"containers": [all], "volumes": [
            {"name": "e", "emptyDir": {}}, {"name": "p", "persistentVolumeClaim": {"claimName": "x"}},
        ]}))
    };
    assert_told(vec![
        (
            with(json!({"volumeMounts": [
                {"name": "e", "mountPath": "/a", "subPath": "/x", "mountPropagation": "Bidirectional"},
                {"name": "e", "mountPath": "/a", "recursiveReadOnly": "Enabled"},
            ]})),
            &[
                "spec.containers[0].volumeMounts.subPath: Invalid value: \"/x\": must be a relative path",
                "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
                "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
                "spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
            ],
        ),
        (
            with(json!({
                "volumeMounts": [{"name": "p", "mountPath": "/d"}],
                "volumeDevices": [{"name": "p", "devicePath": "/d"}, {"name": "e", "devicePath": "/../e"}],
            })),
            &[
                "spec.containers[0].volumeMounts[0].name: Invalid value: \"p\": must not already exist in volumeDevices",
                "spec.containers[0].volumeMounts[0].mountPath: Invalid value: \"/d\": must not already exist as a path in volumeDevices",
                "spec.containers[0].volumeDevices[0].name: Invalid value: \"p\": must not already exist in volumeMounts",
                "spec.containers[0].volumeDevices[0].devicePath: Invalid value: \"/d\": must not already exist as a path in volumeMounts",
                "spec.containers[0].volumeDevices[1].name: Invalid value: \"e\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                "spec.containers[0].volumeDevices[1].devicePath: Invalid value: \"/../e\": can not contain backsteps ('..')",
            ],
        ),
    ]);
}

#[test]
fn hooks_probes_and_resizing_have_rules() {
    assert_told(vec![
        (
            container(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}})),
            &[
                "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
            ],
        ),
        (
            container(json!({"lifecycle": {"stopSignal": "SIGTERM"}})),
            &[
                "spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`",
            ],
        ),
        (
            container(json!({"livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}})),
            &["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        ),
        (
            container(json!({"resizePolicy": [{"resourceName": "disk", "restartPolicy": "Maybe"}]})),
            &[
                "spec.containers[0].resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\"",
                "spec.containers[0].resizePolicy: Unsupported value: \"Maybe\": supported values: \"NotRequired\", \"RestartContainer\"",
            ],
        ),
        (
            pod(json!({"initContainers": [{
                "name": "i", "image": "i", "readinessProbe": {"tcpSocket": {"port": 1}},
                "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}],
            }]})),
            &[
                "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
                "spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: \"RestartContainer\": must not be set to 'RestartContainer' for non-sidecar initContainers",
            ],
        ),
        (
            container(json!({"restartPolicyRules": [{"action": "Sleep"}]})),
            &[
                "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
                "spec.containers[0].restartPolicyRules[0].action: Unsupported value: \"Sleep\": supported values: \"Restart\", \"RestartAllContainers\"",
                "spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified",
            ],
        ),
    ]);
}

#[test]
fn resources_and_claims_are_told_apart() {
    assert_told(vec![
        (
            container(json!({"resources": {"claims": [{"name": "x"}]}})),
            &[
                "spec.containers[0].resources.claims[0]: Not found: \"x\": must be one of the names in pod.spec.resourceClaims which is empty",
            ],
        ),
        (
            container(json!({"resources": {"limits": {"hugepages-2Mi": "3Mi"}}})),
            &[
                "spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                "spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                "spec.containers[0].resources: Forbidden: HugePages require cpu or memory",
            ],
        ),
        (
            pod(json!({"overhead": {"cpu": "-1"}})),
            &["spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
        (
            pod(json!({"resources": {"requests": {"ephemeral-storage": "1Gi"}}})),
            &[
                "spec.resources.requests[ephemeral-storage]: Unsupported value: \"ephemeral-storage\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
            ],
        ),
        (
            pod(json!({
                "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "3"}, "requests": {"cpu": "2"}}}],
                "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}},
            })),
            &[
                "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
                "spec.resources.containers[0][cpu].limits: Invalid value: \"3\": must be less than or equal to pod limits of 2",
            ],
        ),
        (
            pod(json!({"resourceClaims": [{"name": "a"}]})),
            &[
                "spec.resourceClaims[0]: Invalid value: {\"name\":\"a\"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ],
        ),
    ]);
}

#[test]
fn placement_has_rules() {
    let key = |keys: Value, selector: Value| {
        pod(json!({"topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "matchLabelKeys": keys, "labelSelector": selector,
        }]}))
    };
    assert_told(vec![
        (
            key(
                json!(["a"]),
                json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}),
            ),
            &[
                "spec.topologySpreadConstraints[0][0]: Invalid value: \"a\": exists in both matchLabelKeys and labelSelector",
            ],
        ),
        (
            pod(json!({"tolerations": [{"key": "a", "operator": "Gt", "value": "1"}]})),
            &[
                "spec.tolerations[0].operator: Unsupported value: \"Gt\": supported values: \"Equal\", \"Exists\", \"Lt\", \"Gt\"",
            ],
        ),
        (
            pod(json!({"schedulingGates": [{"name": "g"}, {"name": "g"}], "nodeName": "n"})),
            &[
                "spec.schedulingGates[1]: Duplicate value: \"g\"",
                "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ],
        ),
        (
            pod(json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 101, "preference": {"matchExpressions": [
                    {"key": "a", "operator": "In", "values": ["not a value"]},
                ]}},
            ]}}})),
            &[
                "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100",
            ],
        ),
    ]);
}

#[test]
fn security_has_rules() {
    assert_told(vec![
        (
            pod(json!({"securityContext": {
                "runAsUser": -1, "sysctls": [{"name": "Bad"}], "seccompProfile": {"type": "Localhost"},
                "appArmorProfile": {"type": "Odd"},
            }})),
            &[
                "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "spec.securityContext.sysctls[0].name: Invalid value: \"Bad\": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
                "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
                "spec.securityContext.appArmorProfile.type: Unsupported value: \"Odd\": supported values: \"Localhost\", \"RuntimeDefault\", \"Unconfined\"",
            ],
        ),
        (
            pod(json!({"hostUsers": false, "hostPID": true, "hostNetwork": true})),
            &[
                "spec.hostNetwork: Forbidden: when `hostUsers` is false",
                "spec.HostPID: Forbidden: when `hostUsers` is false",
            ],
        ),
        (
            pod(json!({"os": {"name": "windows"}, "hostPID": true, "securityContext": {"runAsUser": 1}})),
            &[
                "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
            ],
        ),
        (
            pod(json!({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}}})),
            &[
                "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
            ],
        ),
        (
            pod(json!({"os": {"name": "plan9"}})),
            &["spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\""],
        ),
        (
            pod(json!({"securityContext": {"windowsOptions": {"hostProcess": true}}})),
            &[
                "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
            ],
        ),
    ]);
}

#[test]
fn names_addresses_and_ports_of_the_pod_have_rules() {
    assert_told(vec![
        (
            pod(json!({"dnsPolicy": "None", "dnsConfig": {"searches": ["a"]}})),
            &[
                "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
            ],
        ),
        (pod(json!({"dnsConfig": {"searches": ["_tcp.a_b.example.com.", "."]}})), &[]),
        (
            pod(json!({"hostAliases": [{"ip": "::ffff:1.2.3.4", "hostnames": ["ok"]}]})),
            &[
                "spec.hostAliases[0].ip: Invalid value: \"::ffff:1.2.3.4\": must not be an IPv4-mapped IPv6 address",
            ],
        ),
        (
            pod(json!({"hostnameOverride": "h", "hostNetwork": true})),
            &["spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true"],
        ),
        (
            pod(json!({"hostNetwork": true, "containers": [
                {"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 81}]},
            ]})),
            &[
                "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
            ],
        ),
        (pod(json!({"preemptionPolicy": ""})), &["spec.preemptionPolicy: Required value"]),
        (
            pod(
                json!({"ephemeralContainers": [{"name": "e", "image": "i", "resources": {"limits": {"cpu": "1"}}}]}),
            ),
            &[
                "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
                "spec.ephemeralContainers: Forbidden: cannot be set on create",
            ],
        ),
        (
            pod(json!({"serviceAccountName": "", "volumes": [
                {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            ]})),
            &[
                "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
            ],
        ),
    ]);
}

#[test]
fn annotations_say_what_fields_say() {
    let mut object = json!({
        "metadata": {"name": "p", "annotations": {
            "controller.kubernetes.io/pod-deletion-cost": "+1",
            "container.seccomp.security.alpha.kubernetes.io/c": "unconfined",
        }},
        "spec": {"containers": [
            {"name": "c", "image": "i", "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
        ]},
    });
    defaults::pod(&mut object);
    let found: Vec<String> = validate_create(&object).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer",
            "spec.containers[0].securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
        ]
    );
}

#[test]
fn templates_are_held_to_less_than_pods() {
    let mut spec = json!({
        "hostNetwork": true,
        "containers": [{"name": "c", "image": " i", "ports": [{"containerPort": 80}]}],
        "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
    });
    defaults::pod_spec(&mut spec);
    let told = |spec: &Value| -> Vec<String> {
        let mut errors = ErrorList::new();
        template(&json!({"spec": spec}), &Path::new("spec").child("template"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    };
    assert!(told(&spec).is_empty(), "{:?}", told(&spec));
    spec["ephemeralContainers"] = json!([{
        "name": "e", "image": "i", "terminationMessagePolicy": "File", "imagePullPolicy": "Always",
    }]);
    assert_eq!(
        told(&spec),
        [
            "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"
        ]
    );
}
