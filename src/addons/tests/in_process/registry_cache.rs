//! The registry as a cache of another one, which wants tokens.

use crate::wire::{Answer, send};
use ::http::{HeaderValue, Request, Response, StatusCode};
use addons::http::{self, Body, Handler};
use addons::registry::{self, Registry};
use async_trait::async_trait;
use hyper::body::Incoming;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use testkit::eventually;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The other registry: it gives tokens at `/token`, blobs from elsewhere, and can be away.
struct Upstream {
    registry: Arc<Registry>,
    address: SocketAddr,
    away: AtomicBool,
    /// What was asked for with a token.
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Handler for Upstream {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, client: SocketAddr) -> Response<Body> {
        let (path, query) =
            (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        if self.away.load(Ordering::SeqCst) {
            return http::text(StatusCode::SERVICE_UNAVAILABLE, "away");
        }
        if path == "/token" {
            assert_eq!(query, "service=test&scope=repository%3Alibrary%2Fapp%3Apull");
            return http::json(StatusCode::OK, &json!({"token": "good", "expires_in": 300}));
        }
        let pushed = request.headers().get("user-agent").is_none();
        let token = request.headers().get("authorization").is_some_and(|value| value == "Bearer good");
        if let Some(blob) = path.strip_prefix("/elsewhere") {
            let mut request = request;
            *request.uri_mut() = blob.parse().unwrap();
            return self.registry.clone().handle(request, client).await;
        }
        if !pushed && !token {
            let mut answer = http::text(StatusCode::UNAUTHORIZED, "who are you?");
            let challenge = format!("Bearer realm=\"http://{}/token\",service=\"test\"", self.address);
            answer.headers_mut().insert("www-authenticate", HeaderValue::from_str(&challenge).unwrap());
            return answer;
        }
        if !pushed {
            self.asked.lock().push(format!("{} {path}", request.method()));
            if path.contains("/blobs/") {
                let mut answer = http::text(StatusCode::TEMPORARY_REDIRECT, "");
                let location = HeaderValue::from_str(&format!("/elsewhere{path}")).unwrap();
                answer.headers_mut().insert("location", location);
                return answer;
            }
        }
        self.registry.clone().handle(request, client).await
    }
}

struct Bench {
    upstream: Arc<Upstream>,
    cache: SocketAddr,
    name: String,
    _folder: tempfile::TempDir,
    _stop: DropGuard,
}

impl Bench {
    async fn start(limit: u64) -> Self {
        let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let far = registry::open(&folder.path().join("far"), 1 << 20, &[], stop.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Arc::new(Upstream {
            registry: far,
            address,
            away: AtomicBool::new(false),
            asked: Mutex::default(),
        });
        tokio::spawn(http::serve(listener, None, upstream.clone(), stop.clone()));
        let proxy = [format!("http://{address}")];
        let near = registry::open(&folder.path().join("near"), limit, &proxy, stop.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cache = listener.local_addr().unwrap();
        tokio::spawn(http::serve(listener, None, near, stop.clone()));
        Self { upstream, cache, name: address.to_string(), _folder: folder, _stop: stop.drop_guard() }
    }

    /// Pushes an image of one layer to the other registry; answers the digests of layer and manifest.
    async fn push(&self, tag: &str, layer: &[u8]) -> (String, String) {
        let far = self.upstream.address;
        for bytes in [b"{}".as_slice(), layer] {
            let path = format!("/v2/library/app/blobs/uploads/?digest={}", sha(bytes));
            assert_eq!(send(far, "POST", &path, &[], bytes).await.code, 201);
        }
        let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE,
            "config": {"mediaType": "c", "digest": sha(b"{}"), "size": 2},
            "layers": [{"mediaType": "l", "digest": sha(layer), "size": layer.len()}]});
        let path = format!("/v2/library/app/manifests/{tag}");
        let put = send(far, "PUT", &path, &[("content-type", IMAGE)], manifest.to_string().as_bytes()).await;
        assert_eq!(put.code, 201);
        (sha(layer), put.header("docker-content-digest").to_owned())
    }

    /// Asks the cache as containerd does.
    async fn ask(&self, method: &str, path: &str) -> Answer {
        send(self.cache, method, &format!("/v2/library/app/{path}?ns={}", self.name), &[], b"").await
    }

    fn set_away(&self, away: bool) {
        self.upstream.away.store(away, Ordering::SeqCst);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.upstream.asked.lock())
    }
}

fn sha(bytes: &[u8]) -> String {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[tokio::test]
async fn what_was_pulled_once_is_there_when_the_registry_is_away() {
    let bench = Bench::start(1 << 20).await;
    let (layer, manifest) = bench.push("v1", b"a layer").await;
    let pulled = bench.ask("GET", "manifests/v1").await;
    assert_eq!((pulled.code, pulled.header("docker-content-digest")), (200, manifest.as_str()));
    assert_eq!(pulled.header("content-type"), IMAGE);
    let blob = bench.ask("GET", &format!("blobs/{layer}")).await;
    assert_eq!(
        (blob.code, blob.body.as_slice(), blob.header("content-length")),
        (200, b"a layer".as_slice(), "7")
    );
    assert_eq!(bench.asked().len(), 3, "head and manifest, and the blob");

    bench.set_away(true);
    // It is kept a moment after it has gone out.
    let kept = eventually("the layer", || async {
        let blob = bench.ask("GET", &format!("blobs/{layer}")).await;
        (blob.code == 200).then_some(blob)
    })
    .await;
    assert_eq!(kept.body, b"a layer");
    for reference in ["v1", &manifest] {
        let pulled = bench.ask("GET", &format!("manifests/{reference}")).await;
        assert_eq!((pulled.code, pulled.header("docker-content-digest")), (200, manifest.as_str()));
    }
    assert_eq!(bench.ask("GET", "manifests/v2").await.code, 502);
    assert_eq!(bench.asked(), [""; 0]);
}

#[tokio::test]
async fn a_tag_that_moved_is_followed_and_one_that_did_not_is_not_fetched() {
    let bench = Bench::start(1 << 20).await;
    bench.push("v1", b"first").await;
    assert_eq!(bench.ask("GET", "manifests/v1").await.code, 200);
    bench.asked();
    assert_eq!(bench.ask("GET", "manifests/v1").await.code, 200);
    assert_eq!(bench.asked(), ["HEAD /v2/library/app/manifests/v1"]);
    let (_, moved) = bench.push("v1", b"second").await;
    assert_eq!(bench.ask("GET", "manifests/v1").await.header("docker-content-digest"), moved);
    bench.set_away(true);
    assert_eq!(bench.ask("HEAD", "manifests/v1").await.header("docker-content-digest"), moved);
    bench.set_away(false);
    assert_eq!(bench.ask("GET", "manifests/none").await.code, 404);
    assert_eq!(bench.ask("GET", &format!("blobs/{}", sha(b"none"))).await.code, 404);
}

#[tokio::test]
async fn nobody_can_put_anything_into_the_cache_and_only_what_is_said_is_fetched() {
    let bench = Bench::start(1 << 20).await;
    let (layer, manifest) = bench.push("v1", b"a layer").await;
    assert_eq!(bench.ask("GET", "manifests/v1").await.code, 200);
    for (method, path) in [("PUT", "manifests/v1"), ("DELETE", &format!("manifests/{manifest}"))] {
        assert_eq!(bench.ask(method, path).await.code, 405, "{method} {path}");
    }
    // A repository of that name is another one.
    let (host, port) = bench.name.split_once(':').unwrap();
    let path = format!("/v2/{host}__{port}/library/app/manifests/v1");
    assert_eq!(send(bench.cache, "GET", &path, &[], b"").await.code, 404);
    let own = send(bench.cache, "GET", "/v2/library/app/manifests/v1", &[], b"").await;
    assert_eq!(own.code, 404, "it is not pushed here");
    let other = format!("/v2/library/app/blobs/{layer}?ns=elsewhere.example");
    assert_eq!(send(bench.cache, "GET", &other, &[], b"").await.code, 404);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_passed_on() {
    let bench = Bench::start(400).await;
    let large = vec![7; 4000];
    let (layer, _) = bench.push("v1", &large).await;
    assert_eq!(bench.ask("GET", "manifests/v1").await.code, 200);
    for _ in 0..2 {
        let blob = bench.ask("GET", &format!("blobs/{layer}")).await;
        assert_eq!((blob.code, blob.body == large), (200, true));
    }
    bench.set_away(true);
    assert_eq!(bench.ask("GET", &format!("blobs/{layer}")).await.code, 502);
}
