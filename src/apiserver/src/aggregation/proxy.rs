//! Passing requests on to the server behind an APIService.
//!
//! Upstream counterpart: `kube-aggregator/pkg/apiserver/handler_proxy.go`.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;

use super::api_service::ApiService;
use super::identity;
use crate::body::{self, Body};
use crate::endpoints::{Context, tunnel};
use crate::outbound::Outbound;
use crate::server::PeerAddress;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Passes a request on as its user and answers with what comes back.
pub(super) async fn pass_on(
    outbound: &Outbound,
    service: &ApiService,
    context: &Context,
    mut parts: Parts,
    body: Body,
) -> Response<Body> {
    let Some(remote) = service.remote.as_ref().filter(|_| service.is_available()) else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "service unavailable");
    };
    let endpoint = match &remote.endpoint {
        Ok(endpoint) => endpoint,
        Err(why) => return error(StatusCode::INTERNAL_SERVER_ERROR, why),
    };
    let upgrades = tunnel::is_upgrade(&context.headers);
    let mut headers = tunnel::passed_on(&context.headers, upgrades);
    headers.remove(header::HOST);
    identity::set(&mut headers, &context.user);
    if let Some(peer) = parts.extensions.get::<PeerAddress>()
        && let Ok(peer) = HeaderValue::from_str(&peer.0.ip().to_string())
    {
        headers.append(FORWARDED_FOR, peer);
    }
    let url = match endpoint.url(parts.uri.path(), parts.uri.query()) {
        Ok(url) => url,
        Err(why) => return error(StatusCode::BAD_REQUEST, &why.to_string()),
    };
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = url;
    *request.headers_mut() = headers;
    let answered = if upgrades {
        outbound.upgrade(endpoint, request).await
    } else {
        outbound.send(endpoint, request).await
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(why) => {
            let text = format!("error trying to reach service: {}", why.cause());
            return error(StatusCode::SERVICE_UNAVAILABLE, &text);
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = parts.extensions.remove::<OnUpgrade>() else {
            return error(StatusCode::BAD_REQUEST, "this connection cannot be upgraded: use HTTP/1.1");
        };
        tunnel::relay(client, hyper::upgrade::on(&mut response));
        return response.map(|_| body::empty());
    }
    if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) {
        let text = "the backend attempted to redirect this request, which is not permitted";
        return error(StatusCode::BAD_GATEWAY, text);
    }
    tunnel::remove_hop_by_hop(response.headers_mut());
    response
}

/// An error as Go's `http.Error` writes it: these are no Status objects.
fn error(code: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(body::full(format!("{text}\n")));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
