//! Deployments, daemon sets, stateful sets, jobs.

use serde_json::{Value, json};

use crate::cluster::{Cluster, template};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/web";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn deploy(cluster: &Cluster, replicas: i32) {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", "nginx:1"),
        },
    });
    cluster.create("/apis/apps/v1/namespaces/default/deployments", deployment).await;
}

/// Waits until a rollout is complete, as `kubectl rollout status` judges it.
async fn rolled_out(cluster: &Cluster, replicas: i64) -> Value {
    cluster
        .eventually("the rollout is complete", || async {
            let deployment = cluster.get(DEPLOYMENT).await?;
            let status = &deployment["status"];
            let complete = status["observedGeneration"] == deployment["metadata"]["generation"]
                && ["replicas", "updatedReplicas", "availableReplicas"]
                    .iter()
                    .all(|field| status[*field].as_i64().unwrap_or(0) == replicas);
            complete.then_some(deployment.clone())
        })
        .await
}

async fn images(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.list(PODS).await;
    let live = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    live.map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()).collect()
}

fn set_image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{
        "name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}],
    }]}}}})
}

#[tokio::test]
async fn a_deployment_rolls_out_scales_and_rolls_back() {
    let cluster = Cluster::start().await;
    deploy(&cluster, 3).await;
    let first = rolled_out(&cluster, 3).await;
    assert_eq!(first["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    cluster.patch(DEPLOYMENT, set_image("nginx:2")).await;
    let second = rolled_out(&cluster, 3).await;
    assert_eq!(second["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    cluster
        .eventually("only new pods", || async { (images(&cluster).await == ["nginx:2"; 3]).then_some(()) })
        .await;
    assert_eq!(cluster.list(SETS).await.len(), 2);
    cluster.patch(DEPLOYMENT, set_image("nginx:1")).await;
    let third = rolled_out(&cluster, 3).await;
    assert_eq!(third["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    assert_eq!(cluster.list(SETS).await.len(), 2, "the first replica set is used again");
    cluster.patch(DEPLOYMENT, json!({"spec": {"replicas": 5}})).await;
    rolled_out(&cluster, 5).await;
    cluster.patch(DEPLOYMENT, json!({"spec": {"replicas": 0}})).await;
    rolled_out(&cluster, 0).await;
    let condition = |deployment: &Value, name: &str| {
        let conditions = deployment["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == name).unwrap()["reason"].clone()
    };
    assert_eq!(condition(&third, "Progressing"), "NewReplicaSetAvailable");
    assert_eq!(condition(&third, "Available"), "MinimumReplicasAvailable");
}

#[tokio::test]
async fn a_deleted_pod_is_replaced() {
    let cluster = Cluster::start().await;
    deploy(&cluster, 2).await;
    rolled_out(&cluster, 2).await;
    let gone = cluster.list(PODS).await.remove(0)["metadata"]["name"].as_str().unwrap().to_owned();
    cluster.delete(&format!("{PODS}/{gone}"), Value::Null).await;
    cluster
        .eventually("another takes its place", || async {
            let pods = cluster.list(PODS).await;
            let other = pods.iter().all(|pod| pod["metadata"]["name"] != gone.as_str());
            (other && pods.len() == 2).then_some(())
        })
        .await;
    rolled_out(&cluster, 2).await;
}

#[tokio::test]
async fn recreate_never_mixes_versions() {
    let cluster = Cluster::start().await;
    deploy(&cluster, 2).await;
    rolled_out(&cluster, 2).await;
    cluster
        .patch(DEPLOYMENT, json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}))
        .await;
    cluster.patch(DEPLOYMENT, set_image("nginx:2")).await;
    rolled_out(&cluster, 2).await;
    assert_eq!(images(&cluster).await, ["nginx:2"; 2]);
}

#[tokio::test]
async fn a_replication_controller_keeps_its_pods() {
    let cluster = Cluster::start().await;
    let controller = json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old"},
        "spec": {"replicas": 2, "selector": {"app": "old"}, "template": template("old", "nginx")},
    });
    cluster.create("/api/v1/namespaces/default/replicationcontrollers", controller).await;
    cluster
        .eventually("two ready replicas", || async {
            let found = cluster.get("/api/v1/namespaces/default/replicationcontrollers/old").await?;
            (found["status"]["readyReplicas"] == 2).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_daemon_set_runs_on_every_node_and_updates() {
    let cluster = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/daemonsets/agent";
    let set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", "nginx:1")},
    });
    cluster.create("/apis/apps/v1/namespaces/default/daemonsets", set).await;
    let settled = async |image: &str| {
        cluster
            .eventually("one updated daemon", || async {
                let set = cluster.get(path).await?;
                let status = &set["status"];
                let done = status["numberReady"] == 1
                    && status["updatedNumberScheduled"] == 1
                    && status["observedGeneration"] == set["metadata"]["generation"];
                (done && images(&cluster).await == [image]).then_some(())
            })
            .await;
    };
    settled("nginx:1").await;
    cluster.patch(path, set_image("nginx:2")).await;
    settled("nginx:2").await;
    assert_eq!(cluster.list("/apis/apps/v1/namespaces/default/controllerrevisions").await.len(), 2);
}

#[tokio::test]
async fn a_stateful_set_has_numbered_pods_with_claims() {
    let cluster = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/statefulsets/db";
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {
            "replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": template("db", "nginx:1"),
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }],
        },
    });
    cluster.create("/apis/apps/v1/namespaces/default/statefulsets", set).await;
    let settled = async |replicas: usize, image: &str| {
        cluster
            .eventually("all replicas are ready", || async {
                let set = cluster.get(path).await?;
                let status = &set["status"];
                let done = status["readyReplicas"] == replicas
                    && status["updatedReplicas"] == replicas
                    && status["currentRevision"] == status["updateRevision"];
                (done && images(&cluster).await == vec![image; replicas]).then_some(())
            })
            .await;
    };
    settled(2, "nginx:1").await;
    let names: Vec<Value> =
        cluster.list(PODS).await.iter().map(|pod| pod["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["db-0", "db-1"]);
    cluster.patch(path, set_image("nginx:2")).await;
    settled(2, "nginx:2").await;
    cluster.patch(path, json!({"spec": {"replicas": 1}})).await;
    settled(1, "nginx:2").await;
    let claims = cluster.list("/api/v1/namespaces/default/persistentvolumeclaims").await;
    assert_eq!(claims.len(), 2, "claims stay");
}

fn job(name: &str, end: &str, spec: Value) -> Value {
    let mut template = template(name, "busybox");
    template["metadata"]["labels"]["end"] = json!(end);
    template["spec"]["restartPolicy"] = json!("Never");
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec});
    job["spec"]["template"] = template;
    job
}

#[tokio::test]
async fn jobs_complete_or_fail_and_count_every_pod_once() {
    let cluster = Cluster::start().await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    cluster.create(jobs, job("good", "Succeeded", json!({"completions": 3, "parallelism": 2}))).await;
    let indexed = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed"});
    cluster.create(jobs, job("indexed", "Succeeded", indexed)).await;
    cluster.create(jobs, job("bad", "Failed", json!({"backoffLimit": 0}))).await;
    let ended = async |name: &str, condition: &str| {
        cluster
            .eventually(&format!("job {name} is {condition}"), || async {
                let job = cluster.get(&format!("{jobs}/{name}")).await?;
                let conditions = job["status"]["conditions"].as_array()?;
                let found =
                    conditions.iter().any(|known| known["type"] == condition && known["status"] == "True");
                found.then_some(job.clone())
            })
            .await
    };
    assert_eq!(ended("good", "Complete").await["status"]["succeeded"], 3);
    assert_eq!(ended("indexed", "Complete").await["status"]["completedIndexes"], "0,1");
    assert_eq!(ended("bad", "Failed").await["status"]["failed"], 1);
    let pods = cluster.list(PODS).await;
    assert_eq!(pods.len(), 6);
    assert!(pods.iter().all(|pod| pod["metadata"]["finalizers"].is_null()), "no pod is held back");
}

#[tokio::test]
async fn cron_jobs_start_jobs_and_follow_them() {
    let cluster = Cluster::start().await;
    let template = job("x", "Succeeded", json!({}))["spec"].clone();
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick"},
        "spec": {"schedule": "@every 1s", "jobTemplate": {"spec": template}},
    });
    cluster.create("/apis/batch/v1/namespaces/default/cronjobs", cron).await;
    cluster
        .eventually("a job of it succeeded", || async {
            let cron = cluster.get("/apis/batch/v1/namespaces/default/cronjobs/tick").await?;
            (cron["status"]["lastScheduleTime"].is_string()
                && cron["status"]["lastSuccessfulTime"].is_string())
            .then_some(())
        })
        .await;
}

#[tokio::test]
async fn jobs_with_a_time_to_live_go_after_they_have_ended() {
    let cluster = Cluster::start().await;
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    cluster.create(jobs, job("brief", "Succeeded", json!({"ttlSecondsAfterFinished": 1}))).await;
    cluster
        .eventually("job and pods are gone", || async {
            (cluster.list(jobs).await.is_empty() && cluster.list(PODS).await.is_empty()).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_disruption_budget_says_how_many_pods_may_go() {
    let cluster = Cluster::start().await;
    deploy(&cluster, 3).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    cluster.create(budgets, budget).await;
    cluster
        .eventually("one may go", || async {
            let status = cluster.get(&format!("{budgets}/web")).await?["status"].clone();
            (status["disruptionsAllowed"] == 1
                && status["currentHealthy"] == 3
                && status["desiredHealthy"] == 2)
                .then_some(())
        })
        .await;
}

#[tokio::test]
async fn aggregated_cluster_roles_collect_the_rules_of_others() {
    let cluster = Cluster::start().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let rule = json!({"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "widgets", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [rule],
    });
    cluster.create(roles, role).await;
    cluster
        .eventually("the role `view` has it", || async {
            let view = cluster.get(&format!("{roles}/view")).await?;
            view["rules"].as_array()?.contains(&rule).then_some(())
        })
        .await;
}
