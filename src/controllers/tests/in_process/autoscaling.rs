//! Workloads that grow with what their pods use. A custom resource plays `metrics.k8s.io`.

use serde_json::{Value, json};

use crate::cluster::{Cluster, template};

const AUTOSCALERS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const METRICS: &str = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";

async fn deploy(cluster: &Cluster, replicas: i32) {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                 "template": template("web", "nginx:1")}});
    cluster.create("/apis/apps/v1/namespaces/default/deployments", deployment).await;
    cluster
        .eventually("its pods run", || async {
            let deployment = cluster.get(DEPLOYMENT).await?;
            (deployment["status"]["availableReplicas"] == replicas).then_some(())
        })
        .await;
}

async fn autoscaler(cluster: &Cluster) {
    let memory = json!({"type": "Resource", "resource": {"name": "memory",
        "target": {"type": "AverageValue", "averageValue": "100Mi"}}});
    let autoscaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"}, "spec": {"minReplicas": 1, "maxReplicas": 4, "metrics": [memory],
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
    cluster.create(AUTOSCALERS, autoscaler).await;
}

/// The autoscaler, once a condition has a reason.
async fn told(cluster: &Cluster, condition: &str, reason: &str) -> Value {
    cluster
        .eventually(&format!("{condition} is {reason}"), || async {
            let autoscaler = cluster.get(&format!("{AUTOSCALERS}/web")).await?;
            let conditions = autoscaler["status"]["conditions"].as_array()?;
            conditions
                .iter()
                .any(|c| c["type"] == condition && c["reason"] == reason)
                .then_some(autoscaler.clone())
        })
        .await
}

/// Serves metrics in which each pod of the deployment uses this much memory.
async fn used(cluster: &Cluster, memory: &str) {
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "pods.metrics.k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, a test"}},
        "spec": {"group": "metrics.k8s.io", "scope": "Namespaced",
            "names": {"plural": "pods", "singular": "podmetrics", "kind": "PodMetrics", "listKind": "PodMetricsList"},
            "versions": [{"name": "v1beta1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    cluster.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    cluster.eventually("metrics are served", || async { cluster.get(METRICS).await.map(drop) }).await;
    for pod in cluster.list("/api/v1/namespaces/default/pods?labelSelector=app%3Dweb").await {
        let metrics = json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
            "metadata": {"name": pod["metadata"]["name"], "labels": {"app": "web"}},
            "timestamp": "2026-01-01T00:00:00Z", "window": "15s",
            "containers": [{"name": "main", "usage": {"cpu": "1m", "memory": memory}}]});
        cluster.create(METRICS, metrics).await;
    }
}

#[tokio::test]
async fn a_deployment_grows_with_what_its_pods_use() {
    let cluster = Cluster::start().await;
    deploy(&cluster, 2).await;
    used(&cluster, "150Mi").await;
    autoscaler(&cluster).await;
    let autoscaler = told(&cluster, "AbleToScale", "SucceededRescale").await;
    let status = &autoscaler["status"];
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(2), &json!(3)));
    assert_eq!(status["currentMetrics"][0]["resource"]["current"]["averageValue"], "157286400");
    assert!(status["lastScaleTime"].is_string());
    assert_eq!(cluster.get(DEPLOYMENT).await.unwrap()["spec"]["replicas"], 3);
    cluster
        .eventually("people are told", || async {
            let events = cluster.list("/api/v1/namespaces/default/events").await;
            events
                .iter()
                .any(|e| e["message"] == "New size: 3; reason: memory resource above target")
                .then_some(())
        })
        .await;
}

#[tokio::test]
async fn it_never_grows_beyond_its_bounds() {
    let cluster = Cluster::start().await;
    deploy(&cluster, 2).await;
    used(&cluster, "1Gi").await;
    autoscaler(&cluster).await;
    let autoscaler = told(&cluster, "ScalingLimited", "TooManyReplicas").await;
    assert_eq!(autoscaler["status"]["desiredReplicas"], 4);
    assert_eq!(cluster.get(DEPLOYMENT).await.unwrap()["spec"]["replicas"], 4);
}

#[tokio::test]
async fn without_metrics_it_stays_and_says_why() {
    let cluster = Cluster::start().await;
    autoscaler(&cluster).await;
    told(&cluster, "AbleToScale", "FailedGetScale").await;
    cluster.delete(&format!("{AUTOSCALERS}/web"), Value::Null).await;
    deploy(&cluster, 2).await;
    autoscaler(&cluster).await;
    let autoscaler = told(&cluster, "ScalingActive", "FailedGetResourceMetric").await;
    assert_eq!(autoscaler["status"]["currentReplicas"], 2);
    assert_eq!(cluster.get(DEPLOYMENT).await.unwrap()["spec"]["replicas"], 2);
}
