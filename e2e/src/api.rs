//! A small HTTPS client for measuring: one connection per worker, the administrator's certificate.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// How the API is reached.
#[derive(Clone)]
pub struct Api {
    tls: TlsConnector,
    address: String,
}

/// An answer that goes on: a watch.
pub struct Stream {
    body: Incoming,
    // Keeps the connection.
    _sender: SendRequest<Full<Bytes>>,
}

/// One connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Api {
    /// As the certificates in a data directory allow.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn new(data_dir: &Path, address: &str) -> Result<Self> {
        let read =
            |name: &str| std::fs::read(data_dir.join("pki").join(name)).with_context(|| name.to_owned());
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&read("ca.crt")?) {
            roots.add(certificate?)?;
        }
        let chain = CertificateDer::pem_slice_iter(&read("admin.crt")?).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&read("admin.key")?)?;
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)?;
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), address: address.to_owned() })
    }

    /// The same for another server of the cluster.
    pub fn at(&self, address: &str) -> Self {
        Self { tls: self.tls.clone(), address: address.to_owned() }
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody listens or TLS fails.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = tokio::net::TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from("localhost")?, stream).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender })
    }
}

impl Connection {
    /// One request; answers status and body.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// One request that has to succeed.
    ///
    /// # Errors
    /// When it does not, with what the server said.
    pub async fn must(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let (status, answer) = self.send(method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path}: {status} {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }

    /// Begins a watch.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn stream(mut self, path: &str) -> Result<Stream> {
        let request = Request::builder().uri(path).header("host", "localhost").body(Full::default())?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if !response.status().is_success() {
            bail!("{path}: {}", response.status());
        }
        Ok(Stream { body: response.into_body(), _sender: self.sender })
    }
}

impl Stream {
    /// Reads to the end of a line, which ends an event.
    ///
    /// # Errors
    /// When the stream ends.
    pub async fn line(&mut self) -> Result<()> {
        loop {
            let frame = self.body.frame().await.context("the stream ended")??;
            if frame.data_ref().is_some_and(|data| data.ends_with(b"\n")) {
                return Ok(());
            }
        }
    }
}
