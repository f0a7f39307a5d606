//! One request: where it goes, whether it may, and what comes back.

use super::encryption::Encryption;
use super::gateway::HeaderChange;
use super::limits::Limits;
use super::logins::{Logins, Verdict};
use super::options::Options;
use super::snapshot::{Snapshot, cookie_of};
use super::table::{Asked, Backend, Path, Side, Target};
use super::upstream::{Upstream, encrypted, upstream};
use crate::http::{self as web, Body, BoxError, Handler};
use crate::relay::{Change, answered, without_hops};
use ::http::uri::PathAndQuery;
use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};
use async_trait::async_trait;
use base64::Engine as _;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use parking_lot::{Mutex, RwLock};
use rand::Rng;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// So many ways of TLS are remembered, each with its connections.
const ENCRYPTIONS: usize = 64;

/// What both sides share.
pub struct Shared {
    current: Arc<RwLock<Arc<Snapshot>>>,
    limits: Limits,
    logins: Logins,
    http1: Upstream,
    http2: Upstream,
    /// Those that speak TLS, by HTTP/2 and how.
    encrypted: Mutex<HashMap<(bool, Encryption), Upstream>>,
    access_log: Option<fn(&str)>,
    /// Requests by the first digit of their status.
    counted: [AtomicU64; 5],
}

impl Shared {
    /// A proxy by what `current` says.
    pub fn new(current: Arc<RwLock<Arc<Snapshot>>>, access_log: Option<fn(&str)>) -> Self {
        Self {
            current,
            limits: Limits::default(),
            logins: Logins::default(),
            http1: upstream(false),
            http2: upstream(true),
            encrypted: Mutex::default(),
            access_log,
            counted: Default::default(),
        }
    }
}

/// Answers the requests of one port.
pub struct Proxy {
    shared: Arc<Shared>,
    pub(super) side: Side,
}

/// A request without its body.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) host: String,
    client: IpAddr,
}

/// Where a request goes, and how.
pub(super) struct Way<'a> {
    /// The Service.
    pub(super) backend: &'a Backend,
    /// How it is spoken to.
    pub(super) options: &'a Options,
    /// What the path becomes, if something else.
    pub(super) path: Option<String>,
    /// Changes of headers.
    pub(super) changes: &'a [HeaderChange],
}

impl Question {
    fn header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }

    /// User and password (RFC 7617).
    fn credentials(&self) -> Option<(String, String)> {
        let value = self.header("authorization")?;
        let (_, encoded) =
            value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    }

    fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';'));
        pairs.find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then(|| value.to_owned())
        })
    }
}

impl Proxy {
    /// The proxy of one port.
    pub fn new(shared: Arc<Shared>, side: Side) -> Arc<Self> {
        Arc::new(Self { shared, side })
    }

    /// The text of `/metrics`; names are ingress-nginx's.
    pub fn metrics(&self) -> String {
        let mut text = "# HELP nginx_ingress_controller_requests Requests that were answered.\n\
                        # TYPE nginx_ingress_controller_requests counter\n"
            .to_owned();
        for (at, count) in self.shared.counted.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            text.push_str(&format!("nginx_ingress_controller_requests{{status=\"{}xx\"}} {count}\n", at + 1));
        }
        text
    }

    async fn answer(&self, mut request: Request<Incoming>, client: SocketAddr) -> Response<Body> {
        let snapshot = self.shared.current.read().clone();
        let change = Change::of(&mut request);
        let (parts, body) = request.into_parts();
        let authority = parts.uri.host().map(str::to_owned);
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(without_port);
        let asked = Question {
            host: authority.or(host).unwrap_or_default().to_ascii_lowercase(),
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            client: client.ip(),
        };
        let body = body.map_err(|error| Box::new(error) as BoxError).boxed_unsync();
        let looked_at = Asked {
            side: self.side,
            host: &asked.host,
            path: asked.uri.path(),
            query: asked.uri.query(),
            method: &asked.method,
            headers: &asked.headers,
        };
        let Some(route) = snapshot.table.find(&looked_at) else {
            return web::text(StatusCode::NOT_FOUND, "default backend - 404");
        };
        match &route.target {
            Target::Rule(rule) => self.by_rule(&snapshot, &route.pattern, rule, asked, body, change).await,
            Target::Path(path) => {
                let (backend, options) = chosen(path, &asked);
                if let Some(refused) = self.refusal(&snapshot, &asked, options).await {
                    return refused;
                }
                let path = route.rewritten(&path.options, asked.uri.path());
                self.forward(&snapshot, &Way { backend, options, path, changes: &[] }, asked, body, change)
                    .await
            }
        }
    }

    /// The answer to a request that goes no further.
    async fn refusal(
        &self,
        snapshot: &Snapshot,
        asked: &Question,
        options: &Options,
    ) -> Option<Response<Body>> {
        let refuse =
            |status: StatusCode| Some(web::text(status, status.canonical_reason().unwrap_or_default()));
        if !options.allowed.is_empty() && !options.allowed.iter().any(|net| net.contains(&asked.client)) {
            return refuse(StatusCode::FORBIDDEN);
        }
        let rest = asked.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let has_certificate = snapshot.table.certificate(&asked.host).is_some();
        let to_https = options.force_ssl_redirect || (options.ssl_redirect && has_certificate);
        if self.side == Side::Plain && to_https {
            return Some(redirect(308, &format!("https://{}{rest}", asked.host)));
        }
        if let Some((status, to)) = &options.redirect {
            return Some(redirect(*status, to));
        }
        if let Some(root) = options.app_root.as_deref().filter(|_| asked.uri.path() == "/") {
            return Some(redirect(302, root));
        }
        // Before passwords: this keeps a client from trying many.
        if let Some(rate) = options.rate
            && !self.shared.limits.allows(asked.client, &asked.host, rate, Instant::now())
        {
            return refuse(StatusCode::SERVICE_UNAVAILABLE);
        }
        if let Some((secret, realm)) = &options.basic_auth {
            let lines = snapshot.users.get(secret).map_or("", String::as_str);
            let verdict = match asked.credentials() {
                Some((user, password)) => self.shared.logins.judge(lines, &user, &password).await,
                None => Verdict::Wrong,
            };
            match verdict {
                Verdict::Right => {}
                Verdict::Busy => return refuse(StatusCode::SERVICE_UNAVAILABLE),
                Verdict::Wrong => {
                    let mut response = web::text(StatusCode::UNAUTHORIZED, "401 Authorization Required");
                    let realm: String = realm.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
                    let asks = format!("Basic realm=\"{realm}\"");
                    set(response.headers_mut(), header::WWW_AUTHENTICATE, &asks);
                    return Some(response);
                }
            }
        }
        let length =
            asked.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if options.body_size.is_some_and(|limit| length.is_some_and(|length| length > limit)) {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE);
        }
        None
    }

    /// The answer of an endpoint.
    pub(super) async fn forward(
        &self,
        snapshot: &Snapshot,
        way: &Way<'_>,
        asked: Question,
        body: Body,
        change: Option<Change>,
    ) -> Response<Body> {
        let options = way.options;
        let Some(pool) = snapshot.pools.get(way.backend).filter(|pool| pool.len() > 0) else {
            return web::text(StatusCode::SERVICE_UNAVAILABLE, "503 Service Temporarily Unavailable");
        };
        let cookie = options.sticky.as_deref().map(|name| (name, asked.cookie(name)));
        let mut endpoint =
            cookie.as_ref().and_then(|(_, value)| pool.sticky(value.as_deref()?)).or_else(|| pool.next());
        let kept = cookie.as_ref().and_then(|(_, value)| value.clone());
        // What has no body can be sent again.
        let repeatable = body.is_end_stream();
        let mut body = Some(body);
        let mut tries = options.tries.min(pool.len());
        let mut again = options.retry.as_ref().filter(|_| repeatable).map_or(0, |retry| retry.attempts);
        loop {
            let Some(to) = endpoint else {
                return web::text(StatusCode::BAD_GATEWAY, "502 Bad Gateway");
            };
            let Ok(mut request) = self.request(&asked, to, way, change.as_ref()) else {
                return web::text(StatusCode::BAD_REQUEST, "400 Bad Request");
            };
            *request.body_mut() = match (body.take(), options.body_size) {
                (Some(body), Some(limit)) => {
                    Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX)).boxed_unsync()
                }
                (Some(body), None) => body,
                (None, _) => web::full(""),
            };
            let Some(client) = self.client(snapshot, options) else {
                return web::text(StatusCode::BAD_GATEWAY, "502 Bad Gateway");
            };
            let outcome = tokio::time::timeout(options.read_timeout, client.request(request)).await;
            if let Some(retry) = options.retry.as_ref().filter(|_| again > 0) {
                let failed = match &outcome {
                    Ok(Ok(answer)) => retry.codes.contains(&answer.status().as_u16()),
                    Ok(Err(_)) | Err(_) => true,
                };
                if failed {
                    again -= 1;
                    tokio::time::sleep(retry.backoff).await;
                    endpoint = pool.next();
                    continue;
                }
            }
            let answer = match outcome {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) if repeatable && error.is_connect() && tries > 1 => {
                    tries -= 1;
                    endpoint = pool.next();
                    continue;
                }
                Ok(Err(error)) if is_too_large(&error) => {
                    return web::text(StatusCode::PAYLOAD_TOO_LARGE, "413 Request Entity Too Large");
                }
                Ok(Err(error)) => {
                    tracing::debug!(%to, "no answer: {error}");
                    return web::text(StatusCode::BAD_GATEWAY, "502 Bad Gateway");
                }
                Err(_) => return web::text(StatusCode::GATEWAY_TIMEOUT, "504 Gateway Time-out"),
            };
            let mut response = answered(answer, change);
            if let Some((name, _)) = cookie
                && kept.as_deref() != Some(cookie_of(&to).as_str())
            {
                let secure = if self.side == Side::Secure { "; Secure" } else { "" };
                let value = format!("{name}={}; Path=/; HttpOnly{secure}", cookie_of(&to));
                if let Ok(value) = HeaderValue::from_str(&value) {
                    response.headers_mut().append(header::SET_COOKIE, value);
                }
            }
            return response;
        }
    }

    /// What speaks to endpoints; none when certificates for that cannot be used.
    pub(super) fn client(&self, snapshot: &Snapshot, options: &Options) -> Option<Upstream> {
        let shared = &self.shared;
        let Some(mut encryption) = options.encryption.clone() else {
            return Some(if options.http2 { shared.http2.clone() } else { shared.http1.clone() });
        };
        if let Some(source) = &encryption.source {
            encryption.credentials = snapshot.credentials.get(source).cloned().unwrap_or_default();
        }
        let mut known = shared.encrypted.lock();
        if let Some(client) = known.get(&(options.http2, encryption.clone())) {
            return Some(client.clone());
        }
        let client = encrypted(options.http2, &encryption)
            .inspect_err(|error| tracing::warn!("TLS to endpoints cannot be spoken: {error}"))
            .ok()?;
        if known.len() >= ENCRYPTIONS {
            known.clear();
        }
        known.insert((options.http2, encryption), client.clone());
        Some(client)
    }

    /// The request as an endpoint sees it.
    pub(super) fn request(
        &self,
        asked: &Question,
        to: SocketAddr,
        way: &Way<'_>,
        change: Option<&Change>,
    ) -> Result<Request<Body>, ::http::Error> {
        let options = way.options;
        let given = asked.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let path_and_query = match (way.path.as_deref(), asked.uri.query()) {
            (None, _) => given.to_owned(),
            (Some(path), None) => path.to_owned(),
            (Some(path), Some(query)) => format!("{path}?{query}"),
        };
        let scheme = if options.encryption.is_some() { "https" } else { "http" };
        let uri =
            Uri::builder().scheme(scheme).authority(to.to_string()).path_and_query(path_and_query).build()?;
        let mut request = Request::builder().method(asked.method.clone()).uri(uri).body(web::full(""))?;
        let headers = request.headers_mut();
        *headers = asked.headers.clone();
        without_hops(headers);
        let host = options.upstream_host.as_deref().unwrap_or(&asked.host);
        if options.http2 {
            headers.remove(header::HOST);
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        } else if options.upstream_host.is_some() || !headers.contains_key(header::HOST) {
            set(headers, header::HOST, host);
        }
        let scheme = self.side.scheme();
        let port = if self.side == Side::Plain { "80" } else { "443" };
        // What a client says of itself here is not believed.
        let client = asked.client.to_canonical().to_string();
        set(headers, HeaderName::from_static("x-real-ip"), &client);
        set(headers, HeaderName::from_static("x-forwarded-for"), &client);
        set(headers, HeaderName::from_static("x-forwarded-host"), &asked.host);
        set(headers, HeaderName::from_static("x-forwarded-port"), port);
        set(headers, HeaderName::from_static("x-forwarded-proto"), scheme);
        set(headers, HeaderName::from_static("x-forwarded-scheme"), scheme);
        if !headers.contains_key("x-request-id") {
            let id = uuid::Uuid::new_v4().simple().to_string();
            set(headers, HeaderName::from_static("x-request-id"), &id);
        }
        *request.version_mut() = if options.http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        for change in way.changes {
            change.apply(request.headers_mut());
        }
        if let Some(change) = change {
            change.ask(&mut request);
        }
        Ok(request)
    }
}

#[async_trait]
impl Handler for Proxy {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, client: SocketAddr) -> Response<Body> {
        let start = Instant::now();
        let line = self.shared.access_log.map(|log| {
            let host = request.uri().host().map(str::to_owned);
            let host = host.or_else(|| request.headers().get(header::HOST)?.to_str().ok().map(str::to_owned));
            let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
            let agent = agent.unwrap_or("-").replace('"', "'");
            let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
            let host = host.unwrap_or_default();
            let line =
                format!("\"{} {path} {:?}\" {host:?} \"{agent}\"", request.method(), request.version());
            (log, line)
        });
        let response = self.answer(request, client).await;
        let status = response.status().as_u16();
        if let Some(count) =
            usize::from(status / 100).checked_sub(1).and_then(|at| self.shared.counted.get(at))
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if let Some((log, line)) = line {
            let time = jiff::Timestamp::now();
            log(&format!(
                "{} - - [{time:.0}] {line} {status} {:.3}",
                client.ip(),
                start.elapsed().as_secs_f64()
            ));
        }
        response
    }

    fn extended_connect(&self) -> bool {
        true
    }
}

/// The backend of a request, or an alternative.
fn chosen<'a>(path: &'a Path, asked: &Question) -> (&'a Backend, &'a Options) {
    for (canary, backend, options) in &path.canaries {
        let chance = rand::rng().random_range(0..100);
        if canary.takes(|name| asked.header(name), |name| asked.cookie(name), chance) {
            return (backend, options);
        }
    }
    (&path.backend, &path.options)
}

fn is_too_large(error: &hyper_util::client::legacy::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Sends a client elsewhere.
pub(super) fn redirect(status: u16, to: &str) -> Response<Body> {
    let mut response = web::text(StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND), "");
    set(response.headers_mut(), header::LOCATION, to);
    response
}

fn without_port(host: &str) -> String {
    let end = if host.ends_with(']') { None } else { host.rfind(':') };
    end.and_then(|end| host.get(..end)).unwrap_or(host).to_owned()
}

/// Sets a header, unless the value cannot be one.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
