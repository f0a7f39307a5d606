//! Health checks, metrics and timeouts.

use apiserver::authentication::UserInfo;
use serde_json::json;
use testkit::TestServer;

#[tokio::test]
async fn health_checks_have_upstreams_names_and_can_be_asked_one_by_one() {
    let server = TestServer::start().await;
    let text = server.get("/readyz?verbose").await.text();
    for check in
        ["ping", "etcd", "etcd-readiness", "informer-sync", "poststarthook/rbac/bootstrap-roles", "shutdown"]
    {
        assert!(text.contains(&format!("[+]{check} ok\n")), "{check} is not in\n{text}");
        assert_eq!(server.get(&format!("/readyz/{check}")).await.text(), "ok");
    }
    assert!(!server.get("/livez?verbose").await.text().contains("shutdown"));
    server.server.begin_shutdown();
    assert_eq!(server.get("/readyz").await.code, 500);
    assert_eq!(server.get("/readyz?exclude=shutdown").await.code, 200);
    assert_eq!(server.get("/livez").await.text(), "ok");
}

#[tokio::test]
async fn dashboards_find_their_metrics() {
    let server = TestServer::start().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    server.post("/api/v1/namespaces/default/configmaps", &map).await.expect(201);
    server.get("/api/v1/namespaces/default/configmaps").await.expect(200);
    let watch = server.open(Some(UserInfo::admin()), "GET", "/api/v1/configmaps?watch=1", &[], "").await;
    let (_, body) = watch.into_parts();
    let mut body = http_body_util::BodyExt::into_data_stream(body);
    futures::StreamExt::next(&mut body).await.unwrap().unwrap();
    let text = server.get("/metrics").await.text();
    for line in [
        "apiserver_request_total{code=\"201\",dry_run=\"\",component=\"apiserver\",group=\"\",resource=\"configmaps\",scope=\"namespace\",subresource=\"\",verb=\"POST\",version=\"v1\"} 1\n",
        "apiserver_request_duration_seconds_count{dry_run=\"\",component=\"apiserver\",group=\"\",resource=\"configmaps\"",
        "apiserver_request_sli_duration_seconds_bucket{component=\"apiserver\"",
        "apiserver_response_sizes_bucket{component=\"apiserver\"",
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1\n",
        "apiserver_longrunning_requests{component=\"apiserver\",group=\"\",resource=\"configmaps\",scope=\"cluster\",subresource=\"\",verb=\"WATCH\",version=\"v1\"} 1\n",
        "apiserver_watch_events_total{group=\"\",kind=\"ConfigMap\",resource=\"configmaps\",version=\"v1\"} ",
        "apiserver_storage_objects{resource=\"flowschemas.flowcontrol.apiserver.k8s.io\"} 13\n",
        "apiserver_resource_objects{group=\"\",resource=\"configmaps\"} ",
        "etcd_request_duration_seconds_bucket{group=\"\",operation=\"create\",resource=\"configmaps\",le=\"0.005\"} ",
        "apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"exempt\",priority_level=\"exempt\"} ",
        "apiserver_admission_step_admission_duration_seconds_count{operation=\"CREATE\",rejected=\"false\",type=\"validate\"} ",
        "apiserver_admission_controller_admission_duration_seconds_bucket{name=\"NamespaceLifecycle\",operation=\"CREATE\"",
        "kubernetes_build_info{",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    // Every name is told of once.
    let mut names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[tokio::test]
async fn a_timeout_that_is_none_is_refused() {
    let server = TestServer::start().await;
    let answer = server.get("/api/v1/namespaces?timeout=soon").await;
    assert_eq!(answer.code, 400);
    assert!(
        answer.message().starts_with("invalid timeout specified in the request URL"),
        "{}",
        answer.message()
    );
    server.get("/api/v1/namespaces?timeout=32s").await.expect(200);
}

#[tokio::test]
async fn what_the_process_counts_besides_is_told_too() {
    let server = TestServer::start_with(|config| config.more_metrics = vec![client::metrics::write]).await;
    let pods = kube::Api::<k8s_openapi::api::core::v1::Pod>::all(server.client());
    pods.list(&kube::api::ListParams::default()).await.unwrap();
    let queue = client::WorkQueue::named("observed");
    queue.add(1);
    let metrics = server.get("/metrics").await.text();
    for line in [
        "workqueue_depth{name=\"observed\"} 1",
        "rest_client_requests_total{code=\"200\",host=\"in-process\",method=\"GET\"} ",
        "rest_client_request_duration_seconds_count{host=\"in-process\",verb=\"GET\"} ",
    ] {
        assert!(metrics.lines().any(|told| told.starts_with(line)), "{line}");
    }
}
