//! The server, clients of it, and raw requests to it.

use crate::answer::Answer;
use apiserver::authentication::{RequestHeaderConfig, UserInfo};
use apiserver::registry::FieldExtractor;
use apiserver::{ApiServer, Config};
use bytes::Bytes;
use datastore::{Datastore, Options};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use pki::{Component, LeafRequest, Pki, ServingCertificate};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// An API server in a temporary directory. Stops when it is dropped.
pub struct TestServer {
    /// The server.
    pub server: ApiServer,
    /// Its store.
    pub datastore: Arc<Datastore>,
    /// Its certificates and keys.
    pub pki: Arc<Pki>,
    directory: TempDir,
    shutdown: CancellationToken,
}

impl TestServer {
    /// Starts a server.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a server whose configuration a test has changed.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = TempDir::new().expect("a temporary directory can be made");
        Self::start_in(directory, change).await
    }

    /// Starts a server on what an earlier one left in a directory.
    pub async fn start_in(directory: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_sealed(directory, None, change).await
    }

    /// Starts a server whose store encrypts, on what an earlier one left in a directory.
    pub async fn start_sealed(
        directory: TempDir,
        sealer: Option<Arc<dyn storage::Sealer>>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let pki = Pki::load_or_create(&directory.path().join("pki"), Timestamp::now());
        let pki = Arc::new(pki.expect("certificates can be made"));
        let extractor = Arc::new(FieldExtractor::built_in());
        let options = Options { extractor, compaction_interval: None, sealer, ..Options::default() };
        let datastore = Datastore::open(directory.path().join("datastore"), options).await;
        let datastore = datastore.expect("the store opens");
        let keys = pki.load_service_account_keys().expect("the keys are there");
        let mut config = Config::new(Arc::clone(&datastore) as Arc<dyn storage::Storage>, keys);
        config.client_authorities = pki.cluster_ca().bundle().expect("the authority is readable");
        config.request_header = Some(RequestHeaderConfig::new(
            pki.front_proxy_ca().bundle().expect("the authority is readable"),
            vec!["front-proxy-client".to_owned()],
        ));
        let front_proxy =
            pki.leaf(&LeafRequest::client(Component::FrontProxyClient, "test"), Timestamp::now());
        let front_proxy = front_proxy.expect("a certificate can be made");
        config.front_proxy_client = Some(front_proxy.certified_key().expect("it has a key"));
        // Nothing is there (RFC 5737), but it is no loopback address, which Endpoints may not hold.
        config.advertise_address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        change(&mut config);
        let server = ApiServer::new(config).await.expect("the server starts");
        Self { server, datastore, pki, directory, shutdown: CancellationToken::new() }
    }

    /// Stops the server and starts another on the same directory.
    pub async fn restart(self) -> Self {
        Self::start_in(self.stop().await, |_| {}).await
    }

    /// Stops the server. Returns a directory with what it left.
    pub async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        self.server.begin_shutdown();
        self.datastore.shutdown().await;
        let directory = TempDir::new().expect("a temporary directory can be made");
        copy(self.directory.path(), directory.path());
        drop(self);
        directory
    }

    /// A client with an administrator's rights.
    pub fn client(&self) -> kube::Client {
        self.client_as(UserInfo::admin())
    }

    /// A client of another user.
    pub fn client_as(&self, user: UserInfo) -> kube::Client {
        client::in_process(self.server.in_process(user), "testkit")
    }

    /// An informer factory with an administrator's rights.
    pub fn informers(&self) -> client::SharedInformers {
        client::SharedInformers::new(self.client())
    }

    /// Makes a request as an administrator. A null body is none; the content type is JSON unless `headers`
    /// say otherwise.
    pub async fn request(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        self.request_as(Some(UserInfo::admin()), method, uri, headers, bytes).await
    }

    /// Makes a request as anybody (nobody: without credentials) with any body.
    pub async fn request_as(
        &self,
        user: Option<UserInfo>,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let response = self.open(user, method, uri, headers, body).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body arrives").to_bytes();
        Answer { code: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    /// Makes a request whose answer is read by the test: a watch.
    pub async fn open(
        &self,
        user: Option<UserInfo>,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<apiserver::Body> {
        let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::new(body);
        *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
        *request.uri_mut() = uri.parse().expect("a URI");
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            request.headers_mut().append(name, value.parse().expect("a header's value"));
        }
        if !request.headers().contains_key(header::CONTENT_TYPE) {
            let json = http::HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        if let Some(user) = user {
            request.extensions_mut().insert(user);
        }
        self.server.handle(request).await
    }

    /// GET as an administrator.
    pub async fn get(&self, uri: &str) -> Answer {
        self.request("GET", uri, &[], &Value::Null).await
    }

    /// POST as an administrator.
    pub async fn post(&self, uri: &str, body: &Value) -> Answer {
        self.request("POST", uri, &[], body).await
    }

    /// PUT as an administrator.
    pub async fn put(&self, uri: &str, body: &Value) -> Answer {
        self.request("PUT", uri, &[], body).await
    }

    /// PATCH as an administrator; `kind` is `json`, `merge`, `strategic-merge` or `apply`.
    pub async fn patch(&self, kind: &str, uri: &str, body: &Value) -> Answer {
        let media = match kind {
            "apply" => "application/apply-patch+yaml".to_owned(),
            other => format!("application/{other}-patch+json"),
        };
        self.request("PATCH", uri, &[("content-type", &media)], body).await
    }

    /// DELETE as an administrator.
    pub async fn delete(&self, uri: &str, body: &Value) -> Answer {
        self.request("DELETE", uri, &[], body).await
    }

    /// Serves over TLS on a free port of this machine until the server is dropped.
    pub async fn serve(&self) -> SocketAddr {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let certificate = ServingCertificate::new(
            Arc::clone(&self.pki),
            Component::ApiServer,
            "test",
            vec!["localhost".to_owned()],
            vec![local],
            &[],
            Timestamp::now(),
        );
        let resolver = certificate.expect("a serving certificate can be made").resolver();
        let authorities = self.pki.cluster_ca().bundle().expect("the authority is readable");
        let tls = pki::tls::server_config(resolver, &pki::tls::ClientAuth::Request(authorities), &[]);
        let listener = TcpListener::bind((local, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let tls = tls.expect("the TLS configuration is fine");
        tokio::spawn(self.server.clone().serve(listener, tls, self.shutdown.clone()));
        address
    }

    /// Ends what [`TestServer::serve`] began, as a SIGTERM does.
    pub fn stop_serving(&self) {
        self.shutdown.cancel();
    }

    /// The directory everything is in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.server.begin_shutdown();
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("the directory is readable").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).expect("a directory can be made");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}
