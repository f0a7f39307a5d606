//! What several of the tests do with a server.

use apiserver::authentication::UserInfo;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use pki::{Component, LeafRequest};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use testkit::TestServer;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection of the administrator's that can be upgraded.
pub(crate) async fn connect(server: &TestServer) -> SendRequest<Empty<Bytes>> {
    let address = server.serve().await;
    let leaf = server.pki.leaf(&LeafRequest::client(Component::Admin, "test"), Timestamp::now()).unwrap();
    let authorities = server.pki.cluster_ca().bundle().unwrap();
    let tls = pki::tls::client_config(&authorities, Some(&leaf), &[b"http/1.1"]).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = rustls_pki_types::ServerName::IpAddress(address.ip().into());
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

/// A watch, read event by event.
pub(crate) struct Events {
    body: apiserver::Body,
    buffer: Vec<u8>,
}

impl Events {
    pub(crate) async fn open(server: &TestServer, uri: &str, headers: &[(&str, &str)]) -> Self {
        let response = server.open(Some(UserInfo::admin()), "GET", uri, headers, "").await;
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await.unwrap()?;
            self.buffer.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
    }

    pub(crate) async fn expect(&mut self, kind: &str, name: &str) -> Value {
        let event = self.next().await.unwrap();
        assert_eq!(
            (event["type"].as_str(), event["object"]["metadata"]["name"].as_str()),
            (Some(kind), Some(name))
        );
        event["object"].clone()
    }
}
