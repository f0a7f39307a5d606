//! Watches: order, selectors, bookmarks, initial events, ends.

use crate::support::Events;
use serde_json::{Value, json};
use testkit::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn labelled(name: &str, app: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": app}}})
}

async fn revision(server: &TestServer) -> String {
    server.get(MAPS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_come_in_order_from_a_revision() {
    let server = TestServer::start().await;
    let from = revision(&server).await;
    server.post(MAPS, &labelled("a", "x")).await.expect(201);
    let mut events = Events::open(&server, &format!("{MAPS}?watch=1&resourceVersion={from}"), &[]).await;
    events.expect("ADDED", "a").await;
    server.patch("merge", &format!("{MAPS}/a"), &json!({"data": {"k": "v"}})).await.expect(200);
    let modified = events.expect("MODIFIED", "a").await;
    assert_eq!(modified["data"]["k"], "v");
    server.delete(&format!("{MAPS}/a"), &Value::Null).await.expect(200);
    let deleted = events.expect("DELETED", "a").await;
    assert_eq!(deleted["data"]["k"], "v");
    assert_ne!(deleted["metadata"]["resourceVersion"], modified["metadata"]["resourceVersion"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_to_match_is_added_and_what_stops_is_deleted() {
    let server = TestServer::start().await;
    let from = revision(&server).await;
    let uri = format!("{MAPS}?watch=1&resourceVersion={from}&labelSelector=app%3Dx");
    let mut events = Events::open(&server, &uri, &[]).await;
    server.post(MAPS, &labelled("a", "y")).await.expect(201);
    server
        .patch("merge", &format!("{MAPS}/a"), &json!({"metadata": {"labels": {"app": "x"}}}))
        .await
        .expect(200);
    let added = events.expect("ADDED", "a").await;
    assert_eq!(added["metadata"]["labels"]["app"], "x");
    server.patch("merge", &format!("{MAPS}/a"), &json!({"data": {"k": "v"}})).await.expect(200);
    events.expect("MODIFIED", "a").await;
    let left =
        server.patch("merge", &format!("{MAPS}/a"), &json!({"metadata": {"labels": {"app": "z"}}})).await;
    let left = left.expect(200);
    let deleted = events.expect("DELETED", "a").await;
    assert_eq!(deleted["metadata"]["labels"]["app"], "x", "the state that the watcher knew");
    assert_eq!(deleted["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"]);
    server.delete(&format!("{MAPS}/a"), &Value::Null).await.expect(200);
    server.post(MAPS, &labelled("b", "x")).await.expect(201);
    events.expect("ADDED", "b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_without_a_revision_begins_with_the_state() {
    let server = TestServer::start().await;
    server.post(MAPS, &labelled("a", "x")).await.expect(201);
    let mut events =
        Events::open(&server, &format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Da"), &[]).await;
    events.expect("ADDED", "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_list_marks_the_end_of_the_state() {
    let server = TestServer::start().await;
    server.post(MAPS, &labelled("a", "x")).await.expect(201);
    let uri = format!(
        "{MAPS}?watch=1&labelSelector=app&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    );
    let mut events = Events::open(&server, &uri, &[]).await;
    events.expect("ADDED", "a").await;
    let bookmark = events.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    server.post(MAPS, &labelled("b", "x")).await.expect(201);
    events.expect("ADDED", "b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_in_time_with_a_bookmark() {
    let server = TestServer::start().await;
    let uri = format!(
        "{MAPS}?watch=1&resourceVersion={}&timeoutSeconds=1&allowWatchBookmarks=1",
        revision(&server).await
    );
    let mut events = Events::open(&server, &uri, &[]).await;
    assert_eq!(events.next().await.unwrap()["type"], "BOOKMARK");
    assert_eq!(events.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_a_revision_that_is_gone_gets_an_error_event() {
    use storage::Storage;
    let server = TestServer::start().await;
    let from = revision(&server).await;
    for n in 0..3 {
        server.post(MAPS, &labelled(&format!("m{n}"), "x")).await.expect(201);
    }
    server.datastore.compact(server.datastore.revision()).await.unwrap();
    let mut events = Events::open(&server, &format!("{MAPS}?watch=1&resourceVersion={from}"), &[]).await;
    let error = events.next().await.unwrap();
    assert_eq!(error["type"], "ERROR");
    assert_eq!(
        (error["object"]["code"].as_u64(), error["object"]["reason"].as_str()),
        (Some(410), Some("Expired"))
    );
    assert!(error["object"]["message"].as_str().unwrap().starts_with("too old resource version: "));
    assert_eq!(events.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_metadata_are_watched_too() {
    let server = TestServer::start().await;
    server.post(MAPS, &labelled("a", "x")).await.expect(201);
    let uri = format!("{MAPS}?watch=1&labelSelector=app");
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let mut events = Events::open(&server, &uri, &table).await;
    let first = events.next().await.unwrap();
    assert_eq!(first["object"]["kind"], "Table");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    assert!(first["object"]["columnDefinitions"].is_array());
    server.post(MAPS, &labelled("b", "x")).await.expect(201);
    assert!(events.next().await.unwrap()["object"]["columnDefinitions"].is_null());
    let bare = [("accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")];
    let mut events = Events::open(&server, &uri, &bare).await;
    assert_eq!(events.next().await.unwrap()["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_end_when_the_server_stops() {
    let server = TestServer::start().await;
    let uri = format!("{MAPS}?watch=1&resourceVersion={}", revision(&server).await);
    let mut events = Events::open(&server, &uri, &[]).await;
    server.server.begin_shutdown();
    assert_eq!(events.next().await, None);
    assert_eq!(server.get("/readyz").await.code, 500);
    assert_eq!(server.get("/livez").await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_watch_asks_for_has_to_go_together() {
    let server = TestServer::start().await;
    for (query, message) in [
        (
            "resourceVersion=5&resourceVersionMatch=NotOlderThan",
            "forbidden for watch unless sendInitialEvents is provided",
        ),
        ("sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        (
            "sendInitialEvents=false",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "sendInitialEvents=true&resourceVersion=5&resourceVersionMatch=Exact",
            "Unsupported value: \"Exact\": supported values: \"NotOlderThan\"",
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x",
            "forbidden when continue is provided",
        ),
    ] {
        let answer = server.get(&format!("{MAPS}?watch=1&{query}")).await;
        assert_eq!(answer.code, 422, "{query}");
        assert!(answer.message().contains(message), "{query}: {}", answer.message());
    }
    server.get(&format!("{MAPS}?watch=1&resourceVersion=x")).await.expect(400);
    server.get(&format!("{MAPS}?watch=1&fieldSelector=spec.x%3D1")).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_with_the_state_only_where_it_should() {
    let server = TestServer::start().await;
    server.post(MAPS, &labelled("a", "x")).await.expect(201);
    let bookmarks = "allowWatchBookmarks=true&labelSelector=app";
    // From nowhere in particular: the state first, and its end is marked for who understands it.
    for query in [
        "",
        "resourceVersion=0&",
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=1&",
    ] {
        let mut events = Events::open(&server, &format!("{MAPS}?watch=1&{query}{bookmarks}"), &[]).await;
        events.expect("ADDED", "a").await;
        let end = events.next().await.unwrap();
        assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true", "{query}");
    }
    let mut plain = Events::open(&server, &format!("{MAPS}?watch=1&labelSelector=app"), &[]).await;
    plain.expect("ADDED", "a").await;
    // Who does not want it begins with what comes next.
    let without =
        format!("{MAPS}?watch=1&{bookmarks}&sendInitialEvents=false&resourceVersionMatch=NotOlderThan");
    let mut later = Events::open(&server, &without, &[]).await;
    server.post(MAPS, &labelled("b", "x")).await.expect(201);
    later.expect("ADDED", "b").await;
    plain.expect("ADDED", "b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_a_later_revision_waits_for_it() {
    let server = TestServer::start().await;
    let now: u64 = revision(&server).await.parse().unwrap();
    // Other writers may come between: far enough ahead for the first, near enough for the last.
    let uri = format!("{MAPS}?watch=1&resourceVersion={}&labelSelector=app", now + 20);
    let mut events = Events::open(&server, &uri, &[]).await;
    server.post(MAPS, &labelled("early", "x")).await.expect(201);
    let mut n = 0;
    while server.get(MAPS).await.expect(200)["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        <= now + 20
    {
        server.post(MAPS, &json!({"metadata": {"name": format!("m{n}")}})).await.expect(201);
        n += 1;
    }
    server.post(MAPS, &labelled("late", "x")).await.expect(201);
    events.expect("ADDED", "late").await;
    let ahead = format!(
        "{MAPS}?watch=1&resourceVersion=99999&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    );
    let error = Events::open(&server, &ahead, &[]).await.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(504)));
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_select_in_watches_as_labels_do() {
    let server = TestServer::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    server
        .post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}))
        .await;
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let uri = format!(
        "{pods}?watch=1&fieldSelector=spec.nodeName%3Dn,status.phase!%3DFailed&resourceVersion={}",
        revision(&server).await
    );
    let mut events = Events::open(&server, &uri, &[]).await;
    server.post(pods, &pod("a")).await.expect(201);
    let binding = json!({"target": {"kind": "Node", "name": "n"}, "metadata": {"name": "a"}});
    server.post(&format!("{pods}/a/binding"), &binding).await.expect(201);
    assert_eq!(events.expect("ADDED", "a").await["spec"]["nodeName"], "n");
    server
        .patch("merge", &format!("{pods}/a/status"), &json!({"status": {"phase": "Running"}}))
        .await
        .expect(200);
    events.expect("MODIFIED", "a").await;
    server
        .patch("merge", &format!("{pods}/a/status"), &json!({"status": {"phase": "Failed"}}))
        .await
        .expect(200);
    assert_eq!(events.expect("DELETED", "a").await["status"]["phase"], "Running");
    server.delete(&format!("{pods}/a?gracePeriodSeconds=0"), &Value::Null).await.expect(200);
    server.post(pods, &pod("b")).await.expect(201);
    let binding = json!({"target": {"kind": "Node", "name": "n"}, "metadata": {"name": "b"}});
    server.post(&format!("{pods}/b/binding"), &binding).await.expect(201);
    events.expect("ADDED", "b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_does_not_read_is_cut_off_and_others_are_not() {
    let server = TestServer::start().await;
    let from = revision(&server).await;
    let uri = format!("{MAPS}?watch=1&resourceVersion={from}");
    let mut slow = Events::open(&server, &uri, &[]).await;
    server.post(MAPS, &labelled("a", "x")).await.expect(201);
    slow.expect("ADDED", "a").await;
    let mut quick = Events::open(&server, &uri, &[]).await;
    quick.expect("ADDED", "a").await;
    // More superseded bytes than the cache keeps for those who are late.
    for n in 0..40 {
        let change = json!({"data": {"k": format!("{n}").repeat(150_000)}});
        server.patch("merge", &format!("{MAPS}/a"), &change).await.expect(200);
        quick.expect("MODIFIED", "a").await;
    }
    let mut seen = 0;
    while slow.next().await.is_some() {
        seen += 1;
    }
    assert!(seen < 40, "it missed something and was told nothing");
    server.delete(&format!("{MAPS}/a"), &Value::Null).await.expect(200);
    quick.expect("DELETED", "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bookmarks_come_in_every_form() {
    let server = TestServer::start().await;
    let uri = format!(
        "{MAPS}?watch=1&resourceVersion={}&timeoutSeconds=1&allowWatchBookmarks=1",
        revision(&server).await
    );
    let accepts = [
        ("application/json;as=Table;v=v1;g=meta.k8s.io", "Table"),
        ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "PartialObjectMetadata"),
    ];
    for (accept, kind) in accepts {
        let bookmark = Events::open(&server, &uri, &[("accept", accept)]).await.next().await.unwrap();
        assert_eq!((&bookmark["type"], &bookmark["object"]["kind"]), (&json!("BOOKMARK"), &json!(kind)));
        let revision = &bookmark["object"]["metadata"]["resourceVersion"];
        assert!(revision.as_str().is_some_and(|rv| rv.parse::<u64>().is_ok()), "{bookmark}");
    }
}
