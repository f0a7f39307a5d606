//! Walks every stable (`stable.txt`) and beta (`beta.txt`) operation of Kubernetes against a server, and keeps
//! `docs/api-surface.md` true.
//! `KNARR_UPDATE=1` writes that table anew.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use testkit::{Answer, TestServer};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const STABLE: &str = include_str!("stable.txt");
const BETA: &str = include_str!("beta.txt");
/// In this order nothing is deleted before all else was done with it.
const ORDER: [&str; 9] =
    ["post", "list", "read", "get", "put", "patch", "connect", "delete", "deletecollection"];
/// What is not served on purpose, and why.
const NOT_SERVED: [(&str, &str); 4] = [
    ("/apis/internal.apiserver.k8s.io/", "it has but an alpha version, which is off by default"),
    ("/apis/storagemigration.k8s.io/", "it has but a beta version, which is off by default"),
    ("/logs/", "the handler is off by default upstream, too"),
    ("/logs/{logpath}", "the handler is off by default upstream, too"),
];

/// A request for a certificate that is one, in base64; the manifest's is empty.
const REQUEST: &str = concat!(
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIZU1JR0ZBZ0VBTUNNeEV6QVJCZ05WQkFvTUNtUm",
    "xkbVZzYjNCbGNuTXhEREFLQmdOVkJBTU1BMkZ1YmpCWgpNQk1HQnlxR1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQUJJ",
    "a1ZxUVJmKzZTR1pHNWc0VVJFWTJCWDFuYnJKRDJ5ClRFeGVwZVNFMkFyN244dkc2WHMvbFRPcUh1T0JuR3JRZGhKbU",
    "VISHhBbUEzWGFXRno1bnZTbDJnQURBS0JnZ3EKaGtqT1BRUURBZ05JQURCRkFpQWFySFR3Y05Cb2ZNMDRaNWhRazRC",
    "UXBHYnYxUmcyQ2NtdFNnUTc4d001NndJaApBT0h1bTJlRWJ3UzZUSXl6WDdGakFjMkhhMlA1RjdjNkVTN1dSemR4ZE",
    "9lbgotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K",
);

/// An operation of the list, found in a path of the form that OpenAPI uses.
struct Operation {
    path: &'static str,
    action: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stable_operation_is_served() {
    let server = TestServer::start().await;
    prepare(&server).await;
    let failures = walk(&server, STABLE).await;
    let unexpected: Vec<_> =
        failures.iter().filter(|(path, _)| NOT_SERVED.iter().all(|(known, _)| known != *path)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let gone: Vec<_> = NOT_SERVED.iter().filter(|(path, _)| !failures.contains_key(path)).collect();
    assert!(gone.is_empty(), "served by now: {gone:?}");
    keep_table();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_beta_operation_is_served_when_asked_for() {
    let server = TestServer::start_with(|config| config.runtime_config = "api/beta".parse().unwrap()).await;
    let failures = walk(&server, BETA).await;
    assert!(failures.is_empty(), "{failures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beta_and_alpha_are_off_by_default() {
    let server = TestServer::start().await;
    for Operation { path, action } in operations(BETA) {
        if matches!(action, "get" | "list" | "read") {
            let answer = server.get(&path.replace(['{', '}'], "")).await;
            assert_eq!(answer.code, 404, "{path}: {}", answer.text());
        }
    }
    let groups = server.get("/apis").await.expect(200);
    let versions =
        groups["groups"].as_array().unwrap().iter().flat_map(|g| g["versions"].as_array().unwrap());
    let unfinished: Vec<&str> = versions
        .filter_map(|version| version["groupVersion"].as_str())
        .filter(|version| version.contains("alpha") || version.contains("beta"))
        .collect();
    assert!(unfinished.is_empty(), "{unfinished:?}");
}

fn operations(list: &'static str) -> Vec<Operation> {
    let of_line = |line: &'static str| {
        let (path, actions) = line.split_once(' ').unwrap();
        actions.split(' ').map(move |action| Operation { path, action })
    };
    list.lines().filter(|line| !line.starts_with('#')).flat_map(of_line).collect()
}

/// What was refused and why, by path.
async fn walk(
    server: &TestServer,
    list: &'static str,
) -> BTreeMap<&'static str, Vec<(&'static str, String)>> {
    let mut operations = operations(list);
    // Subresources after what they belong to; evictions and the like after the rest of the posts.
    operations.sort_by_key(|o| {
        let order = ORDER.iter().position(|action| *action == o.action).expect("a known action");
        (order, o.path.contains("{name}/"), o.path)
    });
    let mut failures = BTreeMap::new();
    for operation in &operations {
        if let Err(why) = perform(server, operation).await {
            failures.entry(operation.path).or_insert_with(Vec::new).push((operation.action, why));
        }
    }
    failures
}

/// What objects refer to, and what has no manifest of its own.
async fn prepare(server: &TestServer) {
    let account = json!({"metadata": {"name": "default"}});
    server.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    // Bound through the collection of bindings; the manifest's pod is bound through its own subresource.
    let pod = json!({"metadata": {"name": "bound"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
}

async fn perform(server: &TestServer, operation: &Operation) -> Result<(), String> {
    let path = operation.path;
    let collection = path.split("/{name}").next().unwrap();
    let sub = path.split_once("/{name}/").map(|(_, sub)| sub);
    let object = manifest(collection);
    let name = object.as_ref().and_then(|o| o["metadata"]["name"].as_str()).map(str::to_owned);
    let name =
        name.unwrap_or_else(|| format!("example-{}", collection.split('/').nth(3).unwrap_or_default()));
    // These exist without having been made.
    let name = if path.contains("/componentstatuses/") { "etcd-0".to_owned() } else { name };
    let uri = path
        .replace("{namespace}", "default")
        .replace("{name}", &name)
        .replace("{path}", "x")
        .replace("{logpath}", "x");
    let answer = match operation.action {
        "post" => server.post(&uri, &posted(path, sub, object, &name)).await,
        "put" => {
            let current = server.get(&uri.replace("/finalize", "")).await;
            require(&current, &[200])?;
            server.put(&uri, &current.json()).await
        }
        "patch" if sub == Some("scale") => {
            server.patch("merge", &uri, &json!({"spec": {"replicas": 1}})).await
        }
        "patch" => {
            server.patch("merge", &uri, &json!({"metadata": {"annotations": {"example.com/a": "b"}}})).await
        }
        "delete" | "deletecollection" => server.delete(&uri, &Value::Null).await,
        _ => server.get(&uri).await,
    };
    match operation.action {
        "post" => require(&answer, &[201]),
        "delete" | "deletecollection" => require(&answer, &[200, 202]),
        // There is no kubelet behind it: that the server looked for one is the answer.
        "connect" => refuse(&answer),
        "get" if sub == Some("log") => refuse(&answer),
        _ => require(&answer, &[200]),
    }
}

fn require(answer: &Answer, codes: &[u16]) -> Result<(), String> {
    if codes.contains(&answer.code) { Ok(()) } else { Err(format!("{} {}", answer.code, answer.text())) }
}

/// Neither unknown nor of the wrong method.
fn refuse(answer: &Answer) -> Result<(), String> {
    let unknown = answer.text().contains("could not find the requested resource");
    if unknown || answer.code == 405 { Err(format!("{} {}", answer.code, answer.text())) } else { Ok(()) }
}

/// What is sent to make something.
fn posted(path: &str, sub: Option<&str>, object: Option<Value>, name: &str) -> Value {
    let target = json!({"kind": "Node", "name": "node"});
    let resource = json!({"namespace": "default", "verb": "get", "resource": "pods"});
    match (sub, path.rsplit('/').next().unwrap()) {
        (Some("binding"), _) => json!({"metadata": {"name": name}, "target": target}),
        (Some("eviction"), _) => json!({"metadata": {"name": name}}),
        (Some("token"), _) => json!({"spec": {"audiences": []}}),
        (_, "bindings") => json!({"metadata": {"name": "bound"}, "target": target}),
        (_, "tokenreviews") => json!({"spec": {"token": "none"}}),
        // Nothing is particular to these kinds, so they have no file and no manifest.
        (_, "podcertificaterequests") => json!({"metadata": {"name": name}, "spec": {"signerName": "a.b/c",
            "podName": "p", "podUID": "1", "serviceAccountName": "default", "serviceAccountUID": "2",
            "nodeName": "node", "nodeUID": "3", "stubPKCS10Request": REQUEST}}),
        (_, "devicetaintrules") => {
            json!({"metadata": {"name": name}, "spec": {"taint": {"key": "k", "effect": "NoExecute"}}})
        }
        (None, "certificatesigningrequests") => {
            let mut object = object.unwrap();
            object["spec"]["request"] = json!(REQUEST);
            object
        }
        (_, "selfsubjectreviews") => json!({}),
        (_, "selfsubjectrulesreviews") => json!({"spec": {"namespace": "default"}}),
        (_, "selfsubjectaccessreviews") => json!({"spec": {"resourceAttributes": resource}}),
        (_, "subjectaccessreviews") => json!({"spec": {"user": "u", "resourceAttributes": resource}}),
        (_, "localsubjectaccessreviews") => {
            let metadata = json!({"namespace": "default"});
            json!({"metadata": metadata, "spec": {"user": "u", "resourceAttributes": resource}})
        }
        _ => object.unwrap_or_else(|| panic!("no manifest for {path}")),
    }
}

/// The golden manifest of what a collection holds, in the collection's version.
fn manifest(collection: &str) -> Option<Value> {
    let segments: Vec<&str> = collection.trim_matches('/').split('/').collect();
    let (group, version) = match segments[..] {
        ["api", version, ..] => ("", version),
        ["apis", group, version, ..] => (group, version),
        _ => return None,
    };
    let resource = api::registry().resources().find(|r| {
        r.gvr.group == group && r.gvr.version == version && r.gvr.resource == segments[segments.len() - 1]
    })?;
    let group = if group.is_empty() { "core" } else { group };
    let file = format!("{ROOT}/e2e/fixtures/{group}_{}.yaml", resource.gvk.kind.to_lowercase());
    let mut object: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).ok()?).unwrap();
    let (stored, ours) = (resource.storage_api_version(), resource.gvk.api_version());
    if stored != ours {
        if object["apiVersion"] == json!(stored) {
            resource.kind.convert(&mut object, &stored, &ours).unwrap();
        }
        // What is stored in the form of another version would meet itself.
        let name = object["metadata"]["name"].as_str().unwrap();
        if name.parse::<std::net::IpAddr>().is_err() {
            object["metadata"]["name"] = json!(format!("{version}-{name}"));
        }
    }
    object["apiVersion"] = json!(ours);
    Some(object)
}

fn keep_table() {
    let mut text = "# The API's surface\n\n\
        Every operation of Kubernetes, as `src/apiserver/tests/api/endpoints` walks them; that test writes this table.\n\
        `read` is a document, `connect` a stream to a pod, service or node. Watches are lists with `?watch=1`.\n\n\
        | path | served | not served |\n|---|---|---|\n"
        .to_owned();
    rows(&mut text, STABLE);
    text.push_str(
        "\n## Beta\n\nOff by default as upstream (KEP-3136): `--runtime-config=api/beta=true`, or a version or resource by name,\n\
        turns it on. Alpha is walked by the tests of discovery only.\n\n\
        | path | served when asked for | not served |\n|---|---|---|\n",
    );
    rows(&mut text, BETA);
    let file = Path::new(ROOT).join("docs/api-surface.md");
    if std::env::var_os("KNARR_UPDATE").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == text, "{} is not up to date: KNARR_UPDATE=1 writes it", file.display());
}

fn rows(text: &mut String, list: &'static str) {
    let mut rows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for operation in operations(list) {
        rows.entry(operation.path).or_default().insert(operation.action);
    }
    for (path, actions) in rows {
        let actions = actions.into_iter().collect::<Vec<_>>().join(", ");
        let row = match NOT_SERVED.iter().find(|(known, _)| *known == path) {
            Some((_, why)) => format!("| `{path}` | | {actions}: {why} |\n"),
            None => format!("| `{path}` | {actions} | |\n"),
        };
        text.push_str(&row);
    }
}
