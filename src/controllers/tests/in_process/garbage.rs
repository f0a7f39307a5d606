//! What owners leave behind.

use serde_json::{Value, json};

use crate::cluster::{Cluster, QUIET, template};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn deploy(cluster: &Cluster) {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", "nginx")},
    });
    cluster.create(DEPLOYMENTS, deployment).await;
    cluster.eventually("two pods", || async { (cluster.list(PODS).await.len() == 2).then_some(()) }).await;
}

async fn all_gone(cluster: &Cluster) {
    cluster
        .eventually("everything is gone", || async {
            let gone = cluster.list(DEPLOYMENTS).await.is_empty()
                && cluster.list(SETS).await.is_empty()
                && cluster.list(PODS).await.is_empty();
            gone.then_some(())
        })
        .await;
}

#[tokio::test]
async fn in_the_background_dependents_follow_their_owner() {
    let cluster = Cluster::start().await;
    deploy(&cluster).await;
    cluster.delete(&format!("{DEPLOYMENTS}/web"), json!({"propagationPolicy": "Background"})).await;
    assert!(cluster.get(&format!("{DEPLOYMENTS}/web")).await.is_none(), "the owner goes at once");
    all_gone(&cluster).await;
}

#[tokio::test]
async fn in_the_foreground_the_owner_waits_for_its_dependents() {
    let cluster = Cluster::start().await;
    deploy(&cluster).await;
    let pod = cluster.list(PODS).await.remove(0);
    let pod = format!("{PODS}/{}", pod["metadata"]["name"].as_str().unwrap());
    cluster.patch(&pod, json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    cluster.delete(&format!("{DEPLOYMENTS}/web"), json!({"propagationPolicy": "Foreground"})).await;
    cluster
        .eventually("only the held pod is left", || async {
            (cluster.list(PODS).await.len() == 1).then_some(())
        })
        .await;
    let owner = cluster.get(&format!("{DEPLOYMENTS}/web")).await.expect("the owner waits");
    assert_eq!(owner["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    cluster.patch(&pod, json!({"metadata": {"finalizers": null}})).await;
    all_gone(&cluster).await;
}

#[tokio::test]
async fn orphaned_dependents_stay_and_can_be_adopted_again() {
    let cluster = Cluster::start().await;
    deploy(&cluster).await;
    cluster.delete(&format!("{DEPLOYMENTS}/web"), json!({"propagationPolicy": "Orphan"})).await;
    let set = cluster
        .eventually("the owner is gone and the set is free", || async {
            let set = cluster.list(SETS).await.into_iter().next()?;
            let free = set["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty);
            (free && cluster.get(&format!("{DEPLOYMENTS}/web")).await.is_none()).then_some(set)
        })
        .await;
    assert_eq!(cluster.list(PODS).await.len(), 2);
    deploy(&cluster).await;
    cluster
        .eventually("the set is adopted", || async {
            let sets = cluster.list(SETS).await;
            let adopted = sets[0]["metadata"]["ownerReferences"][0]["name"] == "web";
            (adopted && sets.len() == 1 && sets[0]["metadata"]["uid"] == set["metadata"]["uid"]).then_some(())
        })
        .await;
    assert_eq!(cluster.list(PODS).await.len(), 2);
}

#[tokio::test]
async fn dependents_of_owners_that_never_were_go_and_of_those_that_live_stay() {
    let cluster = Cluster::start().await;
    let map = |name: &str, owners: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": owners}});
    let owner = cluster.create(MAPS, map("owner", json!([]))).await;
    let reference =
        |name: &str, uid: &Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid});
    let living = reference("owner", &owner["metadata"]["uid"]);
    let ghost = reference("ghost", &json!("00000000-0000-4000-8000-000000000000"));
    let namesake = reference("owner", &json!("00000000-0000-4000-8000-000000000001"));
    cluster.create(MAPS, map("kept", json!([living.clone()]))).await;
    cluster.create(MAPS, map("both", json!([living.clone(), ghost.clone()]))).await;
    cluster.create(MAPS, map("lost", json!([ghost]))).await;
    cluster.create(MAPS, map("fooled", json!([namesake]))).await;
    cluster
        .eventually("those without an owner are gone", || async {
            let lost = cluster.get(&format!("{MAPS}/lost")).await;
            let fooled = cluster.get(&format!("{MAPS}/fooled")).await;
            let both = cluster.get(&format!("{MAPS}/both")).await?;
            let disowned = both["metadata"]["ownerReferences"] == json!([living]);
            (lost.is_none() && fooled.is_none() && disowned).then_some(())
        })
        .await;
    tokio::time::sleep(QUIET).await;
    assert!(cluster.get(&format!("{MAPS}/kept")).await.is_some());
}
