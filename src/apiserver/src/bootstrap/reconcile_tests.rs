//! The beginning of a cluster: complete, quick, idempotent, and careful with what people changed.

use super::*;
use crate::cached::testing::{registry, remove, update};

const RBAC: &str = "rbac.authorization.k8s.io";

async fn cluster() -> Registry {
    let registry = registry().await;
    reconcile(&registry, &ExtensionAuthentication::default()).await.unwrap();
    registry
}

async fn get(registry: &Registry, plural: &str, name: &str) -> Value {
    registry.get_value(&GroupResource::new(RBAC, plural), "", name).await.unwrap().unwrap()
}

#[tokio::test]
async fn everything_is_there_at_first_and_nothing_is_written_again() {
    let registry = cluster().await;
    for (group, plural, namespace, name) in [
        ("", "namespaces", "", "kube-node-lease"),
        ("", "configmaps", "kube-system", "extension-apiserver-authentication"),
        ("", "configmaps", "kube-system", "kube-apiserver-legacy-service-account-token-tracking"),
        ("scheduling.k8s.io", "priorityclasses", "", "system-node-critical"),
        ("flowcontrol.apiserver.k8s.io", "flowschemas", "", "catch-all"),
        (RBAC, "clusterroles", "", "cluster-admin"),
        (RBAC, "clusterroles", "", "system:controller:deployment-controller"),
        (RBAC, "clusterrolebindings", "", "system:controller:deployment-controller"),
        (RBAC, "roles", "kube-system", "extension-apiserver-authentication-reader"),
        (RBAC, "rolebindings", "kube-public", "system:controller:bootstrap-signer"),
    ] {
        let found = registry.get_value(&GroupResource::new(group, plural), namespace, name).await.unwrap();
        assert!(found.is_some_and(|object| !meta::uid(&object).is_empty()), "{plural} {name}");
    }
    let admin = get(&registry, "clusterroles", "admin").await;
    assert_eq!(
        admin["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"]["rbac.authorization.k8s.io/aggregate-to-admin"],
        "true"
    );
    assert_eq!(admin["metadata"]["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
    let edit = get(&registry, "clusterroles", "edit").await;
    assert_eq!(edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"], "true");
    let before = registry.storage().revision();
    reconcile(&registry, &ExtensionAuthentication::default()).await.unwrap();
    assert_eq!(registry.storage().revision(), before);
}

#[tokio::test]
async fn what_is_missing_is_added_and_what_was_added_stays() {
    let registry = cluster().await;
    let mut role = get(&registry, "clusterroles", "system:node-proxier").await;
    role["rules"] = json!([{"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"]}]);
    meta::set_label(&mut role, "mine", "yes");
    update(&registry, &role).await;
    let mut binding = get(&registry, "clusterrolebindings", "system:discovery").await;
    binding["subjects"] = json!([{"kind": "User", "name": "jane", "apiGroup": RBAC}]);
    update(&registry, &binding).await;
    let gone = get(&registry, "clusterroles", "system:kube-dns").await;
    remove(&registry, &gone).await;
    reconcile(&registry, &ExtensionAuthentication::default()).await.unwrap();
    let role = get(&registry, "clusterroles", "system:node-proxier").await;
    assert_eq!(role["rules"][0]["resources"], json!(["things"]));
    assert_eq!(role["rules"].as_array().unwrap().len(), 6);
    assert_eq!(meta::label(&role, "mine"), Some("yes"));
    let binding = get(&registry, "clusterrolebindings", "system:discovery").await;
    assert_eq!(binding["subjects"].as_array().unwrap().len(), 2);
    get(&registry, "clusterroles", "system:kube-dns").await;
}

#[tokio::test]
async fn protected_defaults_are_left_alone_and_wrong_references_are_put_right() {
    let registry = cluster().await;
    let mut role = get(&registry, "clusterroles", "system:kube-dns").await;
    role["rules"] = json!([]);
    meta::set_annotation(&mut role, AUTOUPDATE, "false");
    update(&registry, &role).await;
    let mut binding = get(&registry, "clusterrolebindings", "system:basic-user").await;
    binding["roleRef"]["name"] = json!("view");
    update(&registry, &binding).await;
    reconcile(&registry, &ExtensionAuthentication::default()).await.unwrap();
    assert_eq!(get(&registry, "clusterroles", "system:kube-dns").await["rules"], json!([]));
    let binding = get(&registry, "clusterrolebindings", "system:basic-user").await;
    assert_eq!(binding["roleRef"]["name"], "system:basic-user");
}

#[tokio::test]
async fn the_use_of_tokens_is_noted_since_the_first_start() {
    let registry = cluster().await;
    let tracking = crate::bootstrap::objects::token_tracking("2020-02-29T23:00:00Z".parse().unwrap());
    assert_eq!(tracking["data"]["since"], "2020-02-29");
    let config_maps = GroupResource::new("", "configmaps");
    let stored = || async {
        registry.get_value(&config_maps, "kube-system", meta::name(&tracking)).await.unwrap().unwrap()
    };
    let mut earlier = stored().await;
    earlier["data"] = tracking["data"].clone();
    registry.update(&config_maps, &earlier).await.unwrap();
    reconcile(&registry, &ExtensionAuthentication::default()).await.unwrap();
    assert_eq!(stored().await["data"]["since"], "2020-02-29");
}

#[tokio::test]
async fn two_servers_may_begin_at_once() {
    let registry = registry().await;
    let extension = ExtensionAuthentication::default();
    let (one, two) = tokio::join!(reconcile(&registry, &extension), reconcile(&registry, &extension));
    one.unwrap();
    two.unwrap();
}
