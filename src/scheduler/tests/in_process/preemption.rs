//! A pod that others have to go for.

use serde_json::{Value, json};
use testkit::{TestServer, eventually};

use crate::support::Cluster;

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn make(server: &TestServer, name: &str, class: &str) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "priorityClassName": class,
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "3"}}}]}});
    let made = eventually("the account", || async {
        let made = server.post(PODS, &pod).await;
        (made.code != 403).then_some(made)
    });
    made.await.expect(201);
}

/// The pod, once something holds of it.
async fn until(server: &TestServer, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || async {
        let pod = server.get(&format!("{PODS}/{name}")).await.json();
        holds(&pod).then_some(pod)
    })
    .await
}

#[tokio::test]
async fn an_important_pod_gets_the_place_of_another() {
    let cluster = Cluster::start(&["n"]).await;
    let server = &cluster.server;
    for (name, value, policy) in
        [("low", 1, "PreemptLowerPriority"), ("high", 10, "PreemptLowerPriority"), ("polite", 20, "Never")]
    {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value, "preemptionPolicy": policy});
        server.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await.expect(201);
    }
    make(server, "low", "low").await;
    until(server, "low", "the pod is bound", |pod| pod["spec"]["nodeName"] == "n").await;

    make(server, "polite", "polite").await;
    let told =
        until(server, "polite", "it is told", |pod| pod["status"]["conditions"][0]["message"].is_string());
    assert_eq!(
        told.await["status"]["conditions"][0]["message"],
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
    );
    server.delete(&format!("{PODS}/polite"), &Value::Null).await.expect(200);

    make(server, "high", "high").await;
    let victim =
        until(server, "low", "it is to go", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
    let conditions = victim["status"]["conditions"].as_array().unwrap();
    let why = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget").unwrap();
    assert_eq!(why["reason"], "PreemptionByScheduler");
    assert_eq!(why["message"], "default-scheduler: preempting to accommodate a higher priority pod");
    until(server, "high", "it waits", |pod| pod["status"]["nominatedNodeName"] == "n").await;
    // The kubelet has ended it.
    let now = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    server.delete(&format!("{PODS}/low"), &now).await.expect(200);
    until(server, "high", "it has the place", |pod| pod["spec"]["nodeName"] == "n").await;
    let events = eventually("events", || async {
        let uri = "/api/v1/namespaces/default/events?fieldSelector=reason=Preempted";
        let events = server.get(uri).await.json();
        events["items"].as_array().is_some_and(|items| !items.is_empty()).then_some(events)
    });
    let event = &events.await["items"][0];
    assert_eq!(event["involvedObject"]["name"], "low");
    assert!(event["message"].as_str().unwrap().ends_with(" on node n"), "{event}");
}
