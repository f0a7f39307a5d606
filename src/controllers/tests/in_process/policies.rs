//! Admission policies: what their expressions are found to get wrong.

use serde_json::json;

use crate::cluster::Cluster;

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";

#[tokio::test]
async fn a_policy_tells_of_fields_that_are_not_there() {
    let cluster = Cluster::start().await;
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"}, "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": [""],
        "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]},
        "validations": [{"expression": "object.spec.nothing == 1"}]}});
    cluster.create(POLICIES, policy).await;
    let path = format!("{POLICIES}/p");
    let status = cluster
        .eventually("the policy has been checked", || async {
            let policy = cluster.get(&path).await?;
            (policy["status"]["observedGeneration"] == 1).then(|| policy["status"].clone())
        })
        .await;
    let warning = &status["typeChecking"]["expressionWarnings"][0];
    assert_eq!(warning["fieldRef"], "spec.validations[0].expression");
    let text = warning["warning"].as_str().unwrap();
    assert!(text.starts_with("/v1, Kind=Pod: ERROR: <input>:1:12: undefined field 'nothing'"), "{text}");
    cluster
        .patch(&path, json!({"spec": {"validations": [{"expression": "has(object.spec.hostNetwork)"}]}}))
        .await;
    cluster
        .eventually("the policy has been checked again", || async {
            let status = cluster.get(&path).await?["status"].clone();
            (status == json!({"observedGeneration": 2, "typeChecking": {}})).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_policy_is_checked_against_the_schemas_of_custom_resources() {
    let cluster = Cluster::start().await;
    let widgets = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"size": {"type": "integer"}}}}}]}});
    cluster.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widgets).await;
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "w"}, "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": ["example.com"],
        "apiVersions": ["v1"], "resources": ["widgets"], "operations": ["CREATE"]}]},
        "validations": [{"expression": "object.size > 1"}, {"expression": "object.colour == 'red'"}]}});
    cluster.create(POLICIES, policy).await;
    let path = format!("{POLICIES}/w");
    let status = cluster
        .eventually("the policy has been checked", || async {
            let policy = cluster.get(&path).await?;
            (policy["status"]["observedGeneration"] == 1).then(|| policy["status"].clone())
        })
        .await;
    let warnings = status["typeChecking"]["expressionWarnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["fieldRef"], "spec.validations[1].expression");
}
