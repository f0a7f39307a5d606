//! A folder of manifests.

use addons::engine::{Engine, manifests};
use addons::render::Settings;
use serde_json::json;
use std::path::Path;
use testkit::TestServer;

const ADDONS: &str = "/apis/knarr.io/v1/addons";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn started() -> TestServer {
    let server = TestServer::start().await;
    let settings =
        Settings { image: "i".to_owned(), cluster_dns: "10.152.183.10".to_owned(), ..Settings::default() };
    let without = ["dns", "hostpath-storage"].map(str::to_owned);
    Engine::new(server.client()).start(&settings, &without).await.unwrap();
    server
}

async fn apply(server: &TestServer, folder: &Path, node: &str) -> bool {
    let files = manifests::files(folder).unwrap();
    manifests::apply(&Engine::new(server.client()), folder, &files.keys().collect::<Vec<_>>(), node).await
}

fn map(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata: {{k: v}}\n")
}

#[tokio::test]
async fn what_a_file_holds_is_applied_and_what_it_no_longer_holds_is_deleted() {
    let server = started().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yaml");
    let code = async |name: &str| server.get(&format!("{MAPS}/{name}")).await.code;
    std::fs::write(&file, map("a") + &map("b")).unwrap();
    assert!(!apply(&server, folder.path(), "one").await);
    assert_eq!((code("a").await, code("b").await), (200, 200));
    let entry = server.get(&format!("{ADDONS}/manifests.web")).await.json();
    assert_eq!(entry["spec"]["arguments"], json!(["file=web.yaml", "node=one"]));

    std::fs::write(&file, map("b")).unwrap();
    assert!(!apply(&server, folder.path(), "one").await);
    assert_eq!((code("a").await, code("b").await), (404, 200));

    // What another node has applied is not this one's to delete, nor what is only to be skipped.
    let empty = tempfile::tempdir().unwrap();
    assert!(!apply(&server, empty.path(), "two").await);
    std::fs::write(folder.path().join("web.yaml.skip"), "").unwrap();
    assert!(!apply(&server, folder.path(), "one").await);
    assert_eq!(code("b").await, 200);

    std::fs::remove_file(folder.path().join("web.yaml.skip")).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(!apply(&server, folder.path(), "one").await);
    assert_eq!(code("b").await, 404);
    assert_eq!(server.get(&format!("{ADDONS}/manifests.web")).await.code, 404);
}

#[tokio::test]
async fn a_damaged_file_keeps_no_other_from_being_applied() {
    let server = started().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), "a: [").unwrap();
    std::fs::write(folder.path().join("b.yaml"), map("b")).unwrap();
    std::fs::write(
        folder.path().join("c.yaml"),
        "apiVersion: example.com/v1\nkind: X\nmetadata: {name: x}\n",
    )
    .unwrap();
    assert!(apply(&server, folder.path(), "one").await, "it is tried again");
    assert_eq!(server.get(&format!("{MAPS}/b")).await.code, 200);
}
