//! RBAC over a real store: who may do what, why, and how soon changes count.

use super::*;
use crate::cached::testing::{create, registry, remove, update};
use serde_json::{Value, json};

fn role(namespace: &str, name: &str, rules: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
    let mut role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": rules});
    if !namespace.is_empty() {
        role["metadata"]["namespace"] = json!(namespace);
    }
    role
}

fn binding(namespace: &str, name: &str, role: (&str, &str), subjects: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let mut binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1}, "subjects": subjects,
    });
    if !namespace.is_empty() {
        binding["metadata"]["namespace"] = json!(namespace);
    }
    binding
}

fn get<'a>(user: &'a UserInfo, namespace: &'a str, resource: &'a str) -> Attributes<'a> {
    Attributes {
        verb: "get",
        namespace,
        resource,
        name: "x",
        resource_request: true,
        ..Attributes::non_resource(user, "", "")
    }
}

async fn policy() -> (Registry, Arc<Rbac>) {
    let registry = registry().await;
    let reads = |resource: &str| json!([{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}]);
    for object in [
        role("", "pods", reads("pods")),
        role("ns", "secrets", reads("secrets")),
        role("", "paths", json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]}])),
        binding("", "all-pods", ("ClusterRole", "pods"), json!([{"kind": "Group", "name": "readers"}])),
        binding("ns", "ns-pods", ("ClusterRole", "pods"), json!([{"kind": "User", "name": "jane"}])),
        binding("ns", "ns-secrets", ("Role", "secrets"), json!([{"kind": "ServiceAccount", "name": "sa"}])),
        binding(
            "ns",
            "far",
            ("Role", "secrets"),
            json!([{"kind": "ServiceAccount", "name": "sa", "namespace": "other"}]),
        ),
        binding(
            "",
            "paths",
            ("ClusterRole", "paths"),
            json!([{"kind": "Group", "name": "system:unauthenticated"}]),
        ),
        binding("ns", "broken", ("Role", "nothing"), json!([{"kind": "User", "name": "joe"}])),
        binding("ns", "wrong", ("ClusterRole", "nothing"), json!([{"kind": "User", "name": "joe"}])),
    ] {
        create(&registry, object).await;
    }
    let rbac = Rbac::start(&registry).await.unwrap();
    (registry, rbac)
}

#[tokio::test]
async fn requests_are_decided_with_reasons() {
    let (_registry, rbac) = policy().await;
    let allowed = |reason: &str| Decision::Allow(format!("RBAC: allowed by {reason}"));
    let none = |reason: &str| Decision::NoOpinion(reason.into());
    let (reader, jane, joe) =
        (UserInfo::new("r", &["readers"]), UserInfo::new("jane", &[]), UserInfo::new("joe", &[]));
    let (own, far) =
        (UserInfo::service_account("ns", "sa", ""), UserInfo::service_account("other", "sa", ""));
    let anonymous = UserInfo::anonymous();
    let missing = "RBAC: [role.rbac.authorization.k8s.io \"nothing\" not found, \
                   clusterrole.rbac.authorization.k8s.io \"nothing\" not found]";
    let table = [
        (
            get(&reader, "ns", "pods"),
            allowed("ClusterRoleBinding \"all-pods\" of ClusterRole \"pods\" to Group \"readers\""),
        ),
        (
            get(&reader, "", "pods"),
            allowed("ClusterRoleBinding \"all-pods\" of ClusterRole \"pods\" to Group \"readers\""),
        ),
        (get(&reader, "ns", "secrets"), none("")),
        (
            get(&jane, "ns", "pods"),
            allowed("RoleBinding \"ns-pods/ns\" of ClusterRole \"pods\" to User \"jane\""),
        ),
        (get(&jane, "other", "pods"), none("")),
        (get(&jane, "", "pods"), none("")),
        (
            get(&own, "ns", "secrets"),
            allowed("RoleBinding \"ns-secrets/ns\" of Role \"secrets\" to ServiceAccount \"sa/ns\""),
        ),
        (
            get(&far, "ns", "secrets"),
            allowed("RoleBinding \"far/ns\" of Role \"secrets\" to ServiceAccount \"sa/other\""),
        ),
        (get(&joe, "ns", "pods"), none(missing)),
        (
            Attributes::non_resource(&anonymous, "get", "/healthz/ping"),
            allowed(
                "ClusterRoleBinding \"paths\" of ClusterRole \"paths\" to Group \"system:unauthenticated\"",
            ),
        ),
        (Attributes::non_resource(&anonymous, "get", "/metrics"), none("")),
    ];
    for (attributes, expected) in table {
        assert_eq!(rbac.authorize(&attributes).await, expected, "{attributes:?}");
    }
}

#[tokio::test]
async fn a_grant_counts_with_the_next_request_and_so_does_its_end() {
    let (registry, rbac) = policy().await;
    let user = UserInfo::new("new", &[]);
    assert!(!rbac.authorize(&get(&user, "ns", "secrets")).await.allowed());
    let grant = binding("ns", "new", ("Role", "secrets"), json!([{"kind": "User", "name": "new"}]));
    let grant = create(&registry, grant).await;
    assert!(rbac.authorize(&get(&user, "ns", "secrets")).await.allowed());
    let mut changed =
        registry.get_value(&GroupResource::new(GROUP, "roles"), "ns", "secrets").await.unwrap().unwrap();
    changed["rules"] = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]}]);
    update(&registry, &changed).await;
    assert!(rbac.authorize(&get(&user, "ns", "configmaps")).await.allowed());
    assert!(!rbac.authorize(&get(&user, "ns", "secrets")).await.allowed());
    remove(&registry, &grant).await;
    rbac.catch_up();
    assert!(!rbac.authorize(&get(&user, "ns", "configmaps")).await.allowed());
}

#[tokio::test]
async fn a_binding_that_moves_to_another_subject_leaves_the_first() {
    let (registry, rbac) = policy().await;
    let (jane, jim) = (UserInfo::new("jane", &[]), UserInfo::new("jim", &[]));
    let bindings = GroupResource::new(GROUP, "rolebindings");
    let mut moved = registry.get_value(&bindings, "ns", "ns-pods").await.unwrap().unwrap();
    moved["subjects"] = json!([{"kind": "User", "name": "jim"}]);
    update(&registry, &moved).await;
    assert!(rbac.authorize(&get(&jim, "ns", "pods")).await.allowed());
    assert!(!rbac.authorize(&get(&jane, "ns", "pods")).await.allowed());
}

#[tokio::test]
async fn rules_for_a_user_are_those_of_all_bindings() {
    let (_registry, rbac) = policy().await;
    let ResolvedRules { rules, errors } = rbac.rules_for(&UserInfo::new("jane", &["readers"]), "ns");
    assert_eq!((rules.len(), errors.len()), (2, 0));
    let ResolvedRules { rules, errors } = rbac.rules_for(&UserInfo::new("joe", &[]), "ns");
    assert_eq!((rules.len(), errors.len()), (0, 2));
}
