//! Warnings about pods and pod templates that are valid but probably not meant (`pkg/api/pod/warnings.go`).

use crate::validation::{deprecated_node_label, ip_warning, quantity, quantity_text};
use crate::value::{at, entries, field, has, int, list, text};
use apimachinery::{meta, validation as forms};
use serde_json::Value;
use std::collections::HashSet;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NULL_SELECTOR: &str = "a null labelSelector results in matching no pod";
/// Annotations that do nothing any more, and what to write instead.
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
/// Types of volumes that are on their way out.
const OLD_VOLUMES: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings about the labels in a node selector's term.
pub fn of_node_selector_term(term: &Value, check_values: bool, path: &str, warnings: &mut Vec<String>) {
    for (i, expression) in list(term, "matchExpressions").iter().enumerate() {
        let key = text(expression, "key");
        if let Some(words) = deprecated_node_label(key) {
            warnings.push(format!("{path}.matchExpressions[{i}].key: {key} is {words}"));
        }
        if check_values {
            for (j, value) in crate::value::texts(expression, "values").enumerate() {
                for message in forms::label_value(value) {
                    warnings.push(format!(
                        "{path}.matchExpressions[{i}].values[{j}]: {value} is invalid, {message}"
                    ));
                }
            }
        }
    }
}

/// Warnings about a new pod.
pub fn of_pod(object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let messages = forms::dns1123_label(meta::name(object));
    if !messages.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            messages.join(" ")
        ));
    }
    of_spec(field(object, "metadata"), field(object, "spec"), "", &mut warnings);
    warnings
}

/// Warnings about the template of a workload.
pub fn of_template(object: &Value) -> Vec<String> {
    of_template_at(at(object, &["spec", "template"]), "spec.template")
}

/// Warnings about a template at `path`.
pub fn of_template_at(template: &Value, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    of_spec(field(template, "metadata"), field(template, "spec"), &format!("{path}."), &mut warnings);
    warnings
}

/// `prefix` is what stands before `spec` and `metadata`: empty for pods.
fn of_spec(metadata: &Value, spec: &Value, prefix: &str, warnings: &mut Vec<String>) {
    let path = format!("{prefix}spec");
    of_placement(spec, &path, warnings);
    let annotations = field(metadata, "annotations");
    for (key, words) in OLD_ANNOTATIONS {
        if annotations.get(key).is_some() {
            warnings.push(format!("{prefix}metadata.annotations[{key}]: {words}"));
        }
    }
    of_volumes(spec, &path, warnings);
    duplicates(spec, &path, warnings);
    for (name, value) in entries(spec, "overhead") {
        fractional(name, value, || format!("{path}.overhead[{name}]"), warnings);
    }
    let context = field(spec, "securityContext");
    let seccomp = |key: &str, warnings: &mut Vec<String>| {
        if annotations.get(key).is_some() {
            warnings.push(format!(
                "{prefix}metadata.annotations[{key}]: non-functional in v1.27+; use the \"seccompProfile\" field instead"
            ));
        }
    };
    if !has(context, "seccompProfile") {
        seccomp("seccomp.security.alpha.kubernetes.io/pod", warnings);
    }
    for lists in LISTS {
        for (i, container) in list(spec, lists).iter().enumerate() {
            let (name, own) = (text(container, "name"), field(container, "securityContext"));
            if annotations.is_object() && !has(own, "seccompProfile") {
                seccomp(&format!("container.seccomp.security.alpha.kubernetes.io/{name}"), warnings);
            }
            let key = || format!("container.apparmor.security.beta.kubernetes.io/{name}");
            // Of a pod, the annotation became the field before.
            let old = annotations.is_object()
                && !has(own, "appArmorProfile")
                && !has(context, "appArmorProfile")
                && annotations.get(key()).is_some();
            if old && !prefix.is_empty() {
                warnings.push(format!(
                    "{prefix}metadata.annotations[{}]: deprecated since v1.30; use the \"appArmorProfile\" field instead",
                    key()
                ));
            }
            of_container(container, &format!("{path}.{lists}[{i}]"), warnings);
        }
    }
    of_ports(spec, &path, warnings);
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        warnings.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    of_pod_affinity(spec, &path, warnings);
    of_addresses(spec, &path, warnings);
}

fn of_placement(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for (key, _) in entries(spec, "nodeSelector") {
        if let Some(words) = deprecated_node_label(key) {
            warnings.push(format!("{path}.nodeSelector[{key}]: {words}"));
        }
    }
    let nodes = at(spec, &["affinity", "nodeAffinity"]);
    let own = format!("{path}.affinity.nodeAffinity");
    for (i, term) in list(field(nodes, REQUIRED), "nodeSelectorTerms").iter().enumerate() {
        of_node_selector_term(term, false, &format!("{own}.{REQUIRED}.nodeSelectorTerms[{i}]"), warnings);
    }
    for (i, term) in list(nodes, PREFERRED).iter().enumerate() {
        let own = format!("{own}.{PREFERRED}[{i}].preference");
        of_node_selector_term(field(term, "preference"), true, &own, warnings);
    }
    for (i, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let (key, own) =
            (text(constraint, "topologyKey"), || format!("{path}.topologySpreadConstraints[{i}]"));
        if let Some(words) = deprecated_node_label(key) {
            warnings.push(format!("{}.topologyKey: {key} is {words}", own()));
        }
        if !has(constraint, "labelSelector") {
            warnings.push(format!("{}.labelSelector: {NULL_SELECTOR}", own()));
        }
    }
}

fn of_volumes(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    let volumes = list(spec, "volumes");
    for (i, volume) in volumes.iter().enumerate() {
        let own = || format!("{path}.volumes[{i}]");
        for (name, shown, words) in OLD_VOLUMES {
            if has(volume, name) {
                warnings.push(format!("{}.{shown}: {words}", own()));
            }
        }
        let claim = at(volume, &["ephemeral", "volumeClaimTemplate", "spec"]);
        of_claim_spec(claim, || format!("{}.ephemeral.volumeClaimTemplate.spec", own()), warnings);
    }
    let sources = |volume| list(field(volume, "projected"), "sources");
    let tokens: HashSet<&str> = volumes
        .iter()
        .flat_map(sources)
        .filter_map(|source| source.get("serviceAccountToken"))
        .map(|token| text(token, "path"))
        .collect();
    if tokens.is_empty() {
        return;
    }
    for (i, volume) in volumes.iter().enumerate() {
        let mut clash = |file: &str, kind: &str| {
            if tokens.contains(file) {
                warnings.push(format!(
                    "{path}.volumes[{i}].projected.sources.{kind}: has duplicated path with ServiceAccountToken \"{file}\""
                ));
            }
        };
        for source in sources(volume) {
            for (name, shown) in
                [("configMap", "configMap"), ("secret", "secrets"), ("downwardAPI", "downwardAPI")]
            {
                for (j, item) in list(field(source, name), "items").iter().enumerate() {
                    clash(text(item, "path"), &format!("{shown}[{j}]"));
                }
            }
            if let Some(bundle) = source.get("clusterTrustBundle") {
                clash(text(bundle, "path"), "ClusterTrustBundle");
            }
        }
    }
}

/// Warnings about the spec of a claim.
pub fn of_claim_spec(spec: &Value, path: impl Fn() -> String, warnings: &mut Vec<String>) {
    for lists in ["requests", "limits"] {
        let amount = at(spec, &["resources", lists, "storage"]);
        if quantity(amount).is_some_and(|amount| amount.milli_value() % 1000 != 0) {
            warnings.push(format!(
                "{}.resources.{lists}[storage]: fractional byte value \"{}\" is invalid, must be an integer",
                path(),
                quantity_text(amount)
            ));
        }
    }
}

fn duplicates(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for (lists, name, words) in [("hostAliases", "ip", "ip"), ("imagePullSecrets", "name", "name")] {
        let all = list(spec, lists);
        for (i, item) in all.iter().enumerate() {
            let value = text(item, name);
            if all.iter().take(i).any(|other| text(other, name) == value) {
                warnings.push(format!("{path}.{lists}[{i}].{name}: duplicate {words} \"{value}\""));
            }
        }
    }
    for (i, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            warnings.push(format!("{path}.imagePullSecrets[{i}].name: invalid empty name \"\""));
        }
    }
}

/// Bytes come whole.
fn fractional(name: &str, value: &Value, path: impl Fn() -> String, warnings: &mut Vec<String>) {
    if matches!(name, "memory" | "ephemeral-storage")
        && quantity(value).is_some_and(|amount| amount.milli_value() % 1000 != 0)
    {
        warnings.push(format!(
            "{}: fractional byte value \"{}\" is invalid, must be an integer",
            path(),
            quantity_text(value)
        ));
    }
}

fn of_container(container: &Value, path: &str, warnings: &mut Vec<String>) {
    for lists in ["limits", "requests"] {
        for (name, value) in entries(field(container, "resources"), lists) {
            fractional(name, value, || format!("{path}.resources.{lists}[{name}]"), warnings);
        }
    }
    let mut seen: HashSet<&str> = HashSet::new();
    for (i, variable) in list(container, "env").iter().enumerate() {
        let name = text(variable, "name");
        if seen.insert(name) {
            continue;
        }
        // Building on the value before is what a second definition is for.
        let (value, reference) = (text(variable, "value"), format!("$({name})"));
        if has(variable, "valueFrom") || value == reference || !value.contains(&reference) {
            warnings.push(format!("{path}.env[{i}]: hides previous definition of \"{name}\", which may be dropped when using apply"));
        }
    }
}

fn of_ports(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    struct Seen<'a> {
        path: String,
        port: (i64, &'a str),
        host: (&'a str, i64),
    }
    let mut all: Vec<Seen<'_>> = Vec::new();
    for lists in LISTS {
        for (i, container) in list(spec, lists).iter().enumerate() {
            for (j, port) in list(container, "ports").iter().enumerate() {
                let seen = Seen {
                    path: format!("{path}.{lists}[{i}].ports[{j}]"),
                    port: (int(port, "containerPort").unwrap_or(0), text(port, "protocol")),
                    host: (text(port, "hostIP"), int(port, "hostPort").unwrap_or(0)),
                };
                let (ip, number) = seen.host;
                if !ip.is_empty() && number == 0 {
                    warnings.push(format!(
                        "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{ip}}}",
                        seen.path,
                        text(port, "name"),
                        seen.port.0,
                        seen.port.1
                    ));
                }
                for other in all.iter().filter(|other| other.port == seen.port) {
                    let words = if other.host == seen.host {
                        "duplicate"
                    } else if number == 0 || other.host.1 == 0 {
                        "overlapping"
                    } else if number == other.host.1 && ip.is_empty() != other.host.0.is_empty() {
                        "dangerously ambiguous"
                    } else {
                        continue;
                    };
                    warnings.push(format!("{}: {words} port definition with {}", seen.path, other.path));
                }
                all.push(seen);
            }
        }
    }
}

fn of_pod_affinity(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = at(spec, &["affinity", kind]);
        for (i, term) in list(pods, REQUIRED).iter().enumerate() {
            if !has(term, "labelSelector") {
                warnings
                    .push(format!("{path}.affinity.{kind}.{REQUIRED}[{i}].labelSelector: {NULL_SELECTOR}"));
            }
        }
        for (i, term) in list(pods, PREFERRED).iter().enumerate() {
            if !has(field(term, "podAffinityTerm"), "labelSelector") {
                warnings.push(format!(
                    "{path}.affinity.{kind}.{PREFERRED}[{i}].podAffinityTerm.labelSelector: {NULL_SELECTOR}"
                ));
            }
        }
    }
}

fn of_addresses(spec: &Value, path: &str, warnings: &mut Vec<String>) {
    for (i, server) in crate::value::texts(field(spec, "dnsConfig"), "nameservers").enumerate() {
        warnings.extend(ip_warning(server, || format!("{path}.dnsConfig.nameservers[{i}]")));
    }
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        warnings.extend(ip_warning(text(alias, "ip"), || format!("{path}.hostAliases[{i}].ip")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(spec: Value) -> Vec<String> {
        of_pod(&json!({"metadata": {"name": "p"}, "spec": spec}))
    }

    #[test]
    fn what_is_deprecated_is_told() {
        assert_eq!(
            told(json!({
                "nodeSelector": {"beta.kubernetes.io/os": "linux"},
                "volumes": [{"name": "a", "gitRepo": {}}, {"name": "b", "storageos": {}}],
                "topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}],
            })),
            [
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
                "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
                "spec.volumes[1].storageOS: deprecated in v1.22, non-functional in v1.25+",
            ]
        );
    }

    #[test]
    fn ports_and_variables_that_hide_each_other_are_told() {
        let port = |host: i64| json!({"containerPort": 80, "protocol": "TCP", "hostPort": host});
        assert_eq!(
            told(json!({"containers": [
                {"name": "a", "ports": [port(1)], "env": [
                    {"name": "X", "value": "1"}, {"name": "X", "value": "$(X)2"}, {"name": "X", "value": "3"},
                ]},
                {"name": "b", "ports": [port(0), port(1)]},
            ]})),
            [
                "spec.containers[0].env[2]: hides previous definition of \"X\", which may be dropped when using apply",
                "spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[1].ports[1]: overlapping port definition with spec.containers[1].ports[0]",
            ]
        );
    }

    #[test]
    fn templates_tell_where_they_are() {
        let object = json!({"spec": {"template": {
            "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "1500m"}}}]},
        }}});
        assert_eq!(
            of_template(&object),
            [
                "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \"appArmorProfile\" field instead",
                "spec.template.spec.containers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
            ]
        );
    }
}
