//! Kinds that are served in several versions, or by several groups.

use serde_json::{Value, json};
use testkit::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_the_same_in_both_groups() {
    let server = TestServer::start().await;
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/x", "reportingInstance": "i",
        "action": "Doing", "reason": "Done", "note": "well", "type": "Normal",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}});
    let uri = "/apis/events.k8s.io/v1/namespaces/default/events";
    let created = server.post(uri, &event).await.expect(201);
    assert_eq!(
        (created["apiVersion"].as_str(), created["note"].as_str()),
        (Some("events.k8s.io/v1"), Some("well"))
    );
    let core = server.get("/api/v1/namespaces/default/events/e").await.expect(200);
    assert_eq!((core["apiVersion"].as_str(), core["message"].as_str()), (Some("v1"), Some("well")));
    assert_eq!(core["involvedObject"]["name"], "p");
    let selected = server.get(&format!("{uri}?fieldSelector=regarding.name%3Dp")).await.expect(200);
    assert_eq!(selected["items"][0]["regarding"]["name"], "p");
    assert_eq!(selected["kind"], "EventList");
    let selected = server.get("/api/v1/events?fieldSelector=involvedObject.name%3Dq").await.expect(200);
    assert_eq!(selected["items"], json!([]));
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let patched = server.patch("merge", &format!("{uri}/e"), &label).await.expect(200);
    assert_eq!(
        (patched["note"].as_str(), patched["metadata"]["labels"]["a"].as_str()),
        (Some("well"), Some("b"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_is_written_and_read_in_either_version() {
    let server = TestServer::start().await;
    let (v1, v2) = (
        "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
    );
    let scaler = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}});
    let created = server.post(v1, &scaler).await.expect(201);
    assert_eq!(created["spec"]["targetCPUUtilizationPercentage"], 70);
    let newer = server.get(&format!("{v2}/h")).await.expect(200);
    assert_eq!(newer["apiVersion"], "autoscaling/v2");
    assert_eq!(newer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    let patch = json!({"spec": {"targetCPUUtilizationPercentage": 50}});
    server.patch("merge", &format!("{v1}/h"), &patch).await.expect(200);
    let newer = server.get(&format!("{v2}/h")).await.expect(200);
    assert_eq!(newer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    let wrong = server.post(v2, &scaler).await;
    wrong.expect(400);
    assert_eq!(
        wrong.message(),
        "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)"
    );
    server.delete(&format!("{v1}/h"), &Value::Null).await.expect(200);
}
