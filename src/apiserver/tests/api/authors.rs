//! Who made changes, as a list tells with `knarr.io/authors`.

use apiserver::authentication::UserInfo;
use jiff::Timestamp;
use serde_json::{Value, json};
use testkit::{Answer, TestServer, eventually};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn master(name: &str) -> Option<UserInfo> {
    Some(UserInfo::new(name, &["system:masters"]))
}

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}})
}

async fn authors(server: &TestServer, path: &str, more: &str) -> Answer {
    server.get(&format!("{path}?knarr.io/authors=true{more}")).await
}

/// Who, and who behind that.
fn users(list: &Value) -> Vec<(&str, Option<&str>)> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| (item["user"].as_str().unwrap(), item["impersonator"].as_str())).collect()
}

/// A map is made by alice, changed by bob, whom root impersonates, changed by carol, and deleted by dave.
async fn write(server: &TestServer, name: &str) {
    let item = format!("{MAPS}/{name}");
    let body = |value: &str| map(name, value).to_string();
    server.request_as(master("alice"), "POST", MAPS, &[], body("1")).await.expect(201);
    let headers = [("impersonate-user", "bob"), ("impersonate-group", "system:masters")];
    server.request_as(master("root"), "PUT", &item, &headers, body("2")).await.expect(200);
    let headers = [("content-type", "application/merge-patch+json")];
    server.request_as(master("carol"), "PATCH", &item, &headers, r#"{"data": {"k": "3"}}"#).await.expect(200);
    server.request_as(master("dave"), "DELETE", &item, &[], "").await.expect(200);
}

const ALL: [(&str, Option<&str>); 4] =
    [("alice", None), ("bob", Some("root")), ("carol", None), ("dave", None)];

#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_a_user_and_a_time() {
    let server = TestServer::start().await;
    let began = Timestamp::now();
    write(&server, "a").await;
    let list = authors(&server, MAPS, "").await.expect(200);
    assert_eq!(
        (list["kind"].as_str(), list["apiVersion"].as_str()),
        (Some("AuthorList"), Some("knarr.io/v1"))
    );
    assert_eq!(users(&list), ALL);
    let items = list["items"].as_array().unwrap();
    let times: Vec<Timestamp> =
        items.iter().map(|item| item["time"].as_str().unwrap().parse().unwrap()).collect();
    // They are told to the millisecond.
    assert!(times.is_sorted() && times[0].as_millisecond() >= began.as_millisecond(), "{times:?}");
    assert!(times[3] <= Timestamp::now(), "{times:?}");
    // The revisions are those of the events.
    let revisions: Vec<u64> =
        items.iter().map(|item| item["resourceVersion"].as_str().unwrap().parse().unwrap()).collect();
    let watch = format!("{MAPS}?watch=true&timeoutSeconds=1&resourceVersion={}", revisions[0] - 1);
    let told = server.get(&watch).await;
    let told = String::from_utf8(told.bytes.to_vec()).unwrap();
    let revision = |line: &str| -> u64 {
        let event: Value = serde_json::from_str(line).unwrap();
        event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
    };
    assert_eq!(told.lines().map(revision).collect::<Vec<_>>(), revisions);
    // What the server does by itself is its own.
    let list = authors(&server, "/api/v1/namespaces", "").await.expect(200);
    assert!(users(&list).contains(&("system:apiserver", None)), "{list}");
    // To others it is a list as any other.
    assert_eq!(
        server.get(&format!("{MAPS}?knarr.io/authors=false")).await.expect(200)["kind"],
        "ConfigMapList"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_told_of_what_is_asked_for_a_page_at_a_time() {
    let server = TestServer::start().await;
    write(&server, "a").await;
    write(&server, "b").await;
    server
        .post(
            "/api/v1/namespaces",
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}),
        )
        .await
        .expect(201);
    server.post("/api/v1/namespaces/other/configmaps", &map("a", "1")).await.expect(201);
    let name = "&fieldSelector=metadata.name%3Da";
    assert_eq!(users(&authors(&server, MAPS, name).await.expect(200)), ALL);
    // Of all namespaces, too.
    let everywhere = authors(&server, "/api/v1/configmaps", name).await.expect(200);
    assert_eq!(users(&everywhere), [&ALL[..], &[("system:admin", None)]].concat());
    let (mut after, mut told) = ("0".to_owned(), Vec::new());
    for _ in 0..3 {
        let page = authors(&server, MAPS, &format!("&limit=3&resourceVersion={after}")).await.expect(200);
        told.extend(users(&page).into_iter().map(|(user, _)| user.to_owned()));
        after = page["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    }
    assert_eq!(told, ["alice", "bob", "carol", "dave", "alice", "bob", "carol", "dave"]);
    for selector in [
        "&labelSelector=a%3Db",
        "&fieldSelector=metadata.namespace%3Ddefault",
        "&fieldSelector=metadata.name!%3Da",
    ] {
        authors(&server, MAPS, selector).await.expect(400);
    }
    authors(&server, MAPS, "&resourceVersion=x").await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_list_is_not_told() {
    let server = TestServer::start().await;
    write(&server, "a").await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "maps"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "watch", "update"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "maps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maps"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    server.post(&format!("{rbac}/roles"), &role).await.expect(201);
    server.post(&format!("{rbac}/rolebindings"), &binding).await.expect(201);
    let uri = format!("{MAPS}?knarr.io/authors=true");
    let jane = || Some(UserInfo::new("jane", &[]));
    server.request_as(jane(), "GET", &uri, &[], "").await.expect(403);
    let allow = json!([{"op": "add", "path": "/rules/0/verbs/-", "value": "list"}]);
    server.patch("json", &format!("{rbac}/roles/maps"), &allow).await.expect(200);
    let told = eventually("jane may list", || async {
        let answer = server.request_as(jane(), "GET", &uri, &[], "").await;
        (answer.code == 200).then(|| answer.json())
    });
    assert_eq!(users(&told.await), ALL);
}
