//! Encryption at rest, as the disk shows it.

use apiserver::encryption::Encryption;
use serde_json::{Value, json};
use std::sync::Arc;
use storage::Storage;
use tempfile::TempDir;
use testkit::TestServer;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const ONE: &str = "aescbc: {keys: [{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}";
const TWO: &str = "secretbox: {keys: [{name: two, secret: ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=}]}";

fn configuration(providers: &[&str]) -> String {
    let mut text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n".to_owned();
    for provider in providers {
        text.push_str(&format!("  - {provider}\n"));
    }
    text
}

async fn start(directory: TempDir, encryption: &Arc<Encryption>) -> TestServer {
    TestServer::start_sealed(directory, Some(Arc::clone(encryption) as _), |_| {}).await
}

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"word": "open sesame"}})
}

/// Whether any file of the store holds these bytes.
fn on_disk(server: &TestServer, needle: &[u8]) -> bool {
    let files = std::fs::read_dir(server.directory().join("datastore")).unwrap();
    files.flatten().any(|file| {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

/// `open sesame` in base64, as the JSON has it.
const WORD: &[u8] = b"b3BlbiBzZXNhbWU=";

#[tokio::test]
async fn secrets_are_encrypted_on_disk_and_nowhere_else() {
    let encryption = Encryption::from_text(&configuration(&[ONE, "identity: {}"])).await.unwrap();
    let server = start(TempDir::new().unwrap(), &encryption).await;
    let created = server.post(SECRETS, &secret("a")).await.expect(201);
    let revision = created["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut map = secret("plain");
    map["kind"] = json!("ConfigMap");
    map.as_object_mut().unwrap().remove("stringData");
    map["data"] = json!({"word": "not a secret"});
    server.post("/api/v1/namespaces/default/configmaps", &map).await.expect(201);
    assert!(on_disk(&server, b"k8s:enc:aescbc:v1:one:"));
    assert!(!on_disk(&server, WORD));
    assert!(on_disk(&server, b"not a secret"));
    let changed = json!({"metadata": {"labels": {"a": "b"}}});
    server.patch("merge", &format!("{SECRETS}/a"), &changed).await.expect(200);
    // From the cache, from the past, and after a restart.
    let past = format!("{SECRETS}?resourceVersion={revision}&resourceVersionMatch=Exact");
    let past = server.get(&past).await.expect(200);
    assert_eq!(past["items"][0]["data"]["word"], "b3BlbiBzZXNhbWU=");
    assert_eq!(past["items"][0]["metadata"]["resourceVersion"], json!(revision));
    let before = server.get(&format!("{SECRETS}/a")).await.expect(200);
    let server = start(server.stop().await, &encryption).await;
    assert_eq!(server.get(&format!("{SECRETS}/a")).await.expect(200), before);
    let selected = server.get(&format!("{SECRETS}?labelSelector=a%3Db")).await.expect(200);
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
    server.delete(&format!("{SECRETS}/a"), &Value::Null).await.expect(200);
    assert_eq!(server.get(&format!("{SECRETS}/a")).await.code, 404);
}

#[tokio::test]
async fn a_write_that_changes_nothing_moves_an_object_to_the_new_key() {
    let encryption = Encryption::from_text(&configuration(&["identity: {}", ONE])).await.unwrap();
    let server = start(TempDir::new().unwrap(), &encryption).await;
    server.post(SECRETS, &secret("a")).await.expect(201);
    let key = "/registry/core/secrets/default/a";
    assert!(on_disk(&server, WORD));
    for (providers, prefix) in
        [([ONE, "identity: {}"], &b"k8s:enc:aescbc:v1:one:"[..]), ([TWO, ONE], b"k8s:enc:secretbox:v1:two:")]
    {
        encryption.apply(&configuration(&providers)).await.unwrap();
        assert!(server.datastore.is_stale(key).await);
        let object = server.get(&format!("{SECRETS}/a")).await.expect(200);
        let written = server.put(&format!("{SECRETS}/a"), &object).await.expect(200);
        assert_ne!(written["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);
        assert!(on_disk(&server, prefix));
        assert!(!server.datastore.is_stale(key).await);
        // Once is enough.
        let again = server.put(&format!("{SECRETS}/a"), &written).await.expect(200);
        assert_eq!(again, written);
    }
    // The first key is of no more use.
    encryption.apply(&configuration(&[TWO])).await.unwrap();
    server.datastore.compact(server.datastore.revision()).await.unwrap();
    let server = start(server.stop().await, &encryption).await;
    assert_eq!(server.get(&format!("{SECRETS}/a")).await.expect(200)["data"]["word"], "b3BlbiBzZXNhbWU=");
}

#[tokio::test]
async fn without_the_key_the_store_does_not_open_and_says_why() {
    let encryption = Encryption::from_text(&configuration(&[ONE])).await.unwrap();
    let server = start(TempDir::new().unwrap(), &encryption).await;
    server.post(SECRETS, &secret("a")).await.expect(201);
    let directory = server.stop().await;
    let other = Encryption::from_text(&configuration(&[TWO])).await.unwrap();
    for (sealer, told) in [
        (None, "no encryption is configured"),
        (Some(other as Arc<dyn storage::Sealer>), "no matching prefix found"),
    ] {
        let options = datastore::Options { sealer, ..datastore::Options::default() };
        let error =
            datastore::Datastore::open(directory.path().join("datastore"), options).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(told) && text.contains("/registry/core/secrets/default/a"), "{text}");
    }
    start(directory, &encryption).await;
}

#[tokio::test]
async fn a_changed_file_is_taken_over_and_a_broken_one_is_not() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("encryption.yaml");
    std::fs::write(&path, configuration(&[ONE])).unwrap();
    let encryption = Encryption::load(&path).await.unwrap();
    assert!(!encryption.reload().await.unwrap());
    std::fs::write(&path, configuration(&[TWO, ONE])).unwrap();
    assert!(encryption.reload().await.unwrap());
    std::fs::write(&path, "kind: Nothing").unwrap();
    assert!(encryption.reload().await.is_err());
    let sealed =
        storage::Sealer::seal(&*encryption, "/registry/core/secrets/a/b", &"{}".into()).unwrap().unwrap();
    assert!(sealed.starts_with(b"k8s:enc:secretbox:v1:two:"));
}
