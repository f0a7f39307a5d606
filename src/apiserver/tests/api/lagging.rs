//! A node of a cluster that has not heard yet what others have written.

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use storage::{
    Authors, Encoded, List, ListOptions, ListRevision, Object, Storage, StorageError, Watch, WatchFrom,
};
use testkit::TestServer;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const A: &str = "/api/v1/namespaces/default/configmaps/a";

/// A store that has old states of some objects at hand, and notes what the others have to be asked for.
struct Lagging {
    inner: Arc<dyn Storage>,
    outdated: Mutex<HashMap<String, Arc<Object>>>,
    asked: Mutex<Vec<String>>,
}

impl Lagging {
    async fn start() -> (TestServer, Arc<Self>) {
        let mut lagging = None;
        let server = TestServer::start_with(|config| {
            let inner = Arc::clone(&config.storage);
            let made = Arc::new(Self { inner, outdated: Mutex::default(), asked: Mutex::default() });
            config.storage = Arc::clone(&made) as Arc<dyn Storage>;
            lagging = Some(made);
        })
        .await;
        (server, lagging.unwrap())
    }

    /// From now on the object is at hand as it is now.
    async fn lag(&self, key: &str) {
        let object = self.inner.get(key).await.unwrap().unwrap();
        self.outdated.lock().insert(key.to_owned(), object);
    }

    /// What has been asked for since the last call. Leases and flow schemas are the server's own business.
    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock());
        let own = ["/registry/coordination.k8s.io/", "/registry/flowcontrol.apiserver.k8s.io/"];
        asked.retain(|what| own.iter().all(|own| !what.starts_with(own)));
        asked
    }
}

#[async_trait]
impl Storage for Lagging {
    async fn create(&self, key: &str, object: Encoded) -> Result<Arc<Object>, StorageError> {
        self.inner.create(key, object).await
    }

    async fn update(&self, key: &str, expected: u64, object: Encoded) -> Result<Arc<Object>, StorageError> {
        self.inner.update(key, expected, object).await
    }

    async fn delete(&self, key: &str, expected: u64) -> Result<Arc<Object>, StorageError> {
        self.inner.delete(key, expected).await
    }

    async fn get(&self, key: &str) -> Result<Option<Arc<Object>>, StorageError> {
        self.asked.lock().push(key.to_owned());
        self.inner.get(key).await
    }

    fn recent(&self, key: &str) -> Result<Option<Arc<Object>>, StorageError> {
        match self.outdated.lock().get(key) {
            Some(outdated) => Ok(Some(Arc::clone(outdated))),
            None => self.inner.recent(key),
        }
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<List, StorageError> {
        if options.revision == ListRevision::MostRecent {
            self.asked.lock().push(prefix.to_owned());
        }
        self.inner.list(prefix, options).await
    }

    async fn watch(&self, prefix: &str, from: WatchFrom) -> Result<Watch, StorageError> {
        self.inner.watch(prefix, from).await
    }

    async fn authors(
        &self,
        prefix: &str,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<Authors, StorageError> {
        self.inner.authors(prefix, after, up_to, limit).await
    }

    async fn count(&self, prefix: &str) -> Result<u64, StorageError> {
        self.inner.count(prefix).await
    }

    fn revision(&self) -> u64 {
        self.inner.revision()
    }

    fn compacted_revision(&self) -> u64 {
        self.inner.compacted_revision()
    }

    async fn compact(&self, revision: u64) -> Result<(), StorageError> {
        self.inner.compact(revision).await
    }
}

fn config_map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_ask_no_other_node() {
    let (server, store) = Lagging::start().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    server.post("/api/v1/namespaces/default/serviceaccounts", &account).await.expect(201);
    store.asked();
    server.post(MAPS, &config_map(&json!({}))).await.expect(201);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    server.put(A, &config_map(&json!({"k": "1"}))).await.expect(200);
    server.patch("merge", A, &json!({"data": {"k": "2"}})).await.expect(200);
    server.patch("apply", &format!("{A}?fieldManager=m"), &config_map(&json!({"l": "1"}))).await.expect(200);
    assert_eq!(store.asked(), [""; 0]);
    server.get(A).await.expect(200);
    assert_eq!(store.asked(), ["/registry/core/configmaps/default/a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outdated_object_is_no_reason_to_refuse_or_to_do_nothing() {
    let (server, store) = Lagging::start().await;
    let old = server.post(MAPS, &config_map(&json!({"k": "old"}))).await.expect(201);
    store.lag("/registry/core/configmaps/default/a").await;
    let new = server.put(A, &config_map(&json!({"k": "new", "l": "new"}))).await.expect(200);

    // What the change does not name is as others have made it.
    let patched = server.patch("merge", A, &json!({"data": {"m": "more"}})).await.expect(200);
    assert_eq!(patched["data"], json!({"k": "new", "l": "new", "m": "more"}));
    let shown =
        server.patch("merge", &format!("{A}?dryRun=All"), &json!({"data": {"n": "x"}})).await.expect(200);
    assert_eq!(shown["data"], json!({"k": "new", "l": "new", "m": "more", "n": "x"}));
    // What would change nothing of the outdated one is a change.
    let back = server.patch("merge", A, &json!({"data": {"k": "old"}})).await.expect(200);
    assert_eq!(back["data"]["k"], "old");
    assert_ne!(back["metadata"]["resourceVersion"], patched["metadata"]["resourceVersion"]);
    // What holds of the real one only, holds; what holds of the outdated one only, does not.
    let test = |value: &str| json!([{"op": "test", "path": "/data/m", "value": value}]);
    server.patch("json", A, &test("more")).await.expect(200);
    let mut stale = new.clone();
    stale["data"] = old["data"].clone();
    server.put(A, &stale).await.expect(409);
    let mut fresh = back.clone();
    fresh["data"] = json!({"k": "fresh"});
    assert_eq!(server.put(A, &fresh).await.expect(200)["data"], json!({"k": "fresh"}));
    stale["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    server.put(A, &stale).await.expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_made_anew_takes_objects_at_once() {
    let (server, store) = Lagging::start().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    server.post("/api/v1/namespaces", &namespace).await.expect(201);
    let ending = server.delete("/api/v1/namespaces/n", &Value::Null).await.expect(200);
    assert_eq!(ending["status"]["phase"], "Terminating");
    store.lag("/registry/core/namespaces/n").await;
    let maps = "/api/v1/namespaces/n/configmaps";
    server.post(maps, &config_map(&json!({}))).await.expect(403);
    let mut ended = ending.clone();
    ended["spec"]["finalizers"] = json!([]);
    server.put("/api/v1/namespaces/n/finalize", &ended).await.expect(200);
    server.post("/api/v1/namespaces", &namespace).await.expect(201);
    server.post(maps, &config_map(&json!({}))).await.expect(201);
}
