//! Clients of the server.

use bytes::Bytes;
use cri::streaming::{Connection, PROTOCOL_VERSION_HEADER, Role};
use futures::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use pki::{Component, LeafRequest};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tower::BoxError;

use super::world::{Identity, World};

pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

impl World {
    async fn send(&self, identity: Identity, request: http::request::Builder) -> Response<Incoming> {
        self.send_body(identity, request, Empty::new()).await
    }

    async fn send_body<B>(
        &self,
        identity: Identity,
        request: http::request::Builder,
        body: B,
    ) -> Response<Incoming>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let leaf = match identity {
            Identity::Nobody | Identity::Token(_) => None,
            Identity::ApiServer => Some(Component::ApiServerKubeletClient),
            Identity::Node => Some(Component::KubeletClient),
        }
        .map(|component| self.pki.leaf(&LeafRequest::client(component, "n1"), Timestamp::now()).unwrap());
        let authorities = self.pki.cluster_ca().bundle().unwrap();
        let config = pki::tls::client_config(&authorities, leaf.as_ref(), &[b"http/1.1"]).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = rustls_pki_types::ServerName::from(self.address.ip());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let mut request = request.header(header::HOST, "n1");
        if let Identity::Token(token) = identity {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = body.map_err(Into::into).boxed_unsync();
        sender.send_request(request.body(body).unwrap()).await.unwrap()
    }

    pub async fn get(&self, identity: Identity, path: &str) -> (StatusCode, String) {
        let response = self.send(identity, Request::get(path)).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Sends an archive, of which `announced` bytes are said to come.
    pub async fn post<B>(
        &self,
        identity: Identity,
        path: &str,
        announced: u64,
        body: B,
    ) -> (StatusCode, serde_json::Value)
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let request = Request::post(path).header(header::CONTENT_LENGTH, announced);
        let response = self.send_body(identity, request, body).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    pub async fn web_socket(&self, path: &str, protocols: &str) -> (Socket, String) {
        let request = Request::get(path)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
            .header(header::SEC_WEBSOCKET_PROTOCOL, protocols);
        let response = self.send(Identity::ApiServer, request).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let chosen = response.headers()[header::SEC_WEBSOCKET_PROTOCOL].to_str().unwrap().to_owned();
        let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
        (WebSocketStream::from_raw_socket(upgraded, role, None).await, chosen)
    }

    pub async fn spdy(&self, path: &str, protocol: &str) -> Connection {
        let request = Request::post(path)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "SPDY/3.1")
            .header(PROTOCOL_VERSION_HEADER, protocol);
        let response = self.send(Identity::ApiServer, request).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[PROTOCOL_VERSION_HEADER], protocol);
        Connection::new(TokioIo::new(hyper::upgrade::on(response).await.unwrap()), Role::Client)
    }
}

/// SPDY tunnelled in binary messages, as kubectl does it.
pub fn spdy_through(socket: Socket) -> Connection {
    let (inner, outer) = tokio::io::duplex(1 << 16);
    let (mut sink, mut stream) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(inner);
    tokio::spawn(async move {
        let mut buffer = vec![0; 1000];
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            sink.send(Message::Binary(buffer[..length].to_vec().into())).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Some(Ok(Message::Binary(data))) = stream.next().await {
            writer.write_all(&data).await.unwrap();
        }
    });
    Connection::new(outer, Role::Client)
}
