//! Cluster IPs and node ports.

use serde_json::{Value, json};
use std::collections::HashSet;
use testkit::TestServer;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    if spec.get("ports").is_none() {
        spec["ports"] = json!([{"port": 80}]);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubernetes_service_is_there_and_leads_here() {
    let server = TestServer::start().await;
    let found = server.get(&format!("{SERVICES}/kubernetes")).await.expect(200);
    assert_eq!(found["spec"]["clusterIP"], "10.152.183.1");
    let endpoints = server.get("/api/v1/namespaces/default/endpoints/kubernetes").await.expect(200);
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "192.0.2.1");
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    assert_eq!(server.get(slices).await.expect(200)["ports"][0]["port"], 6443);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_handed_out_once_whoever_asks() {
    let server = TestServer::start().await;
    let creates = (0..30).map(|n| {
        let server = &server;
        async move { server.post(SERVICES, &service(&format!("s{n}"), &json!({}))).await.expect(201) }
    });
    let created = futures::future::join_all(creates).await;
    let ips: HashSet<&str> = created.iter().map(|s| s["spec"]["clusterIP"].as_str().unwrap()).collect();
    assert_eq!(ips.len(), 30);
    assert_eq!(created[0]["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(created[0]["spec"]["clusterIPs"][0], created[0]["spec"]["clusterIP"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_had_by_one_until_it_is_given_back() {
    let server = TestServer::start().await;
    let wish = json!({"clusterIP": "10.152.183.10"});
    server.post(SERVICES, &service("dns", &wish)).await.expect(201);
    let taken = server.post(SERVICES, &service("other", &wish)).await;
    taken.expect(422);
    assert_eq!(
        taken.message(),
        "Service \"other\" is invalid: spec.clusterIPs: Invalid value: [\"10.152.183.10\"]: failed to allocate IP 10.152.183.10: provided IP is already allocated"
    );
    let outside = server.post(SERVICES, &service("other", &json!({"clusterIP": "1.2.3.4"}))).await;
    assert_eq!(outside.code, 422);
    let server = server.restart().await;
    assert_eq!(server.post(SERVICES, &service("other", &wish)).await.code, 422);
    server.delete(&format!("{SERVICES}/dns"), &Value::Null).await.expect(200);
    server.post(SERVICES, &service("other", &wish)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_ports_come_and_go_with_the_type() {
    let server = TestServer::start().await;
    let spec = json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81, "nodePort": 30080}]});
    let created = server.post(SERVICES, &service("s", &spec)).await.expect(201);
    let first = created["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&first));
    let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
    let taken = server.post(SERVICES, &service("t", &spec)).await;
    taken.expect(422);
    assert!(
        taken
            .message()
            .contains("spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated")
    );
    let outside = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]});
    assert_eq!(server.post(SERVICES, &service("t", &outside)).await.code, 422);
    let same =
        server.patch("merge", &format!("{SERVICES}/s"), &json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(same.expect(200)["spec"]["ports"][0]["nodePort"].as_u64(), Some(first));
    let plain =
        server.patch("merge", &format!("{SERVICES}/s"), &json!({"spec": {"type": "ClusterIP"}})).await;
    assert!(plain.expect(200)["spec"]["ports"][0].get("nodePort").is_none());
    server.post(SERVICES, &service("t", &spec)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn headless_and_external_services_have_no_address() {
    let server = TestServer::start().await;
    let headless =
        server.post(SERVICES, &service("h", &json!({"clusterIP": "None", "selector": {"a": "b"}}))).await;
    assert_eq!(headless.expect(201)["spec"]["clusterIPs"], json!(["None"]));
    let external = json!({"type": "ExternalName", "externalName": "example.com"});
    let created = server.post(SERVICES, &service("e", &external)).await.expect(201);
    assert!(created["spec"].get("clusterIP").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_may_leave_the_address_out() {
    let server = TestServer::start().await;
    let created = server.post(SERVICES, &service("s", &json!({}))).await.expect(201);
    let updated = server.put(&format!("{SERVICES}/s"), &service("s", &json!({"selector": {"a": "b"}}))).await;
    assert_eq!(updated.expect(200)["spec"]["clusterIP"], created["spec"]["clusterIP"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_service_cidr_adds_addresses_as_soon_as_it_is_ready() {
    let tiny =
        |config: &mut apiserver::Config| config.service_cidrs = vec!["10.152.183.0/30".parse().unwrap()];
    let server = TestServer::start_with(tiny).await;
    // Of the two addresses the kubernetes Service has one.
    server.post(SERVICES, &service("one", &json!({}))).await.expect(201);
    assert_eq!(server.post(SERVICES, &service("two", &json!({}))).await.code, 500);
    let cidrs = "/apis/networking.k8s.io/v1/servicecidrs";
    let more = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
        "spec": {"cidrs": ["10.99.0.0/24"]}});
    server.post(cidrs, &more).await.expect(201);
    assert_eq!(server.post(SERVICES, &service("two", &json!({}))).await.code, 500);
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    server.patch("merge", &format!("{cidrs}/more/status"), &ready).await.expect(200);
    let made = server.post(SERVICES, &service("two", &json!({}))).await.expect(201);
    let ip = made["spec"]["clusterIP"].as_str().unwrap();
    assert!(ip.starts_with("10.99.0."), "{ip}");
    let record = server.get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}")).await.expect(200);
    assert_eq!(
        record["spec"]["parentRef"],
        json!({"group": "", "resource": "services", "namespace": "default", "name": "two"})
    );
    server.post(SERVICES, &service("three", &json!({"clusterIP": "10.99.0.7"}))).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_says_that_it_is_there() {
    let server = TestServer::start_with(|config| config.hostname = "n1".to_owned()).await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?labelSelector=apiserver.kubernetes.io/identity%3Dkube-apiserver";
    let found = server.get(path).await.expect(200);
    let lease = &found["items"][0];
    assert_eq!(lease["metadata"]["name"], "apiserver-m5vyxocm44th3vja33feqeoi6e");
    assert_eq!(lease["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 3600);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_reach_a_server_of_the_other_family_where_its_node_says() {
    const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let addresses = |slice: &Value| -> Vec<String> {
        let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints.iter().map(|one| one["addresses"][0].as_str().unwrap_or_default().to_owned()).collect()
    };
    let server = TestServer::start_with(|config| {
        config.advertise_address = "fd00::1".parse().unwrap();
        config.hostname = "n1".to_owned();
    })
    .await;
    let own = server.get(&format!("{SLICES}/kubernetes")).await.expect(200);
    assert_eq!((&own["addressType"], addresses(&own)), (&json!("IPv6"), vec!["fd00::1".to_owned()]));
    let for_pods = server.get(&format!("{SLICES}/kubernetes-ipv4")).await.expect(200);
    assert_eq!((&for_pods["addressType"], addresses(&for_pods)), (&json!("IPv4"), vec![]));
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    server.post("/api/v1/nodes", &node).await.expect(201);
    let status = json!({"status": {"addresses": [{"type": "ExternalIP", "address": "192.0.2.9"},
        {"type": "InternalIP", "address": "fd00::1"}, {"type": "InternalIP", "address": "10.1.3.0"}]}});
    server.patch("merge", "/api/v1/nodes/n1/status", &status).await.expect(200);
    let told = || async {
        let for_pods = server.get(&format!("{SLICES}/kubernetes-ipv4")).await.expect(200);
        (addresses(&for_pods) == ["10.1.3.0"]).then_some(())
    };
    testkit::wait::eventually("what the node tells", told).await;
    let own = server.get(&format!("{SLICES}/kubernetes")).await.expect(200);
    assert_eq!(addresses(&own), ["fd00::1"]);

    // The same server with an address of the Services' family.
    let server = TestServer::start_in(server.stop().await, |config| config.hostname = "n1".to_owned()).await;
    let own = server.get(&format!("{SLICES}/kubernetes")).await.expect(200);
    assert_eq!((&own["addressType"], addresses(&own)), (&json!("IPv4"), vec!["192.0.2.1".to_owned()]));
    server.get(&format!("{SLICES}/kubernetes-ipv4")).await.expect(404);
}
