//! The built-in tables: the schema of every kind of Kubernetes 1.36 and every resource that is served.
//!
//! Both are committed text, written by `examples/generate-schema.rs` from the facts of a release, and read once, when
//! first asked for. The types' text form is told in [`apimachinery::schema::text`].

mod declaration;
mod resources;

use std::sync::{Arc, LazyLock};

use apimachinery::gvk::Gvk;
use apimachinery::schema::{SchemaRef, SchemaSet, text};

pub use declaration::declaration;
pub use resources::{ResourceRow, SubresourceRow, resources};

const BUILTIN_TEXT: &str = include_str!("builtin.txt");

static BUILTIN: LazyLock<Arc<SchemaSet>> =
    LazyLock::new(|| Arc::new(text::parse(BUILTIN_TEXT).unwrap_or_else(|err| unreadable(&err))));

/// The committed table is part of the program: a test reads it, so this never shows.
fn unreadable(err: &dyn std::fmt::Display) -> SchemaSet {
    tracing::error!("the built-in schema table cannot be read: {err}");
    SchemaSet::default()
}

/// The text of the types' table, for checksums of what is made from it.
pub fn builtin_text() -> &'static str {
    BUILTIN_TEXT
}

/// Every type of the built-in kinds.
pub fn builtin() -> &'static Arc<SchemaSet> {
    &BUILTIN
}

/// The schema of a built-in kind, lists and request bodies (`DeleteOptions`, `TokenRequest`, ...) included.
pub fn schema_for(gvk: &Gvk) -> Option<SchemaRef> {
    let set = builtin();
    set.by_gvk(gvk).map(|id| SchemaRef::new(set.clone(), id))
}

/// The schema of a built-in definition by its OpenAPI name without `io.k8s.`, as `api.core.v1.PodSpec`.
pub fn schema_named(name: &str) -> Option<SchemaRef> {
    let set = builtin();
    set.by_name(name).map(|id| SchemaRef::new(set.clone(), id))
}

#[cfg(test)]
mod tests {
    use apimachinery::schema::{ListType, Shape, prune};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_committed_table_reads() {
        let set = text::parse(include_str!("builtin.txt")).unwrap();
        assert!(set.named().count() > 700);
    }

    #[test]
    fn every_resource_has_a_schema_and_so_has_its_list() {
        for row in resources() {
            let gvk = Gvk::new(row.group, row.version, row.kind);
            assert!(schema_for(&gvk).is_some(), "{gvk}");
            if row.verbs.contains(&"list") {
                let list = Gvk::new(row.group, row.version, format!("{}List", row.kind));
                assert!(schema_for(&list).is_some(), "{list}");
            }
        }
    }

    #[test]
    fn list_types_merge_keys_and_defaults_are_there() {
        let container = schema_named("api.core.v1.Container").unwrap();
        let ports = container.field("ports").unwrap();
        assert_eq!(ports.merge_key.as_deref(), Some("containerPort"));
        let Shape::List { list_type: ListType::Map(keys), item } = container.node().at(ports.ty).shape()
        else {
            panic!("ports is a list map")
        };
        assert_eq!(keys.to_vec(), ["containerPort", "protocol"]);
        let protocol = container.node().at(*item).field("protocol").unwrap();
        assert_eq!(protocol.default.as_deref(), Some(&json!("TCP")));
    }

    #[test]
    fn protobuf_numbers_lead_into_inlined_messages() {
        let numbers = |ty: &str, field: &str| {
            schema_named(ty).unwrap().field(field).unwrap().protobuf.numbers().collect::<Vec<_>>()
        };
        assert_eq!(numbers("api.core.v1.Volume", "emptyDir"), [2, 2]);
        assert_eq!(numbers("api.core.v1.Container", "image"), [2]);
        assert_eq!(numbers("api.admissionregistration.v1.NamedRuleWithOperations", "apiGroups"), [2, 2, 1]);
    }

    #[test]
    fn a_pod_is_pruned() {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "x": 1},
            "spec": {"containers": [{"name": "c", "image": "i", "imag": "j", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": 1}}}]}});
        let unknown = prune(&schema_for(&Gvk::new("", "v1", "Pod")).unwrap(), &mut pod).unwrap();
        assert_eq!(unknown, ["metadata.x", "spec.containers[0].imag"]);
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"], "1");
        assert_eq!(pod["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
    }

    /// What `kubectl create deployment nginx --image=nginx` leaves behind on a stock cluster.
    #[test]
    fn a_created_deployment_is_tracked_as_kubernetes_tracks_it() {
        let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "nginx", "labels": {"app": "nginx"}},
            "spec": {"replicas": 1, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
                "selector": {"matchLabels": {"app": "nginx"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "template": {"metadata": {"labels": {"app": "nginx"}}, "spec": {
                    "containers": [{"name": "nginx", "image": "nginx", "imagePullPolicy": "Always", "resources": {}}],
                    "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {}}}}});
        let schema = schema_for(&Gvk::new("apps", "v1", "Deployment")).unwrap();
        prune(&schema, &mut deployment).unwrap();
        apimachinery::managedfields::update(
            &schema,
            None,
            &mut deployment,
            "kubectl-create",
            "apps/v1",
            "",
            "now",
        );
        assert_eq!(
            deployment["metadata"]["managedFields"][0]["fieldsV1"],
            json!({
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
                    "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
                    "f:template": {
                        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                        "f:spec": {
                            "f:containers": {"k:{\"name\":\"nginx\"}": {
                                ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {}}},
                            "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:securityContext": {}}}}
            })
        );
    }
}
