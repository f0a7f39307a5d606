//! The S3 client against a small server that believes no signature that it has not worked out itself.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use backup::s3::{Bucket, Lookup, Options, S3Error};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use ring::hmac;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

const SECRET: &str = "s3cr3t/+";
const REGION: &str = "eu-north-1";

/// Objects on one page of a list: few, so that there are pages.
const PAGE: usize = 2;

#[derive(Default)]
struct Fake {
    objects: Mutex<BTreeMap<String, Bytes>>,
    requests: Mutex<Vec<String>>,
    token: Option<&'static str>,
}

impl Fake {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        assert!(!parts.headers.contains_key("transfer-encoding"), "S3 takes no chunks");
        let body = body.collect().await.unwrap().to_bytes();
        let header = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap());
        self.requests.lock().unwrap().push(format!("{} {} {}", parts.method, header("host"), parts.uri));
        let refuse = |code: u16, name: &str, message: &str| {
            let xml = format!("<Error><Code>{name}</Code><Message>{message}</Message></Error>");
            Response::builder().status(code).body(Full::new(Bytes::from(xml))).unwrap()
        };
        if header("x-amz-content-sha256") != hex(&Sha256::digest(&body)) {
            return refuse(400, "XAmzContentSHA256Mismatch", "the body is another");
        }
        if self.token.is_some_and(|token| header("x-amz-security-token") != token) {
            return refuse(403, "InvalidToken", "the token is another");
        }
        if header("authorization") != authorization(&parts) {
            return refuse(403, "SignatureDoesNotMatch", "the signature isn&apos;t right");
        }
        let path = percent_decode_str(parts.uri.path()).decode_utf8().unwrap().into_owned();
        // In the host's name, or at the beginning of the path.
        let key = match header("host").strip_prefix("bucket.") {
            Some(_) => path.strip_prefix('/').unwrap().to_owned(),
            None => match path.strip_prefix("/bucket/") {
                Some(key) => key.to_owned(),
                None => return refuse(404, "NoSuchBucket", "there is none"),
            },
        };
        let mut objects = self.objects.lock().unwrap();
        let found = |bytes: Bytes| Response::new(Full::new(bytes));
        match (parts.method.as_str(), key.as_str()) {
            ("PUT", _) => {
                objects.insert(key, body);
                found(Bytes::new())
            }
            ("GET", "") => found(Bytes::from(list(&objects, parts.uri.query().unwrap()))),
            ("GET", _) => match objects.get(&key) {
                Some(object) => found(object.clone()),
                None => refuse(404, "NoSuchKey", "there is none"),
            },
            ("DELETE", _) => {
                objects.remove(&key);
                Response::builder().status(204).body(Full::default()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn pairs(query: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(n, v)| (decode(n), decode(v))).collect()
}

fn list(objects: &BTreeMap<String, Bytes>, query: &str) -> String {
    let query = pairs(query);
    assert_eq!(query["list-type"], "2");
    let after = query.get("continuation-token").cloned().unwrap_or_default();
    let left: Vec<_> =
        objects.iter().filter(|(k, _)| k.starts_with(&query["prefix"]) && **k > after).collect();
    let mut xml = format!("<ListBucketResult><IsTruncated>{}</IsTruncated>", left.len() > PAGE);
    for (key, object) in left.iter().take(PAGE) {
        let key = key.replace('&', "&amp;");
        write!(xml, "<Contents><Key>{key}</Key><Size>{}</Size></Contents>", object.len()).unwrap();
    }
    if left.len() > PAGE {
        let next = left[PAGE - 1].0.replace('&', "&amp;");
        write!(xml, "<NextContinuationToken>{next}</NextContinuationToken>").unwrap();
    }
    xml + "</ListBucketResult>"
}

/// What the header has to say, from what came over the wire: the server's half of the specification.
fn authorization(parts: &http::request::Parts) -> String {
    let header = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap());
    let given = header("authorization");
    let field =
        |name: &str| given.split([' ', ',']).find_map(|part| part.strip_prefix(name)).unwrap_or_default();
    let (credential, names) = (field("Credential="), field("SignedHeaders="));
    for needed in ["host", "x-amz-content-sha256", "x-amz-date"] {
        assert!(names.split(';').any(|name| name == needed), "{needed} is not signed");
    }
    let scope = credential.strip_prefix("key/").expect("the access key");
    let date = header("x-amz-date");
    assert_eq!(scope, format!("{}/{REGION}/s3/aws4_request", &date[..8]));
    let mut query: Vec<&str> =
        parts.uri.query().unwrap_or_default().split('&').filter(|q| !q.is_empty()).collect();
    query.sort_unstable();
    let headers: String = names.split(';').map(|name| format!("{name}:{}\n", header(name))).collect();
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{names}\n{}",
        parts.method,
        parts.uri.path(),
        query.join("&"),
        header("x-amz-content-sha256")
    );
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let key = scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, part| sign(&key, part));
    let signature = hex(&sign(&key, &text));
    format!("AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={names},Signature={signature}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Server {
    fake: Arc<Fake>,
    port: u16,
    folder: tempfile::TempDir,
}

impl Server {
    async fn start(fake: Fake, encrypted: bool) -> Self {
        let fake = Arc::new(fake);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let acceptor = encrypted.then(|| {
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let certified = rcgen::generate_simple_self_signed(names).unwrap();
            std::fs::write(folder.path().join("ca.crt"), certified.cert.pem()).unwrap();
            let key = rustls_pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certified.cert.der().clone()], key.into())
                .unwrap();
            tokio_rustls::TlsAcceptor::from(Arc::new(config))
        });
        let serving = Arc::clone(&fake);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (fake, acceptor) = (Arc::clone(&serving), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(fake, stream).await;
                            }
                        }
                        None => serve(fake, stream).await,
                    }
                });
            }
        });
        Self { fake, port, folder }
    }

    fn options(&self) -> Options {
        Options {
            endpoint: format!("127.0.0.1:{}", self.port),
            insecure: true,
            access_key: "key".into(),
            secret_key: SECRET.into(),
            bucket: "bucket".into(),
            region: REGION.into(),
            folder: "a folder/of mine".into(),
            timeout: Duration::from_secs(30),
            ..Options::default()
        }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

async fn serve(fake: Arc<Fake>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(move |request| {
        let fake = Arc::clone(&fake);
        async move { Ok::<_, Infallible>(fake.answer(request).await) }
    });
    // A client that goes away is no failure of the test.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[tokio::test]
async fn objects_are_put_listed_fetched_and_deleted() {
    let server = Server::start(Fake::default(), false).await;
    let bucket = Bucket::new(server.options()).unwrap();
    let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let file = server.file("content", &content);
    let names = ["knarr-n-1.tar.gz", "knarr-n-2.tar.gz", "knarr-n-3.tar.gz", "knarr-n&m-4.tar.gz", "x+ü"];
    for name in names {
        bucket.put(name, &file).await.unwrap();
    }
    let objects = server.fake.objects.lock().unwrap().clone();
    assert_eq!(objects.len(), names.len());
    assert!(names.iter().all(|name| objects.contains_key(&format!("a folder/of mine/{name}"))));
    let listed = bucket.list("knarr-n").await.unwrap();
    let expected: Vec<_> = names[..4].iter().map(|name| ((*name).to_owned(), content.len() as u64)).collect();
    assert_eq!(listed.len(), 4);
    assert!(expected.iter().all(|entry| listed.contains(entry)), "{listed:?}");
    let back = server.folder.path().join("back");
    bucket.get("x+ü", &back).await.unwrap();
    assert_eq!(std::fs::read(&back).unwrap(), content);
    bucket.delete("x+ü").await.unwrap();
    bucket.delete("x+ü").await.unwrap();
    let error = bucket.get("x+ü", &server.folder.path().join("none")).await.unwrap_err();
    assert!(matches!(error, S3Error::Refused { code: 404, .. }), "{error}");
    assert!(error.to_string().contains("NoSuchKey: there is none"), "{error}");
    assert!(
        server.fake.requests.lock().unwrap()[0].contains("/bucket/a%20folder/of%20mine/knarr-n-1.tar.gz")
    );
}

#[tokio::test]
async fn the_bucket_may_be_in_the_hosts_name() {
    let server = Server::start(Fake::default(), false).await;
    let endpoint = format!("localhost:{}", server.port);
    let bucket = Bucket::new(Options { endpoint, lookup: Lookup::Dns, ..server.options() }).unwrap();
    bucket.put("a", &server.file("f", b"x")).await.unwrap();
    assert_eq!(bucket.list("").await.unwrap(), [("a".to_owned(), 1)]);
    let asked = server.fake.requests.lock().unwrap()[0].clone();
    assert_eq!(asked, format!("PUT bucket.localhost:{} /a%20folder/of%20mine/a", server.port));
}

#[tokio::test]
async fn certificates_are_checked_against_the_authority_that_is_given() {
    let server = Server::start(Fake::default(), true).await;
    let encrypted = || Options { insecure: false, folder: String::new(), ..server.options() };
    let file = server.file("f", b"x");
    let own = Options { endpoint_ca: Some(server.folder.path().join("ca.crt")), ..encrypted() };
    Bucket::new(own).unwrap().put("a", &file).await.unwrap();
    let anybody = Options { skip_verify: true, ..encrypted() };
    Bucket::new(anybody).unwrap().put("b", &file).await.unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = server.file("other.crt", other.cert.pem().as_bytes());
    let stranger = Bucket::new(Options { endpoint_ca: Some(other), ..encrypted() }).unwrap();
    let error = stranger.put("c", &file).await.unwrap_err();
    assert!(matches!(error, S3Error::Unreachable { .. }) && error.to_string().contains("TLS"), "{error}");
    let stored: Vec<String> = server.fake.objects.lock().unwrap().keys().cloned().collect();
    assert_eq!(stored, ["a", "b"]);
}

#[tokio::test]
async fn wrong_secrets_and_missing_options_are_told() {
    let server = Server::start(Fake { token: Some("t"), ..Fake::default() }, false).await;
    let file = server.file("f", b"x");
    let with_token = || Options { session_token: Some("t".into()), ..server.options() };
    Bucket::new(with_token()).unwrap().put("a", &file).await.unwrap();
    let wrong = Bucket::new(Options { secret_key: "other".into(), ..with_token() }).unwrap();
    let error = wrong.put("b", &file).await.unwrap_err().to_string();
    assert!(error.contains("403") && error.contains("the signature isn't right"), "{error}");
    let error = Bucket::new(Options { bucket: String::new(), ..server.options() }).unwrap_err();
    assert!(error.to_string().contains("no bucket"), "{error}");
    for endpoint in ["https://a/b", "a b", "user@host"] {
        assert!(
            Bucket::new(Options { endpoint: endpoint.into(), ..server.options() }).is_err(),
            "{endpoint}"
        );
    }
    let gone = Bucket::new(Options { endpoint: "127.0.0.1:1".into(), ..server.options() }).unwrap();
    assert!(matches!(gone.list("").await.unwrap_err(), S3Error::Unreachable { .. }));
}
