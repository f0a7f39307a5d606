//! Passing a request on, and after an upgrade the bytes in both directions.

use super::dial;
use super::target::Target;
use crate::ApiServer;
use crate::body::{self, Body};
use apimachinery::status::{Result, Status};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tracing::debug;

/// Headers that belong to one connection (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
];

/// Whether a request asks to change protocols.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// Headers as they are passed on: without the caller's credentials and what belongs to its connection.
pub(crate) fn passed_on(headers: &HeaderMap, upgrade: bool) -> HeaderMap {
    let mut out = headers.clone();
    if !upgrade {
        remove_hop_by_hop(&mut out);
    }
    let private: Vec<HeaderName> = out
        .keys()
        .filter(|name| {
            **name == header::AUTHORIZATION
                || name.as_str().starts_with("impersonate-")
                || name.as_str().starts_with("x-remote-")
        })
        .cloned()
        .collect();
    for name in private {
        out.remove(name);
    }
    out
}

/// Passes a request on and answers with what comes back.
///
/// # Errors
/// 503 when the other end cannot be reached.
pub(crate) async fn send(
    server: &ApiServer,
    target: Target,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let mut sender = dial::dial(server, target).await?;
    let response = sender.send_request(request).await.map_err(lost)?;
    Ok(response.map(boxed))
}

/// Passes on a request that asks to change protocols. When the other end agrees, bytes go both ways until one
/// side has had enough.
///
/// # Errors
/// 400 when the caller's connection cannot be upgraded, 503 when the other end cannot be reached.
pub(crate) async fn upgrade(
    server: &ApiServer,
    target: Target,
    request: Request<Body>,
    client: Option<OnUpgrade>,
) -> Result<Response<Body>> {
    let client =
        client.ok_or_else(|| Status::bad_request("this connection cannot be upgraded: use HTTP/1.1"))?;
    let mut sender = dial::dial(server, target).await?;
    let mut response = sender.send_request(request).await.map_err(lost)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response.map(boxed));
    }
    relay(client, hyper::upgrade::on(&mut response));
    Ok(response.map(|_| body::empty()))
}

/// Passes bytes both ways between two connections that change protocols, until one side has had enough.
pub(crate) fn relay(client: OnUpgrade, backend: OnUpgrade) {
    tokio::spawn(async move {
        let (client, backend) = match tokio::try_join!(client, backend) {
            Ok(both) => both,
            Err(error) => {
                debug!(%error, "an upgrade failed");
                return;
            }
        };
        let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut backend).await {
            debug!(%error, "an upgraded connection ended");
        }
    });
}

/// Takes out what belongs to one connection.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(header::UPGRADE);
}

fn boxed(incoming: hyper::body::Incoming) -> Body {
    incoming.map_err(Into::into).boxed_unsync()
}

fn lost(error: hyper::Error) -> Status {
    Status::service_unavailable(format!("error trying to reach service: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn credentials_stay_here() {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        headers.insert("impersonate-user", HeaderValue::from_static("x"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert("x-mine", HeaderValue::from_static("1"));
        assert!(is_upgrade(&headers));
        let names = |map: &HeaderMap| map.keys().map(|k| k.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&passed_on(&headers, false)), ["x-mine"]);
        let upgraded = passed_on(&headers, true);
        assert!(upgraded.contains_key(header::UPGRADE) && !upgraded.contains_key(header::AUTHORIZATION));
    }
}
