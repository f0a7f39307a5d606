//! Lists: selectors, pages, revisions, forms.

use serde_json::{Value, json};
use testkit::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn fill(server: &TestServer, count: usize) {
    for n in 0..count {
        let object =
            json!({"metadata": {"name": format!("m-{n:03}"), "labels": {"even": (n % 2 == 0).to_string()}}});
        server.post(MAPS, &object).await.expect(201);
    }
}

fn names(list: &Value) -> Vec<String> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_in_pages_of_one_state() {
    let server = TestServer::start().await;
    fill(&server, 5).await;
    let first = server.get(&format!("{MAPS}?limit=2&labelSelector=even")).await.expect(200);
    assert_eq!(first["kind"], "ConfigMapList");
    assert_eq!(names(&first), ["m-000", "m-001"]);
    assert!(first["metadata"].get("remainingItemCount").is_none(), "not known under a selector");
    let first = server.get(&format!("{MAPS}?limit=2")).await.expect(200);
    let total = first["metadata"]["remainingItemCount"].as_u64().unwrap();
    server.delete(&format!("{MAPS}/m-002"), &Value::Null).await.expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = server.get(&format!("{MAPS}?limit=500&continue={token}")).await.expect(200);
    assert_eq!(names(&rest).len() as u64, total);
    assert!(names(&rest).contains(&"m-002".to_owned()), "the state is that of the first page");
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert!(rest["metadata"].get("continue").is_none());
    server.get(&format!("{MAPS}?continue=nonsense")).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_outlived_by_its_state_says_how_to_go_on() {
    let server = TestServer::start().await;
    fill(&server, 4).await;
    let first = server.get(&format!("{MAPS}?limit=1")).await.expect(200);
    server.delete(&format!("{MAPS}/m-003"), &Value::Null).await.expect(200);
    use storage::Storage;
    server.datastore.compact(server.datastore.revision()).await.unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let expired = server.get(&format!("{MAPS}?limit=500&continue={token}")).await;
    let status = expired.expect(410);
    assert_eq!(status["reason"], "Expired");
    let fresh = status["metadata"]["continue"].as_str().unwrap();
    let rest = server.get(&format!("{MAPS}?limit=500&continue={fresh}")).await.expect(200);
    assert!(!names(&rest).contains(&"m-003".to_owned()));
    assert!(names(&rest).contains(&"m-002".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_select() {
    let server = TestServer::start().await;
    fill(&server, 4).await;
    for (query, expected) in [
        ("labelSelector=even%3Dtrue", vec!["m-000", "m-002"]),
        ("labelSelector=even+in+(false)", vec!["m-001", "m-003"]),
        ("fieldSelector=metadata.name%3Dm-001", vec!["m-001"]),
        ("fieldSelector=metadata.name!%3Dm-001&labelSelector=even", vec!["m-000", "m-002", "m-003"]),
    ] {
        assert_eq!(names(&server.get(&format!("{MAPS}?{query}")).await.expect(200)), expected, "{query}");
    }
    let unknown = server.get(&format!("{MAPS}?fieldSelector=spec.x%3D1")).await;
    unknown.expect(400);
    assert_eq!(unknown.message(), "field label not supported: spec.x");
    server.get(&format!("{MAPS}?labelSelector=a%3D%3D%3Db")).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_as_recent_as_it_is_asked_to_be() {
    let server = TestServer::start().await;
    fill(&server, 1).await;
    let before = server.get(MAPS).await.expect(200);
    let revision = before["metadata"]["resourceVersion"].as_str().unwrap();
    server.post(MAPS, &json!({"metadata": {"name": "z"}})).await.expect(201);
    let exact = server.get(&format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")).await;
    assert_eq!(names(&exact.expect(200)), names(&before));
    let newer =
        server.get(&format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=NotOlderThan")).await;
    assert!(names(&newer.expect(200)).contains(&"z".to_owned()));
    server.get(&format!("{MAPS}?resourceVersion=0")).await.expect(200);
    server.get(&format!("{MAPS}?resourceVersionMatch=Exact")).await.expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_gets_its_table() {
    let server = TestServer::start().await;
    fill(&server, 2).await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let table = server.request("GET", MAPS, &[("accept", accept)], &Value::Null).await.expect(200);
    assert_eq!(
        (table["kind"].as_str(), table["apiVersion"].as_str()),
        (Some("Table"), Some("meta.k8s.io/v1"))
    );
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    let row = table["rows"].as_array().unwrap().iter().find(|r| r["cells"][0] == "m-000").unwrap();
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(row["object"]["metadata"]["name"], "m-000");
    let uri = format!("{MAPS}/m-000?includeObject=Object");
    let one = server.request("GET", &uri, &[("accept", accept)], &Value::Null).await.expect(200);
    assert_eq!(one["rows"][0]["object"]["kind"], "ConfigMap");
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let bare = server.request("GET", MAPS, &[("accept", accept)], &Value::Null).await.expect(200);
    assert_eq!(bare["kind"], "PartialObjectMetadataList");
    assert_eq!(bare["items"][0]["kind"], "PartialObjectMetadata");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_lists_are_compressed_for_those_who_accept_it() {
    let server = TestServer::start().await;
    for n in 0..3 {
        let object = json!({"metadata": {"name": format!("big-{n}")}, "data": {"k": "x".repeat(100_000)}});
        server.post(MAPS, &object).await.expect(201);
    }
    let plain = server.get(MAPS).await;
    assert!(plain.bytes.len() > 300_000);
    let packed = server.request("GET", MAPS, &[("accept-encoding", "gzip")], &Value::Null).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert!(packed.bytes.len() < 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_deleted_as_it_is_selected() {
    let server = TestServer::start().await;
    fill(&server, 4).await;
    let deleted = server.delete(&format!("{MAPS}?labelSelector=even%3Dtrue"), &Value::Null).await.expect(200);
    assert_eq!(names(&deleted), ["m-000", "m-002"]);
    assert_eq!(
        names(&server.get(&format!("{MAPS}?labelSelector=even")).await.expect(200)),
        ["m-001", "m-003"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_and_how_they_match_are_checked() {
    let server = TestServer::start().await;
    fill(&server, 3).await;
    let page = server.get(&format!("{MAPS}?limit=1")).await.expect(200);
    let (now, token) = (&page["metadata"]["resourceVersion"], page["metadata"]["continue"].as_str().unwrap());
    let now: u64 = now.as_str().unwrap().parse().unwrap();
    for (query, code, message) in [
        (
            "resourceVersionMatch=Exact".to_owned(),
            422,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        ("resourceVersionMatch=NotOlderThan".to_owned(), 422, "unless resourceVersion is provided"),
        (
            "resourceVersion=0&resourceVersionMatch=Exact".to_owned(),
            422,
            "\"exact\" is forbidden for resourceVersion \"0\"",
        ),
        (
            format!("resourceVersion={now}&resourceVersionMatch=Best"),
            422,
            "Unsupported value: \"Best\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
        ),
        (
            format!("resourceVersion={now}&resourceVersionMatch=Exact&continue={token}"),
            422,
            "forbidden when continue is provided",
        ),
        (
            format!("resourceVersion={now}&continue={token}"),
            400,
            "specifying resource version is not allowed when using continue",
        ),
        ("sendInitialEvents=true".to_owned(), 422, "sendInitialEvents is forbidden for list"),
        ("resourceVersion=x".to_owned(), 400, "strconv.ParseUint: parsing \"x\": invalid syntax"),
        ("continue=x".to_owned(), 400, "invalid continue token: continue key is not valid"),
        ("limit=x".to_owned(), 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
    ] {
        let answer = server.get(&format!("{MAPS}?{query}")).await;
        assert_eq!(answer.code, code, "{query}");
        assert!(answer.message().contains(message), "{query}: {}", answer.message());
    }
    for query in [
        format!("resourceVersion=0&continue={token}"),
        "resourceVersion=0&resourceVersionMatch=NotOlderThan".to_owned(),
        format!("resourceVersion={now}&resourceVersionMatch=NotOlderThan&limit=1"),
        format!("resourceVersion={now}&resourceVersionMatch=Exact&limit=1"),
        format!("resourceVersion={now}&limit=1"),
    ] {
        server.get(&format!("{MAPS}?{query}")).await.expect(200);
    }
    // A list from whatever is at hand has no pages.
    let all = server.get(&format!("{MAPS}?resourceVersion=0&limit=1")).await.expect(200);
    assert!(names(&all).len() >= 3 && all["metadata"].get("continue").is_none());
    // The state of a revision, and a page of it without saying so: what old clients do.
    server.post(MAPS, &json!({"metadata": {"name": "a-new-one"}})).await.expect(201);
    let old = server.get(&format!("{MAPS}?resourceVersion={now}&limit=500")).await.expect(200);
    assert_eq!(old["metadata"]["resourceVersion"], now.to_string());
    assert!(!names(&old).contains(&"a-new-one".to_owned()));
    let at_least = server.get(&format!("{MAPS}?resourceVersion={now}")).await.expect(200);
    assert!(names(&at_least).contains(&"a-new-one".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_far_ahead_is_waited_for_in_vain() {
    let server = TestServer::start().await;
    fill(&server, 1).await;
    for uri in [
        format!("{MAPS}?resourceVersion=99999"),
        format!("{MAPS}?resourceVersion=99999&resourceVersionMatch=NotOlderThan"),
        format!("{MAPS}?resourceVersion=99999&resourceVersionMatch=Exact"),
        format!("{MAPS}/m-000?resourceVersion=99999"),
    ] {
        let answer = server.get(&uri).await;
        let status = answer.expect(504);
        assert_eq!(status["reason"], "Timeout", "{uri}");
        assert!(
            answer.message().starts_with("Timeout: Too large resource version: 99999, current: "),
            "{uri}"
        );
        let cause = json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
        assert_eq!(status["details"]["causes"], cause, "{uri}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_gone_is_told() {
    use storage::Storage;
    let server = TestServer::start().await;
    let before =
        server.get(MAPS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    fill(&server, 2).await;
    server.datastore.compact(server.datastore.revision()).await.unwrap();
    let gone = server.get(&format!("{MAPS}?resourceVersion={before}&resourceVersionMatch=Exact")).await;
    assert_eq!(gone.expect(410)["reason"], "Expired");
    assert_eq!(gone.message(), "The resourceVersion for the provided list is too old.");
    server.get(&format!("{MAPS}?resourceVersion={before}")).await.expect(200);
    server.get(&format!("{MAPS}/m-000?resourceVersion={before}")).await.expect(200);
}
