//! Dials a runtime's streaming URL and upgrades the connection to SPDY/3.1.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::connection::{Connection, Role};
use super::error::StreamingError;
use super::{Headers, PROTOCOL_VERSION_HEADER};

/// The streaming server is on this machine and does nothing before it answers but look up a token.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a refusal's body is worth showing.
const MAX_ERROR_BODY_BYTES: usize = 4096;

/// Upgrades `url`; `protocols` are offered in order of preference, and the one chosen is returned.
pub(super) async fn connect(
    url: &str,
    protocols: &[&str],
) -> Result<(Connection, Option<String>), StreamingError> {
    tokio::time::timeout(UPGRADE_TIMEOUT, upgrade(url, protocols))
        .await
        .map_err(|_| StreamingError::TimedOut(UPGRADE_TIMEOUT))?
}

async fn upgrade(url: &str, protocols: &[&str]) -> Result<(Connection, Option<String>), StreamingError> {
    let (address, path) = parse(url)?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io_error)?;
    tokio::spawn(connection.with_upgrades());

    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1")
        .header(header::CONTENT_LENGTH, "0");
    for protocol in protocols {
        request = request.header(PROTOCOL_VERSION_HEADER, *protocol);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|_| StreamingError::Url { url: url.to_owned(), reason: "not a valid request target" })?;
    let response = sender.send_request(request).await.map_err(io_error)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ERROR_BODY_BYTES).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        return Err(StreamingError::Refused {
            status,
            body: String::from_utf8_lossy(&body).trim().to_owned(),
        });
    }
    let chosen = response
        .headers()
        .get(PROTOCOL_VERSION_HEADER)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let upgraded = hyper::upgrade::on(response).await.map_err(io_error)?;
    Ok((Connection::new(TokioIo::new(upgraded), Role::Client), chosen))
}

/// The address to dial and the request target. Names are never resolved: the runtime is on this machine.
fn parse(url: &str) -> Result<(SocketAddr, String), StreamingError> {
    let unusable = |reason| StreamingError::Url { url: url.to_owned(), reason };
    let uri: Uri = url.parse().map_err(|_| unusable("not a URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(unusable("TLS streaming must be switched off in the runtime")),
        _ => return Err(unusable("not an http URL")),
    }
    let authority = uri.authority().ok_or_else(|| unusable("no address"))?;
    let host = match authority.host() {
        "localhost" => "127.0.0.1",
        host => host.trim_start_matches('[').trim_end_matches(']'),
    };
    let ip = host.parse().map_err(|_| unusable("its host is not an IP address"))?;
    let port = authority.port_u16().unwrap_or(80);
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Ok((SocketAddr::new(ip, port), path))
}

fn io_error(error: hyper::Error) -> StreamingError {
    StreamingError::Io(std::io::Error::other(error))
}

/// Headers of one stream.
pub(super) fn stream_headers<const N: usize>(pairs: [(&str, &str); N]) -> Headers {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_dialled_and_names_are_not() {
        let (address, path) = parse("http://127.0.0.1:4000/exec/token").unwrap();
        assert_eq!((address.to_string().as_str(), path.as_str()), ("127.0.0.1:4000", "/exec/token"));
        assert_eq!(parse("http://[::1]:5/x?y=1").unwrap().0.to_string(), "[::1]:5");
        assert!(parse("http://example.com/x").is_err());
        assert!(parse("https://127.0.0.1:1/x").is_err());
        assert!(parse("/exec/token").is_err());
    }
}
