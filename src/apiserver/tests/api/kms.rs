//! Keys that a plugin holds: a plugin is a gRPC server here, written by hand.

use apiserver::encryption::Encryption;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::json;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tempfile::TempDir;
use testkit::{TestServer, eventually};
use tokio::net::UnixListener;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// All messages of the service, told apart by nobody: `bytes` first, or three texts.
#[derive(Clone, PartialEq, Message)]
struct Data {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(string, tag = "3")]
    asked_key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

/// Encrypts by turning bits over, and counts.
#[derive(Default)]
struct Plugin {
    encrypted: AtomicUsize,
    decrypted: AtomicUsize,
    sealed: AtomicBool,
}

impl Plugin {
    fn listen(self: &Arc<Self>, socket: &Path) {
        let listener = UnixListener::bind(socket).unwrap();
        let plugin = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let plugin = Arc::clone(&plugin);
                let service = hyper::service::service_fn(move |request| Arc::clone(&plugin).answer(request));
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let asked = Data::decode(&body[5..]).unwrap_or_default();
        let turned = asked.data.iter().map(|byte| byte ^ 0x5a).collect();
        let message = match path.as_str() {
            "/v2.KeyManagementService/Status" => {
                let healthz = if self.sealed.load(Ordering::SeqCst) { "sealed" } else { "ok" };
                Status { version: "v2".into(), healthz: healthz.into(), key_id: "one".into() }.encode_to_vec()
            }
            "/v2.KeyManagementService/Encrypt" => {
                self.encrypted.fetch_add(1, Ordering::SeqCst);
                Data { data: turned, key_id: "one".into(), ..Data::default() }.encode_to_vec()
            }
            _ => {
                assert_eq!(asked.asked_key_id, "one");
                self.decrypted.fetch_add(1, Ordering::SeqCst);
                Data { data: turned, ..Data::default() }.encode_to_vec()
            }
        };
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap());
        frame.put_slice(&message);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = [Ok(Frame::data(frame.freeze())), Ok(Frame::trailers(trailers))];
        let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        Ok(response)
    }
}

fn configuration(socket: &Path) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  \
         - kms: {{apiVersion: v2, name: vault, endpoint: 'unix://{}'}}\n  - identity: {{}}\n",
        socket.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_encrypts_one_seed_and_decrypts_it_once_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("kms.sock");
    let plugin = Arc::new(Plugin::default());
    plugin.listen(&socket);
    let text = configuration(&socket);
    let encryption = Encryption::from_text(&text).await.unwrap();
    let server = TestServer::start_sealed(TempDir::new().unwrap(), Some(encryption as _), |_| {}).await;
    for name in ["a", "b", "c"] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"x": "y"}});
        server.post(SECRETS, &secret).await.expect(201);
    }
    let stored = server.directory().join("datastore");
    let on_disk = std::fs::read_dir(stored).unwrap().flatten().any(|file| {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        bytes.windows(21).any(|window| window == b"k8s:enc:kms:v2:vault:")
    });
    assert!(on_disk);
    assert_eq!((plugin.encrypted.load(Ordering::SeqCst), plugin.decrypted.load(Ordering::SeqCst)), (1, 0));
    let directory = server.stop().await;
    let encryption = Encryption::from_text(&text).await.unwrap();
    let server = TestServer::start_sealed(directory, Some(encryption as _), |_| {}).await;
    let secrets = server.get(SECRETS).await.expect(200);
    assert_eq!(secrets["items"][1]["data"]["x"], "eQ==");
    assert_eq!(plugin.decrypted.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_is_not_there_is_told_by_name() {
    let directory = TempDir::new().unwrap();
    let error = Encryption::from_text(&configuration(&directory.path().join("none"))).await.unwrap_err();
    assert!(error.to_string().starts_with("KMS plugin \"vault\": Status: "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_checks_tell_whether_plugins_answer() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("kms.sock");
    let plugin = Arc::new(Plugin::default());
    plugin.listen(&socket);
    let encryption = Encryption::from_text(&configuration(&socket)).await.unwrap();
    let sealer = Arc::clone(&encryption);
    let server = TestServer::start_sealed(TempDir::new().unwrap(), Some(sealer as _), |config| {
        config.encryption = Some(encryption);
    })
    .await;
    plugin.sealed.store(true, Ordering::SeqCst);
    // Asked for the first time now; what it says then holds for a while.
    for path in ["/healthz/kms-providers", "/livez", "/readyz"] {
        assert_eq!(server.get(path).await.code, 500, "{path}");
    }
    assert!(server.get("/livez?verbose").await.text().contains("[-]kms-providers failed"));
    plugin.sealed.store(false, Ordering::SeqCst);
    eventually("the plugin is fine again", async || {
        (server.get("/healthz/kms-providers").await.code == 200).then_some(())
    })
    .await;
    let other = TestServer::start().await;
    assert_eq!(other.get("/healthz/kms-providers").await.code, 404);
}
