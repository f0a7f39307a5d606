//! The levels, check by check.

use super::*;
use serde_json::json;

fn reasons(level: Level, spec: &Value) -> Vec<&'static str> {
    violations(level, spec, None).iter().map(|violation| violation.reason).collect()
}

#[test]
fn an_ordinary_pod_is_baseline_and_not_restricted() {
    let spec = json!({"containers": [{"name": "a", "image": "nginx"}]});
    assert!(reasons(Level::Privileged, &spec).is_empty());
    assert!(reasons(Level::Baseline, &spec).is_empty());
    let found = violations(Level::Restricted, &spec, None);
    let told: Vec<String> = found.iter().map(|one| format!("{} ({})", one.reason, one.detail)).collect();
    assert_eq!(told.len(), 4);
    assert!(told.contains(&"allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false)".to_owned()));
    assert!(told.contains(&"unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"])".to_owned()));
    assert!(
        told.contains(
            &"runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true)"
                .to_owned()
        )
    );
    assert!(told.contains(&"seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")".to_owned()));
}

#[test]
fn a_careful_pod_is_restricted() {
    let spec = json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [{"name": "a", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}],
    });
    assert!(reasons(Level::Restricted, &spec).is_empty());
}

#[test]
fn what_reaches_the_host_is_not_baseline() {
    let cases = [
        (json!({"hostNetwork": true}), "host namespaces"),
        (json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), "hostPath volumes"),
        (json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}]}]}), "hostPort"),
        (json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}]}), "privileged"),
        (json!({"containers": [{"name": "a", "securityContext": {"procMount": "Unmasked"}}]}), "procMount"),
        (
            json!({"containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}]}),
            "non-default capabilities",
        ),
        (json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}), "seccompProfile"),
        (json!({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}), "seLinuxOptions"),
        (json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}), "forbidden sysctls"),
        (
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
            "forbidden AppArmor profile",
        ),
        (
            json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}]}),
            "probe or lifecycle host",
        ),
    ];
    for (spec, reason) in cases {
        assert_eq!(reasons(Level::Baseline, &spec), [reason], "{spec}");
    }
}
