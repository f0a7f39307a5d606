//! Walks the registry: every kind has what a kind must have, and its golden manifest is valid.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

use api::{Resource, kinds, meta, registry};
use apimachinery::field::ErrorList;
use apimachinery::schema::prune;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::PathBuf;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../e2e/fixtures")
}

/// The resource of a kind in the version that its fixture is written in.
fn resource_of(object: &Value) -> &'static Resource {
    let gvk = apimachinery::meta::gvk(object);
    registry().by_gvk(&gvk).unwrap_or_else(|| panic!("{gvk} is not served"))
}

fn fixture(group: &str, kind: &str) -> Value {
    let group = if group.is_empty() { "core" } else { group };
    let file = fixtures().join(format!("{group}_{}.yaml", kind.to_lowercase()));
    let text = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let decoded = apimachinery::decode::yaml(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    decoded.value
}

fn texts(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// Takes an object the way of a create, up to validation.
fn created(mut object: Value) -> (Value, &'static Resource) {
    let resource = resource_of(&object);
    let unknown = prune(&resource.schema, &mut object).unwrap();
    assert!(unknown.is_empty(), "{}: unknown fields {unknown:?}", resource.gvk);
    if !resource.is_storage_version() {
        resource
            .kind
            .convert(&mut object, &resource.gvk.api_version(), &resource.storage_api_version())
            .unwrap();
    }
    resource.kind.default(&mut object);
    apimachinery::meta::set(&mut object, "uid", "9f1d2f0a");
    if resource.gvk.kind == "Pod" {
        // Admission gives every pod an account.
        object["spec"]["serviceAccountName"] = json!("default");
        resource.kind.default(&mut object);
    }
    if resource.has_status() && !resource.kind.keeps_status_on_create() {
        object["status"] = json!({});
    }
    resource.kind.prepare_for_create(&mut object);
    (object, resource)
}

#[test]
fn every_golden_manifest_is_valid() {
    for kind in kinds() {
        let (group, name) = kind.group_kind();
        let (object, resource) = created(fixture(group, name));
        let errors = meta::validate_object_meta(&object, resource.namespaced, kind.name_rule());
        assert_eq!(texts(&errors), Vec::<String>::new(), "{name} metadata");
        assert_eq!(texts(&kind.validate(&object)), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_stored_object_updated_to_itself_is_valid_and_the_same() {
    for kind in kinds() {
        let (group, name) = kind.group_kind();
        let (old, _) = created(fixture(group, name));
        let mut object = old.clone();
        kind.default(&mut object);
        assert_eq!(object, old, "defaults of {name} are not stable");
        kind.prepare_for_update(&mut object, &old);
        assert_eq!(object, old, "{name} changes by an update that changes nothing");
        assert_eq!(texts(&kind.validate_update(&object, &old)), Vec::<String>::new(), "{name}");
        kind.prepare_for_status_update(&mut object, &old);
        assert_eq!(object, old, "{name} changes by a status update that changes nothing");
    }
}

#[test]
fn defaults_stay_within_the_schema() {
    for kind in kinds() {
        let (group, name) = kind.group_kind();
        let (object, resource) = created(fixture(group, name));
        if !resource.is_storage_version() {
            continue;
        }
        let mut pruned = object.clone();
        let unknown = prune(&resource.schema, &mut pruned).unwrap();
        assert_eq!(unknown, Vec::<String>::new(), "{name}");
        assert_eq!(pruned, object, "{name}");
    }
}

#[test]
fn every_kind_has_a_table() {
    let now = "2026-01-02T00:00:00Z".parse::<Timestamp>().unwrap();
    for resource in registry().resources() {
        let columns = resource.kind.columns();
        assert!(columns.iter().any(|c| c.name == "Name" && c.format == "name"), "{}", resource.gvk);
        let (group, name) = resource.kind.group_kind();
        let own = kinds().iter().any(|k| k.group_kind() == (group, name));
        let objects = if own { vec![json!({}), created(fixture(group, name)).0] } else { vec![json!({})] };
        for object in objects {
            let row = resource.kind.row(&object, now);
            assert_eq!(row.len(), columns.len(), "{}", resource.gvk);
            for (cell, column) in row.iter().zip(&columns) {
                let fits = match column.kind.as_str() {
                    "integer" => cell.is_i64() || cell.is_u64(),
                    _ => !cell.is_object() && !cell.is_array() && !cell.is_null(),
                };
                assert!(fits, "{} {}: {cell}", resource.gvk, column.name);
            }
        }
    }
}

#[test]
fn every_kind_is_served() {
    for kind in kinds() {
        let (group, name) = kind.group_kind();
        assert!(registry().resources().any(|r| r.gvk.group == group && r.gvk.kind == name), "{group} {name}");
    }
}

#[test]
fn versions_convert_without_loss() {
    for resource in registry().resources().filter(|r| !r.is_storage_version()) {
        let (group, name) = resource.kind.group_kind();
        if !kinds().iter().any(|k| k.group_kind() == (group, name)) {
            continue;
        }
        let (stored, _) = created(fixture(group, name));
        if stored["apiVersion"] != json!(resource.storage_api_version()) {
            continue;
        }
        let (from, to) = (resource.storage_api_version(), resource.gvk.api_version());
        let mut object = stored.clone();
        resource.kind.convert(&mut object, &from, &to).unwrap();
        assert_eq!(object["apiVersion"], json!(to));
        let unknown = prune(&resource.schema, &mut object.clone()).unwrap();
        assert_eq!(unknown, Vec::<String>::new(), "{}", resource.gvk);
        resource.kind.convert(&mut object, &to, &from).unwrap();
        assert_eq!(object, stored, "{}", resource.gvk);
    }
}

#[test]
fn short_names_are_those_of_kubectl() {
    let short = |resource: &str| {
        registry()
            .resources()
            .find(|r| r.gvr.resource == resource)
            .map(|r| r.short_names.to_vec())
            .unwrap_or_default()
    };
    let expected: [(&str, &[&str]); 28] = [
        ("pods", &["po"]),
        ("services", &["svc"]),
        ("endpoints", &["ep"]),
        ("nodes", &["no"]),
        ("namespaces", &["ns"]),
        ("configmaps", &["cm"]),
        ("serviceaccounts", &["sa"]),
        ("events", &["ev"]),
        ("limitranges", &["limits"]),
        ("resourcequotas", &["quota"]),
        ("persistentvolumes", &["pv"]),
        ("persistentvolumeclaims", &["pvc"]),
        ("replicationcontrollers", &["rc"]),
        ("componentstatuses", &["cs"]),
        ("deployments", &["deploy"]),
        ("replicasets", &["rs"]),
        ("statefulsets", &["sts"]),
        ("daemonsets", &["ds"]),
        ("cronjobs", &["cj"]),
        ("priorityclasses", &["pc"]),
        ("storageclasses", &["sc"]),
        ("volumeattributesclasses", &["vac"]),
        ("ingresses", &["ing"]),
        ("networkpolicies", &["netpol"]),
        ("ipaddresses", &["ip"]),
        ("poddisruptionbudgets", &["pdb"]),
        ("horizontalpodautoscalers", &["hpa"]),
        ("certificatesigningrequests", &["csr"]),
    ];
    for (resource, names) in expected {
        assert_eq!(short(resource), names, "{resource}");
    }
}

#[test]
fn kubectl_get_all_gets_what_it_gets_elsewhere() {
    let mut all: Vec<&str> = registry()
        .resources()
        .filter(|r| {
            r.categories.iter().any(|c| c == "all") && r.gvr.version != "v1beta1" && r.is_storage_version()
        })
        .map(|r| r.gvr.resource.as_str())
        .collect();
    all.sort_unstable();
    assert_eq!(
        all,
        [
            "cronjobs",
            "daemonsets",
            "deployments",
            "horizontalpodautoscalers",
            "jobs",
            "pods",
            "replicasets",
            "replicationcontrollers",
            "services",
            "statefulsets"
        ]
    );
}

#[test]
fn groups_come_in_kube_apiservers_order() {
    let names: Vec<&str> = registry().groups().iter().map(|g| g.name.as_str()).collect();
    assert_eq!(&names[..4], ["apiregistration.k8s.io", "", "apps", "events.k8s.io"]);
    assert_eq!(registry().group("autoscaling").unwrap().versions, ["v2", "v1"]);
    let events = registry().resources().find(|r| r.gvr.group == "events.k8s.io").unwrap();
    assert_eq!(events.storage, apimachinery::gvk::Gvr::new("", "v1", "events"));
}

#[test]
fn what_an_empty_spec_lacks_is_told() {
    let cases: [(&str, &str, &[&str]); 14] = [
        ("", "Pod", &["spec.containers: Required value"]),
        ("", "Service", &["spec.ports: Required value"]),
        (
            "",
            "PersistentVolume",
            &[
                "spec.accessModes: Required value",
                "spec.capacity: Required value",
                "spec: Required value: must specify a volume type",
            ],
        ),
        (
            "",
            "PersistentVolumeClaim",
            &[
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
            ],
        ),
        ("", "ReplicationController", &["spec.selector: Required value", "spec.template: Required value"]),
        (
            "apps",
            "Deployment",
            &["spec.selector: Required value", "spec.template.spec.containers: Required value"],
        ),
        (
            "apps",
            "ReplicaSet",
            &["spec.selector: Required value", "spec.template.spec.containers: Required value"],
        ),
        (
            "apps",
            "DaemonSet",
            &[
                "spec.template.metadata.labels: Invalid value: {}: `selector` does not match template `labels`",
                "spec.template.spec.containers: Required value",
            ],
        ),
        (
            "apps",
            "StatefulSet",
            &["spec.selector: Required value", "spec.template.spec.containers: Required value"],
        ),
        (
            "batch",
            "Job",
            &[
                "spec.template.spec.containers: Required value",
                "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            ],
        ),
        ("batch", "CronJob", &["spec.schedule: Required value"]),
        ("networking.k8s.io", "IngressClass", &["spec.controller: Required value"]),
        (
            "autoscaling",
            "HorizontalPodAutoscaler",
            &["spec.maxReplicas: Invalid value: 0: must be greater than 0"],
        ),
        (
            "certificates.k8s.io",
            "CertificateSigningRequest",
            &[
                "spec.request: Invalid value: null: PEM block type must be CERTIFICATE REQUEST",
                "spec.signerName: Required value",
                "spec.usages: Required value",
            ],
        ),
    ];
    for (group, kind, expected) in cases {
        let mut object = fixture(group, kind);
        object["spec"] = json!({});
        let (object, resource) = created(object);
        let found = texts(&resource.kind.validate(&object));
        for wanted in expected {
            assert!(found.iter().any(|e| e == wanted), "{kind}: {wanted} is not in {found:#?}");
        }
    }
}
