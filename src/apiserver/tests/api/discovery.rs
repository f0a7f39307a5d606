//! Discovery, versions, health, metrics, and that every resource answers.

use serde_json::Value;
use testkit::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn groups_versions_and_resources_are_found() {
    let server = TestServer::start().await;
    let version = server.get("/version").await.expect(200);
    assert_eq!((version["major"].as_str(), version["minor"].as_str()), (Some("1"), Some("36")));
    assert_eq!(server.get("/api").await.expect(200)["versions"][0], "v1");
    let groups = server.get("/apis").await.expect(200);
    let names: Vec<&str> =
        groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"apps") && names.contains(&"batch"));
    let core = server.get("/api/v1").await.expect(200);
    let find = |name: &str| core["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).cloned();
    let pods = find("pods").unwrap();
    assert_eq!(pods["shortNames"][0], "po");
    assert_eq!(pods["namespaced"], true);
    assert_eq!(find("pods/eviction").unwrap()["group"], "policy");
    let scale = server.get("/apis/apps/v1").await.expect(200);
    let scale =
        scale["resources"].as_array().unwrap().iter().find(|r| r["name"] == "deployments/scale").cloned();
    assert_eq!(scale.unwrap()["kind"], "Scale");
    assert_eq!(server.get("/apis/apps").await.expect(200)["preferredVersion"]["version"], "v1");
    server.get("/apis/nope").await.expect(404);
    assert!(server.get("/").await.expect(200)["paths"].as_array().unwrap().len() > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_gets_everything_at_once() {
    let server = TestServer::start().await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let answer = server.request("GET", "/apis", &[("accept", accept)], &Value::Null).await;
    assert_eq!(
        answer.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let list = answer.expect(200);
    assert_eq!(list["kind"], "APIGroupDiscoveryList");
    let apps = list["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "apps").unwrap();
    assert_eq!(apps["versions"][0]["version"], "v1");
    let etag = answer.headers["etag"].to_str().unwrap().to_owned();
    let same =
        server.request("GET", "/apis", &[("accept", accept), ("if-none-match", &etag)], &Value::Null).await;
    assert_eq!(same.code, 304);
    let core = server.request("GET", "/api", &[("accept", accept)], &Value::Null).await.expect(200);
    assert_eq!(core["items"][0]["versions"][0]["version"], "v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_answer() {
    let server = TestServer::start().await;
    for path in ["/readyz", "/livez", "/healthz", "/readyz/ping", "/livez/etcd"] {
        assert_eq!(server.get(path).await.text(), "ok", "{path}");
    }
    let verbose = server.get("/readyz?verbose").await.text();
    assert!(verbose.contains("[+]etcd ok\n") && verbose.ends_with("readyz check passed\n"), "{verbose}");
    server.get("/api/v1/pods").await.expect(200);
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("component=\"apiserver\",group=\"\",resource=\"pods\""));
    assert_eq!(
        server.get("/.well-known/openid-configuration").await.expect(200)["response_types_supported"][0],
        "id_token"
    );
    assert!(server.get("/openid/v1/jwks").await.expect(200)["keys"].is_array());
}

/// A server with all that is off by default.
async fn everything() -> TestServer {
    TestServer::start_with(|config| config.runtime_config = "api/all".parse().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stored_resource_lists_itself() {
    let server = everything().await;
    for resource in api::registry().resources().filter(|r| r.verbs.contains(&"list")) {
        let group = &resource.gvr.group;
        let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        let uri = format!("{root}/{}/{}", resource.gvr.version, resource.gvr.resource);
        let list = server.get(&uri).await.expect(200);
        assert_eq!(list["kind"], format!("{}List", resource.gvk.kind), "{uri}");
        let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
        let table = server.request("GET", &uri, &table, &Value::Null).await.expect(200);
        let columns = table["columnDefinitions"].as_array().unwrap().len();
        for row in table["rows"].as_array().unwrap() {
            assert_eq!(row["cells"].as_array().unwrap().len(), columns, "{uri}");
        }
    }
}

/// Method, what follows the collection's path, and the query, by verb.
fn request_for(verb: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match verb {
        "create" => ("POST", "", ""),
        "delete" => ("DELETE", "/none", ""),
        "deletecollection" => ("DELETE", "", "?dryRun=All"),
        "get" => ("GET", "/none", ""),
        "list" => ("GET", "", ""),
        "patch" => ("PATCH", "/none", ""),
        "update" => ("PUT", "/none", ""),
        "watch" => ("GET", "", "?watch=1&timeoutSeconds=1&resourceVersion=1"),
        _ => return None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_that_discovery_names_is_served() {
    let server = everything().await;
    let merge = [("content-type", "application/merge-patch+json")];
    for resource in api::registry().resources() {
        let group = &resource.gvr.group;
        let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        let namespace = if resource.namespaced { "/namespaces/none" } else { "" };
        let base = format!("{root}/{}{namespace}/{}", resource.gvr.version, resource.gvr.resource);
        let mut asked = Vec::new();
        for (method, name, query) in resource.verbs.iter().filter_map(|verb| request_for(verb)) {
            asked.push((method, format!("{base}{name}{query}")));
        }
        for sub in &resource.subresources {
            for (method, ..) in sub.verbs.iter().filter_map(|verb| request_for(verb)) {
                asked.push((method, format!("{base}/none/{}", sub.name)));
            }
        }
        for (method, uri) in asked {
            let headers = if method == "PATCH" { &merge[..] } else { &[] };
            let body = if matches!(method, "GET" | "DELETE") { Value::Null } else { serde_json::json!({}) };
            if uri.contains("watch=1") {
                let user = Some(apiserver::authentication::UserInfo::admin());
                assert_eq!(server.open(user, method, &uri, &[], "").await.status(), 200, "{uri}");
                continue;
            }
            let answer = server.request(method, &uri, headers, &body).await;
            let unknown = answer.message() == "the server could not find the requested resource";
            assert!(
                !unknown && answer.code != 405 && answer.code != 500,
                "{method} {uri}: {}",
                answer.text()
            );
        }
    }
}
