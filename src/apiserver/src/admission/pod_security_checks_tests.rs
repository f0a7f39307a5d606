//! The levels, check by check.

use super::*;
use serde_json::json;

fn reasons(level: Level, spec: &Value) -> Vec<&'static str> {
    violations(level, Version::LATEST, spec, None).iter().map(|violation| violation.reason).collect()
}

#[test]
fn an_ordinary_pod_is_baseline_and_not_restricted() {
    let spec = json!({"containers": [{"name": "a", "image": "nginx"}]});
    assert!(reasons(Level::Privileged, &spec).is_empty());
    assert!(reasons(Level::Baseline, &spec).is_empty());
    let found = violations(Level::Restricted, Version::LATEST, &spec, None);
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

/// The details that a version's form of a level tells.
fn details(level: Level, version: &str, spec: &Value, annotations: &Value) -> Vec<String> {
    let version = Version::parse(version).unwrap();
    let found = violations(level, version, spec, annotations.as_object());
    found.into_iter().map(|one| format!("{} ({})", one.reason, one.detail)).collect()
}

#[test]
fn each_version_has_its_own_form_of_the_standards() {
    let none = Value::Null;
    let cases = [
        // What became allowed.
        (
            json!({"securityContext": {"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports"}]}}),
            "v1.26",
            "v1.27",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time"}]}}),
            "v1.28",
            "v1.29",
        ),
        (json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_wmem"}]}}), "v1.31", "v1.32"),
        (json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}}), "v1.30", "v1.31"),
        (
            json!({"hostUsers": false, "containers": [{"name": "a", "securityContext": {"procMount": "Unmasked"}}]}),
            "v1.34",
            "v1.35",
        ),
        // What became forbidden.
        (
            json!({"containers": [{"name": "a", "readinessProbe": {"tcpSocket": {"host": "h"}}}]}),
            "v1.34",
            "v1.33",
        ),
        (json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}), "v1.19", "v1.18"),
    ];
    for (spec, refused, allowed) in cases {
        assert_eq!(details(Level::Baseline, refused, &spec, &none).len(), 1, "{refused}: {spec}");
        assert_eq!(details(Level::Baseline, allowed, &spec, &none), [""; 0], "{allowed}: {spec}");
    }
    let spec = json!({"containers": [{"name": "a"}]});
    let count = |version: &str, spec: &Value| details(Level::Restricted, version, spec, &none).len();
    assert_eq!(count("v1.7", &spec), 1, "only to run as somebody");
    assert_eq!(count("v1.8", &spec), 2, "and not to become root");
    assert_eq!(count("v1.19", &spec), 3, "and a seccomp profile");
    assert_eq!(count("v1.22", &spec), 4, "and to drop capabilities");
    let windows = json!({"os": {"name": "windows"}, "containers": [{"name": "a"}]});
    assert_eq!((count("v1.24", &windows), count("v1.25", &windows)), (4, 1));
    let root = json!({"securityContext": {"runAsUser": 0}, "containers": [{"name": "a"}]});
    assert_eq!((count("v1.22", &root), count("v1.23", &root)), (4, 5));
    let own = json!({"hostUsers": false, "securityContext": {"runAsUser": 0}, "containers": [
        {"name": "a", "securityContext": {"procMount": "Unmasked"}}]});
    assert_eq!((count("v1.34", &own), count("v1.35", &own)), (6, 4), "root is nobody outside");
    let adds = json!({"containers": [{"name": "a", "securityContext": {"runAsNonRoot": true,
        "allowPrivilegeEscalation": false, "seccompProfile": {"type": "Localhost"},
        "capabilities": {"add": ["CHOWN"], "drop": ["ALL"]}}}]});
    assert_eq!((count("v1.21", &adds), count("v1.22", &adds)), (0, 1));
}

#[test]
fn violations_name_who_sets_what() {
    let spec = json!({
        "securityContext": {"seLinuxOptions": {"type": "foo", "user": "u"}, "runAsNonRoot": false, "runAsUser": 0,
            "windowsOptions": {"hostProcess": true}, "appArmorProfile": {"type": "Unconfined"},
            "seccompProfile": {"type": "Unconfined"}},
        "volumes": [{"name": "h", "hostPath": {"path": "/"}}, {"name": "i", "image": {"reference": "x"}}],
        "containers": [
            {"name": "a", "securityContext": {"procMount": "Unmasked", "seLinuxOptions": {"type": "bar"},
                "runAsNonRoot": false, "windowsOptions": {"hostProcess": true},
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}},
            {"name": "b", "livenessProbe": {"httpGet": {"host": "y"}}, "readinessProbe": {"httpGet": {"host": "x"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    });
    let notes = json!({"container.apparmor.security.beta.kubernetes.io/a": "unconfined"});
    assert_eq!(
        details(Level::Restricted, "latest", &spec, &notes),
        [
            "forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to \"Unconfined\", \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
            "probe or lifecycle host (container \"b\" uses probe or lifecycle hosts \"x\", \"y\")",
            "seLinuxOptions (pod and container \"a\" set forbidden securityContext.seLinuxOptions: types \"bar\", \"foo\"; user may not be set)",
            "hostProcess (pod and container \"a\" must not set securityContext.windowsOptions.hostProcess=true)",
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
            "restricted volume types (volume \"h\" uses restricted volume type \"hostPath\")",
            "runAsNonRoot != true (pod and container \"a\" must not set securityContext.runAsNonRoot=false)",
            "runAsUser=0 (pod must not set runAsUser=0)",
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ]
    );
    let notes = json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/b": "localhost/x"});
    assert_eq!(
        details(Level::Baseline, "v1.18", &json!({"containers": [{"name": "b"}]}), &notes),
        ["seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"]
    );
}

#[test]
fn versions_are_latest_or_minor_ones() {
    for good in ["latest", "v1.0", "v1.25", "v1.99"] {
        assert_eq!(Version::parse(good).unwrap().to_string(), good);
    }
    for bad in ["", "v1", "v1.", "1.25", "v1.025", "v2.0", "v1.+5", "v1.25.1"] {
        assert_eq!(Version::parse(bad), None, "{bad}");
    }
}
