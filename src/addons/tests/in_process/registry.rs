//! The behaviours that the conformance tests of the distribution specification look for.

use crate::wire::{Answer, get, send};
use addons::{http, registry};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

struct Served {
    address: SocketAddr,
    _folder: tempfile::TempDir,
    _stop: DropGuard,
}

async fn served(limit: u64) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let registry = registry::open(folder.path(), limit, &[], stop.clone()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(http::serve(listener, None, registry, stop.clone()));
    Served { address, _folder: folder, _stop: stop.drop_guard() }
}

fn sha(bytes: &[u8]) -> String {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Served {
    async fn get(&self, path: &str) -> Answer {
        get(self.address, path).await
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send(self.address, method, path, headers, body).await
    }

    /// Pushes a blob in one request.
    async fn blob(&self, name: &str, bytes: &[u8]) -> String {
        let digest = sha(bytes);
        let made = self.send("POST", &format!("/v2/{name}/blobs/uploads/?digest={digest}"), &[], bytes).await;
        assert_eq!(made.code, 201, "{}", made.json());
        assert_eq!(made.header("location"), format!("/v2/{name}/blobs/{digest}"));
        digest
    }

    async fn manifest(&self, name: &str, reference: &str, media_type: &str, manifest: &Value) -> Answer {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.send("PUT", &path, &[("content-type", media_type)], manifest.to_string().as_bytes()).await
    }

    /// An image of a configuration and a layer; returns its manifest's digest.
    async fn image(&self, name: &str, tag: &str, layer: &[u8]) -> String {
        let config = self.blob(name, b"{}").await;
        let layer_digest = self.blob(name, layer).await;
        let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest,
                        "size": layer.len()}]});
        let put = self.manifest(name, tag, IMAGE, &manifest).await;
        assert_eq!(put.code, 201, "{}", put.json());
        put.header("docker-content-digest").to_owned()
    }
}

fn code(answer: &Answer) -> String {
    answer.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn what_is_pushed_is_pulled() {
    let served = served(1 << 20).await;
    assert_eq!(served.get("/v2/").await.code, 200);
    let layer = b"some layer";
    let digest = served.image("library/app", "v1", layer).await;
    let pulled = served.get("/v2/library/app/manifests/v1").await;
    assert_eq!((pulled.code, pulled.header("content-type")), (200, IMAGE));
    assert_eq!(pulled.header("docker-content-digest"), digest);
    assert_eq!(sha(&pulled.body), digest);
    let by_digest = served.get(&format!("/v2/library/app/manifests/{digest}")).await;
    assert_eq!(by_digest.body, pulled.body);
    let head = served.send("HEAD", "/v2/library/app/manifests/v1", &[], b"").await;
    assert_eq!((head.code, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), pulled.body.len().to_string());

    let path = format!("/v2/library/app/blobs/{}", sha(layer));
    let blob = served.get(&path).await;
    assert_eq!((blob.code, blob.body.as_slice()), (200, layer.as_slice()));
    let part = served.send("GET", &path, &[("range", "bytes=5-")], b"").await;
    assert_eq!((part.code, part.body.as_slice()), (206, b"layer".as_slice()));
    assert_eq!(part.header("content-range"), "bytes 5-9/10");
    assert_eq!(served.send("GET", &path, &[("range", "bytes=10-")], b"").await.code, 416);
    let head = served.send("HEAD", &path, &[], b"").await;
    assert_eq!((head.code, head.header("content-length")), (200, "10"));
}

#[tokio::test]
async fn blobs_come_in_chunks_in_their_order() {
    let served = served(1 << 20).await;
    let begun = served.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    assert_eq!(begun.code, 202);
    let upload = begun.header("location").to_owned();
    let first = served.send("PATCH", &upload, &[("content-range", "0-4")], b"01234").await;
    assert_eq!((first.code, first.header("range")), (202, "0-4"));
    let wrong = served.send("PATCH", &upload, &[("content-range", "7-9")], b"789").await;
    assert_eq!((wrong.code, wrong.header("range")), (416, "0-4"));
    let status = served.get(&upload).await;
    assert_eq!((status.code, status.header("range")), (204, "0-4"));
    assert_eq!(served.send("PATCH", &upload, &[("content-range", "5-6")], b"56").await.code, 202);
    let digest = sha(b"0123456789");
    let ended =
        served.send("PUT", &format!("{upload}?digest={digest}"), &[("content-range", "7-9")], b"789").await;
    assert_eq!(ended.code, 201, "{}", ended.json());
    assert_eq!(served.get(&format!("/v2/a/blobs/{digest}")).await.body, b"0123456789");
    assert_eq!(code(&served.get(&upload).await), "BLOB_UPLOAD_UNKNOWN");

    let begun = served.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    let upload = begun.header("location").to_owned();
    assert_eq!(served.send("DELETE", &upload, &[], b"").await.code, 204);
    assert_eq!(served.send("PATCH", &upload, &[], b"x").await.code, 404);
}

#[tokio::test]
async fn what_is_not_what_it_says_is_refused() {
    let served = served(64).await;
    let wrong = served.send("POST", &format!("/v2/a/blobs/uploads/?digest={}", sha(b"x")), &[], b"y").await;
    assert_eq!((wrong.code, code(&wrong)), (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(code(&served.get("/v2/a/blobs/sha256:1").await), "DIGEST_INVALID");
    assert_eq!(code(&served.get("/v2/A/tags/list").await), "NAME_INVALID");
    let big =
        served.send("POST", &format!("/v2/a/blobs/uploads/?digest={}", sha(&[0; 65])), &[], &[0; 65]).await;
    assert_eq!((big.code, code(&big)), (507, "DENIED".to_owned()));
    let none = served.manifest("a", "v1", IMAGE, &json!("no manifest")).await;
    assert_eq!((none.code, code(&none)), (400, "MANIFEST_INVALID".to_owned()));
    let layers = json!({"layers": [{"digest": sha(b"absent"), "mediaType": "t"}]});
    let lacking = served.manifest("a", "v1", IMAGE, &layers).await;
    assert_eq!((lacking.code, code(&lacking)), (404, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    let other = served.manifest("a", &sha(b"other"), IMAGE, &json!({})).await;
    assert_eq!(code(&other), "DIGEST_INVALID");
    let huge = vec![b' '; 5 << 20];
    let refused = served.send("PUT", "/v2/a/manifests/v1", &[("content-type", IMAGE)], &huge).await;
    assert_eq!(refused.code, 413);
    for path in
        ["/v2/a/manifests/none", "/v2/none/tags/list", "/v2/x/../../etc/passwd/tags/list", "/etc/passwd"]
    {
        assert!(matches!(served.get(path).await.code, 400 | 404), "{path}");
    }
    assert_eq!(served.send("POST", "/v2/a/tags/list", &[], b"").await.code, 405);
}

#[tokio::test]
async fn a_blob_is_mounted_from_another_repository() {
    let served = served(1 << 20).await;
    let digest = served.blob("from", b"shared").await;
    let path = |from: &str, digest: &str| format!("/v2/to/blobs/uploads/?mount={digest}&from={from}");
    assert_eq!(
        served.send("POST", &path("nobody", &digest), &[], b"").await.code,
        202,
        "it is uploaded then"
    );
    assert_eq!(served.get(&format!("/v2/to/blobs/{digest}")).await.code, 404);
    assert_eq!(served.send("POST", &path("from", &digest), &[], b"").await.code, 201);
    assert_eq!(served.get(&format!("/v2/to/blobs/{digest}")).await.body, b"shared");
    assert_eq!(served.send("DELETE", &format!("/v2/from/blobs/{digest}"), &[], b"").await.code, 202);
    assert_eq!(served.get(&format!("/v2/from/blobs/{digest}")).await.code, 404);
    assert_eq!(served.get(&format!("/v2/to/blobs/{digest}")).await.code, 200);
}

#[tokio::test]
async fn names_are_listed_in_pages() {
    let served = served(1 << 20).await;
    for tag in ["c", "a", "b"] {
        served.image("app", tag, b"layer").await;
    }
    served.image("zoo/app", "v", b"layer").await;
    let all = served.get("/v2/app/tags/list").await.json();
    assert_eq!(all, json!({"name": "app", "tags": ["a", "b", "c"]}));
    let first = served.get("/v2/app/tags/list?n=2").await;
    assert_eq!(first.json()["tags"], json!(["a", "b"]));
    let link = first.header("link");
    assert_eq!(link, "</v2/app/tags/list?n=2&last=b>; rel=\"next\"");
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let second = served.get(next).await;
    assert_eq!((second.json()["tags"].clone(), second.header("link")), (json!(["c"]), ""));
    assert_eq!(served.get("/v2/_catalog").await.json(), json!({"repositories": ["app", "zoo/app"]}));
    assert_eq!(code(&served.get("/v2/app/tags/list?n=x").await), "PAGINATION_NUMBER_INVALID");
}

#[tokio::test]
async fn referrers_are_found_and_forgotten() {
    let served = served(1 << 20).await;
    let subject = served.image("app", "v1", b"layer").await;
    let config = served.blob("app", b"{}").await;
    let signature = json!({"schemaVersion": 2, "mediaType": IMAGE, "artifactType": "example/signature",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2}, "layers": [],
        "subject": {"mediaType": IMAGE, "digest": subject, "size": 1}, "annotations": {"k": "v"}});
    let digest = sha(signature.to_string().as_bytes());
    let put = served.manifest("app", &digest, IMAGE, &signature).await;
    assert_eq!((put.code, put.header("oci-subject")), (201, subject.as_str()));
    let path = format!("/v2/app/referrers/{subject}");
    let found = served.get(&path).await;
    assert_eq!(found.header("content-type"), INDEX);
    let listed = found.json()["manifests"].clone();
    assert_eq!(listed[0]["digest"], digest);
    assert_eq!(
        (&listed[0]["artifactType"], &listed[0]["annotations"]["k"]),
        (&json!("example/signature"), &json!("v"))
    );
    let filtered = served.get(&format!("{path}?artifactType=example%2Fother")).await;
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    assert_eq!(filtered.json()["manifests"], json!([]));
    assert_eq!(served.send("DELETE", &format!("/v2/app/manifests/{digest}"), &[], b"").await.code, 202);
    assert_eq!(served.get(&path).await.json()["manifests"], json!([]));
}

#[tokio::test]
async fn tags_and_manifests_are_deleted() {
    let served = served(1 << 20).await;
    let digest = served.image("app", "v1", b"layer").await;
    served.image("app", "v2", b"layer").await;
    assert_eq!(served.send("DELETE", "/v2/app/manifests/v1", &[], b"").await.code, 202);
    assert_eq!(code(&served.get("/v2/app/manifests/v1").await), "MANIFEST_UNKNOWN");
    assert_eq!(served.get("/v2/app/manifests/v2").await.code, 200);
    assert_eq!(served.send("DELETE", &format!("/v2/app/manifests/{digest}"), &[], b"").await.code, 202);
    assert_eq!(served.get("/v2/app/manifests/v2").await.code, 404);
    assert_eq!(served.send("DELETE", &format!("/v2/app/manifests/{digest}"), &[], b"").await.code, 404);
    // An index names what is there.
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": IMAGE, "digest": digest}]});
    assert_eq!(code(&served.manifest("app", "all", INDEX, &index).await), "MANIFEST_BLOB_UNKNOWN");
    served.image("app", "v1", b"layer").await;
    assert_eq!(served.manifest("app", "all", INDEX, &index).await.code, 201);
}
