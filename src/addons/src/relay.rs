//! What proxies do with the heads of messages: headers that are meant for one connection, and changes of protocols.
//!
//! A WebSocket comes as an upgrade of HTTP/1.1 (RFC 6455) or as an extended CONNECT of HTTP/2 (RFC 8441), which is what
//! browsers send where HTTP/2 is spoken. It goes on as the former.

use crate::http::{Body, BoxError};
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// A change of protocols that a client has asked for.
pub struct Change {
    client: OnUpgrade,
    protocol: HeaderValue,
    /// Whether it was asked for by CONNECT.
    connect: bool,
}

impl Change {
    /// What a request asks for, if it does.
    pub fn of<B>(request: &mut Request<B>) -> Option<Self> {
        let connect = request.method() == Method::CONNECT;
        let protocol = if connect {
            HeaderValue::from_str(request.extensions().get::<Protocol>()?.as_str()).ok()?
        } else {
            if request.version() != Version::HTTP_11 {
                return None;
            }
            request.headers().get(header::UPGRADE)?.clone()
        };
        let client = request.extensions_mut().remove::<OnUpgrade>()?;
        Some(Self { client, protocol, connect })
    }

    /// Asks for the same with a request of HTTP/1.1.
    pub fn ask<B>(&self, request: &mut Request<B>) {
        *request.version_mut() = Version::HTTP_11;
        if self.connect {
            *request.method_mut() = Method::GET;
        }
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, self.protocol.clone());
        if self.connect && !headers.contains_key(header::SEC_WEBSOCKET_KEY) {
            // CONNECT has no key, since it needs no proof that the other side understands it.
            let key = base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 16]>());
            if let Ok(key) = HeaderValue::from_str(&key) {
                headers.insert(header::SEC_WEBSOCKET_KEY, key);
            }
        }
    }
}

/// What an endpoint answered, as the client gets it. After a change of protocols both sides speak to one another.
pub fn answered<B>(mut answer: Response<B>, change: Option<Change>) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    match change.filter(|_| switched) {
        Some(Change { client, connect, .. }) => {
            let endpoint = hyper::upgrade::on(&mut answer);
            tokio::spawn(async move {
                if let (Ok(client), Ok(endpoint)) = tokio::join!(client, endpoint) {
                    let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
                    // Either side may leave as it likes.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut endpoint).await;
                }
            });
            if connect {
                *answer.status_mut() = StatusCode::OK;
                without_hops(answer.headers_mut());
                answer.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
            }
        }
        None => without_hops(answer.headers_mut()),
    }
    let (mut parts, body) = answer.into_parts();
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Response::from_parts(parts, body.map_err(Into::into).boxed_unsync())
}

/// Takes away what is meant for one connection (RFC 9110, 7.6.1).
pub fn without_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let always = [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    for name in named.iter().chain(&always) {
        headers.remove(name);
    }
}
