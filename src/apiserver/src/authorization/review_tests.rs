//! Access reviews answer as requests would be decided.

use std::sync::Arc;

use super::*;
use crate::authorization::Rbac;
use crate::authorization::Union;
use crate::bootstrap::{ExtensionAuthentication, reconcile};
use crate::cached::testing::{create, registry};
use serde_json::json;

async fn cluster() -> (Union, Arc<Rbac>) {
    let registry = registry().await;
    reconcile(&registry, &ExtensionAuthentication::default()).await.unwrap();
    let api = "rbac.authorization.k8s.io/v1";
    create(
        &registry,
        json!({"apiVersion": api, "kind": "RoleBinding",
        "metadata": {"name": "v", "namespace": "ns"},
        "roleRef": {"kind": "ClusterRole", "name": "system:aggregate-to-view"},
        "subjects": [{"kind": "User", "name": "jane"}]}),
    )
    .await;
    let rbac = Rbac::start(&registry).await.unwrap();
    let authorizer: Arc<dyn Authorizer> = rbac.clone();
    (Union::new(vec![authorizer]), rbac)
}

#[tokio::test]
async fn a_review_of_somebody_needs_somebody_and_one_question() {
    let (union, _) = cluster().await;
    let mut review = json!({"spec": {"user": "jane", "resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "ns"}}});
    subject_access_review(&union, &mut review).await.unwrap();
    assert_eq!(review["status"]["allowed"], true);
    assert_eq!(
        review["status"]["reason"],
        "RBAC: allowed by RoleBinding \"v/ns\" of ClusterRole \"system:aggregate-to-view\" to User \"jane\""
    );
    let mut nobody = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let refused = subject_access_review(&union, &mut nobody).await.unwrap_err();
    assert!(
        refused.message.contains("at least one of user or group must be specified"),
        "{}",
        refused.message
    );
    let mut both = json!({"spec": {"user": "a", "resourceAttributes": {}, "nonResourceAttributes": {}}});
    assert_eq!(subject_access_review(&union, &mut both).await.unwrap_err().code, 422);
    let mut neither = json!({"spec": {"user": "a"}});
    assert_eq!(subject_access_review(&union, &mut neither).await.unwrap_err().code, 422);
    let mut elsewhere = review.clone();
    let refused = local_subject_access_review(&union, "other", &mut elsewhere).await.unwrap_err();
    assert!(refused.message.contains("must match metadata.namespace"), "{}", refused.message);
    local_subject_access_review(&union, "ns", &mut review).await.unwrap();
}

#[tokio::test]
async fn everybody_may_ask_about_themselves() {
    let (union, _) = cluster().await;
    let jane = UserInfo::new("jane", &[]);
    let mut review =
        json!({"spec": {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": "ns"}}});
    self_subject_access_review(&union, &jane, &mut review).await.unwrap();
    assert_eq!(review["status"], json!({"allowed": false}));
    self_subject_access_review(&union, &UserInfo::admin(), &mut review).await.unwrap();
    assert_eq!(review["status"], json!({"allowed": true}));
    let mut path = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/version"}}});
    self_subject_access_review(&union, &jane, &mut path).await.unwrap();
    assert_eq!(path["status"]["allowed"], true);
    let mut rules = json!({"spec": {"namespace": "ns"}});
    self_subject_rules_review(&union, &jane, &mut rules).unwrap();
    assert_eq!(rules["status"]["incomplete"], false);
    let all = rules["status"]["resourceRules"].as_array().unwrap();
    assert!(all.iter().any(|rule| rule["resources"] == json!(["selfsubjectreviews"])));
    assert!(!rules["status"]["nonResourceRules"].as_array().unwrap().is_empty());
    assert_eq!(self_subject_rules_review(&union, &jane, &mut json!({"spec": {}})).unwrap_err().code, 400);
}

#[tokio::test]
async fn default_roles_let_components_do_their_work_and_no_more() {
    let (union, _) = cluster().await;
    let user = |name: &str| UserInfo::new(name, &[]);
    let account = UserInfo::service_account("kube-system", "replicaset-controller", "");
    let (manager, scheduler, proxy, jane) = (
        user("system:kube-controller-manager"),
        user("system:kube-scheduler"),
        user("system:kube-proxy"),
        user("jane"),
    );
    let table = [
        (&manager, "create", "", "pods", "", true),
        (&manager, "delete", "apps", "replicasets", "", true),
        (&manager, "update", "", "namespaces", "finalize", true),
        (&manager, "create", "discovery.k8s.io", "endpointslices", "", true),
        (&manager, "update", "coordination.k8s.io", "leases", "", true),
        (&manager, "create", "rbac.authorization.k8s.io", "clusterrolebindings", "", false),
        (&scheduler, "create", "", "pods", "binding", true),
        (&scheduler, "patch", "", "pods", "status", true),
        (&scheduler, "create", "", "pods", "", false),
        (&proxy, "watch", "discovery.k8s.io", "endpointslices", "", true),
        (&proxy, "get", "", "secrets", "", false),
        (&account, "create", "", "pods", "", true),
        (&account, "create", "", "secrets", "", false),
        (&jane, "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", true),
        (&jane, "list", "", "pods", "", false),
    ];
    for (user, verb, api_group, resource, subresource, allowed) in table {
        let attributes = Attributes {
            verb,
            namespace: "default",
            api_group,
            resource,
            subresource,
            resource_request: true,
            ..Attributes::non_resource(user, "", "")
        };
        let decision = union.authorize(&attributes).await;
        assert_eq!(
            decision.allowed(),
            allowed,
            "{} {verb} {resource}/{subresource}: {decision:?}",
            user.name
        );
    }
}
