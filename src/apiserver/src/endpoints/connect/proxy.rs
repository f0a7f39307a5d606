//! Proxying plain requests and upgrades to a node, pod or Service.

use super::Incoming;
use super::target::Target;
use super::tunnel;
use crate::ApiServer;
use crate::body::{self, Body};
use crate::endpoints::context::Context;
use crate::server::PeerAddress;
use apimachinery::status::{Result, Status};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
/// What may stand unescaped in a query (RFC 3986 section 2.3).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Escapes the value of a query parameter.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, &UNRESERVED).to_string()
}

/// The part of a path behind `/proxy`, as it was sent, and what stands before it.
fn split_path<'a>(path: &'a str, context: &Context) -> (&'a str, &'a str) {
    // The name may be escaped in any way; the subresource is not.
    let marker = format!("/{}", context.info.subresource);
    let resource = format!("/{}/", context.info.resource);
    let after_resource = path.find(&resource).map_or(0, |at| at + resource.len());
    let rest = path.get(after_resource..).unwrap_or("");
    match rest.find(&marker) {
        Some(at) => path.split_at(after_resource + at + marker.len()),
        None => (path, ""),
    }
}

/// Passes a request on to a target, with the path behind `/proxy`.
///
/// # Errors
/// 503 when the target cannot be reached.
pub(crate) async fn proxy(
    server: &ApiServer,
    context: &Context,
    incoming: Incoming,
    target: Target,
) -> Result<Response<Body>> {
    let original = incoming.parts.uri.path().to_owned();
    let (base, path) = split_path(&original, context);
    let reads = matches!(incoming.parts.method, Method::GET | Method::HEAD);
    if path.is_empty() && reads && !tunnel::is_upgrade(&context.headers) {
        // Relative links of the page have to lead below it.
        return Ok(moved(base, incoming.parts.uri.query()));
    }
    let path = if path.is_empty() { "/" } else { path };
    let path_and_query = match incoming.parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let base = base.to_owned();
    let response = pass_on(server, context, incoming, target, &path_and_query).await?;
    Ok(relocate(response, &base, target))
}

/// Passes a request on to a target, with another path and query.
///
/// # Errors
/// 503 when the target cannot be reached.
pub(crate) async fn pass_on(
    server: &ApiServer,
    context: &Context,
    incoming: Incoming,
    target: Target,
    path_and_query: &str,
) -> Result<Response<Body>> {
    let Incoming { mut parts, body } = incoming;
    let upgrade = tunnel::is_upgrade(&context.headers);
    let mut headers = tunnel::passed_on(&context.headers, upgrade);
    forwarded(&mut headers, &parts, context);
    if let Ok(host) = HeaderValue::from_str(&target.address.to_string()) {
        headers.insert(header::HOST, host);
    }
    let path: PathAndQuery = path_and_query
        .parse()
        .map_err(|e| Status::bad_request(format!("invalid path {path_and_query:?}: {e}")))?;
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = Uri::from(path);
    *request.headers_mut() = headers;
    if upgrade {
        let client = parts.extensions.remove::<OnUpgrade>();
        return tunnel::upgrade(server, target, request, client).await;
    }
    tunnel::send(server, target, request).await
}

fn forwarded(headers: &mut http::HeaderMap, parts: &http::request::Parts, context: &Context) {
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    if let Some(peer) = parts.extensions.get::<PeerAddress>() {
        set(FORWARDED_FOR, &peer.0.ip().to_string());
    }
    if let Some(host) = context.headers.get(header::HOST).and_then(|v| v.to_str().ok()) {
        set(FORWARDED_HOST, host);
    }
    set(FORWARDED_PROTO, "https");
    set(FORWARDED_URI, parts.uri.path());
}

fn moved(base: &str, query: Option<&str>) -> Response<Body> {
    let location = match query {
        Some(query) => format!("{base}/?{query}"),
        None => format!("{base}/"),
    };
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A redirect of the target leads back through the proxy.
fn relocate(mut response: Response<Body>, base: &str, target: Target) -> Response<Body> {
    let Some(location) = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()) else {
        return response;
    };
    let path = match location.parse::<Uri>() {
        Ok(uri) if uri.authority().is_none_or(|a| a.as_str() == target.address.to_string()) => {
            uri.path_and_query().map(|p| p.as_str().to_owned())
        }
        _ => None,
    };
    if let Some(location) = path
        .filter(|path| path.starts_with('/') && !path.starts_with(base))
        .and_then(|path| HeaderValue::from_str(&format!("{base}{path}")).ok())
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
