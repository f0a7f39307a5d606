//! The joining side's connection to the cluster.

use super::protocol::{FINISH, Finish, HELLO, Hello, JOIN, JoinAnswer, JoinRequest, VERSION, unfit};
use super::target::{Target, check_of, place};
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use client::dial;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Every API server's certificate has this name, and no other certificate of the cluster. So the host may be reached
/// by whatever name or address.
const SERVER: &str = "kubernetes.default.svc";
/// How long all of its addresses may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take: the cluster may be choosing a leader just now.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer.
const ANSWER_BYTES: usize = 1 << 20;

/// A cluster whose authority is the one that was pinned.
pub struct Remote {
    place: String,
    addresses: Vec<SocketAddr>,
    tls: Arc<ClientConfig>,
    token: String,
}

impl Remote {
    /// Finds the cluster and makes sure that it is the right one, and that this node fits it. Nothing secret is sent.
    ///
    /// # Errors
    /// When it cannot be reached, is another one, or has another version or time.
    pub async fn find(target: &Target) -> Result<Self> {
        let found = dial::resolve(&target.host).await?;
        let addresses = found.into_iter().map(|address| SocketAddr::new(address, target.port)).collect();
        let tls = Arc::new(pki::tls::unverified_client_config(&[b"http/1.1"])?);
        let token = target.token.clone();
        let mut remote = Self { place: place(&target.host, target.port), addresses, tls, token };
        let hello: Hello = remote.send(Method::GET, HELLO, &()).await?;
        let bundle: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(hello.ca.as_bytes()).collect();
        let bundle = bundle.with_context(|| format!("{} answers, but not as knarr does", remote.place))?;
        let Some(authority) = bundle.into_iter().find(|one| check_of(one) == target.check) else {
            bail!(
                "{} is not the cluster that the CHECK speaks of, or somebody poses as it; nothing was sent. Copy the \
                 line anew from `knarr add-node` on a node of the cluster",
                remote.place
            );
        };
        // Before certificates are looked at: a wrong clock makes good ones look expired.
        if let Some(why) = unfit(VERSION, Timestamp::now(), &hello.version, hello.time) {
            bail!("{why}");
        }
        remote.tls = Arc::new(pki::tls::client_config(&[authority], None, &[b"http/1.1"])?);
        Ok(remote)
    }

    /// Asks to join.
    ///
    /// # Errors
    /// The cluster's refusal, or when it does not answer.
    pub async fn join(&self, request: &JoinRequest) -> Result<JoinAnswer> {
        self.send(Method::POST, JOIN, request).await
    }

    /// Says how it went.
    ///
    /// # Errors
    /// The cluster's refusal, or when it does not answer.
    pub async fn finish(&self, name: &str, joined: bool) -> Result<()> {
        let finish = Finish { token: self.token.clone(), name: name.to_owned(), joined };
        self.send::<serde_json::Value>(Method::POST, FINISH, &finish).await.map(drop)
    }

    async fn connect(&self) -> Result<TcpStream> {
        let connecting = dial::any(self.addresses.iter().copied());
        let why = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => anyhow!("cannot reach {error}"),
            Err(_) => {
                let all: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
                anyhow!("{} does not answer", all.join(", "))
            }
        };
        Err(why.context(format!(
            "is the cluster running, and the port of {} open between this machine and it?",
            self.place
        )))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(method, path, body)).await;
        let (status, bytes) =
            answered.map_err(|_| anyhow!("{} does not answer within {ANSWER_TIMEOUT:?}", self.place))??;
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .with_context(|| format!("{} answers, but not as knarr does", self.place));
        }
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        match value.get("message").and_then(serde_json::Value::as_str) {
            Some(message) => bail!("the cluster refuses: {message}"),
            None => bail!("{} answers {status}: is it an API server of knarr?", self.place),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(http::StatusCode, Bytes)> {
        let stream = self.connect().await?;
        let name = ServerName::try_from(SERVER)?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        let stream = stream.with_context(|| format!("cannot speak with {}", self.place))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let body = if method == Method::GET { Vec::new() } else { serde_json::to_vec(body)? };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, SERVER)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        connection.abort();
        let body = body.map_err(|error| anyhow!("the answer of {} broke off: {error}", self.place))?;
        Ok((status, body.to_bytes()))
    }
}
