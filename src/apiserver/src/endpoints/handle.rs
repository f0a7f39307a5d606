//! A request's way through the server, from its head to its answer.

use super::context::Context;
use super::negotiation::{self, Media};
use super::query::Query;
use super::request_info::RequestInfo;
use super::watch_socket::WatchSocket;
use super::{
    authors, compression, connect, create, delete, extension, get, health, list, metrics, open_paths, patch,
    response, reviews, scale, update, watch,
};
use crate::ApiServer;
use crate::admission::Warnings;
use crate::audit::{self, Annotations, Record};
use crate::authentication::UserInfo;
use crate::body::Body;
use crate::flowcontrol::{self, Outcome};
use crate::registry::Served;
use crate::registry::core::{binding, component_status, eviction, namespace, service_account};
use crate::server::{PeerAddress, PeerCertificates};
use apimachinery::status::{Result, Status};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use storage::Author;
use tracing::{debug, error};

/// Upstream's `--request-timeout`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Names a request in the audit log.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Which FlowSchema and PriorityLevelConfiguration a request went by (KEP-1040).
const FLOW_SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const PRIORITY_LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
/// Paths that everybody may ask for (upstream's `--authorization-always-allow-paths`).
const OPEN_PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// Answers a request.
pub(crate) async fn handle(server: &ApiServer, request: Request<Body>) -> Response<Body> {
    let began = tokio::time::Instant::now();
    let received = jiff::Timestamp::now();
    let (parts, body) = request.into_parts();
    let info = RequestInfo::parse(&parts.method, &parts.uri);
    let audit_id = audit_id(&parts);
    // Counted until it is dropped; a watch until its body is.
    let head = parts.method == Method::HEAD;
    let long_running = info.is_long_running();
    let timeout = timeout(&parts, long_running);
    let known = known(server, &info);
    let in_flight = server.metrics().begin(&info, known);
    let described = info.clone();
    let record = OnceLock::new();
    let (timeout, refused) = match timeout {
        Ok(timeout) => (timeout, None),
        Err(status) => (REQUEST_TIMEOUT, Some(status)),
    };
    let begun = Begun { received, timeout, refused, audit_id: audit_id.as_ref(), record: &record };
    let work: BoxFuture<'_, Response<Body>> = Box::pin(answer(server, info, parts, body, begun));
    let work = AssertUnwindSafe(work).catch_unwind();
    let answered = if long_running {
        work.await
    } else {
        match tokio::time::timeout(timeout, work).await {
            Ok(answered) => answered,
            Err(_) => {
                let text = "request did not complete within the allotted timeout";
                Ok(response::status(&Status::timeout(text, 0), Media::Json))
            }
        }
    };
    let panicked = answered.is_err();
    let mut response = answered.unwrap_or_else(|_| {
        error!(path = described.path, verb = described.verb, "a request panicked");
        let text = "This request caused apiserver to panic. Look in the logs for details.";
        response::status(&Status::internal(text), Media::Json)
    });
    if let Some(audit_id) = &audit_id {
        response.headers_mut().insert(AUDIT_ID, audit_id.clone());
    }
    if head {
        *response.body_mut() = crate::body::empty();
    }
    let size = response.body().size_hint().exact();
    server.metrics().observe(&described, known, response.status().as_u16(), began.elapsed(), size);
    debug!(
        verb = described.verb,
        path = described.path,
        code = response.status().as_u16(),
        took = ?began.elapsed(),
        "request"
    );
    if let Some(record) = record.into_inner() {
        response = tell(&record, response, long_running, panicked).await;
    }
    if !long_running {
        return response;
    }
    let watches = described.verb == "watch" && response.status().is_success();
    let watching = watches.then(|| server.flow_control().watchers().begin(&described));
    response.map(|body| crate::body::hold(body, (in_flight, watching)))
}

/// What is known of a request before it is known who sends it.
struct Begun<'a> {
    received: jiff::Timestamp,
    timeout: Duration,
    /// What is wrong with its head.
    refused: Option<Status>,
    audit_id: Option<&'a HeaderValue>,
    /// Where what tells of it is put once it is known who sends it.
    record: &'a OnceLock<Record>,
}

impl Begun<'_> {
    /// Begins to tell of a request.
    fn tell_of(&self, server: &ApiServer, user: &UserInfo, info: &RequestInfo, parts: &Parts) -> Annotations {
        let peer = parts.extensions.get::<PeerAddress>().map(|peer| peer.0.ip());
        let audit_id = self.audit_id.and_then(|id| id.to_str().ok()).unwrap_or("");
        let sender = audit::Sender { user, peer, headers: &parts.headers };
        let record = server
            .auditor()
            .and_then(|auditor| auditor.begin(audit_id, &parts.uri, &sender, info, self.received));
        let Some(record) = record else { return Annotations::default() };
        let annotations = record.annotations().clone();
        // It is put there once only.
        let _ = self.record.set(record);
        annotations
    }
}

/// Tells of an answer.
async fn tell(
    record: &Record,
    response: Response<Body>,
    long_running: bool,
    panicked: bool,
) -> Response<Body> {
    if panicked {
        let pending = record.panicked(&response);
        pending.wait().await;
        return response;
    }
    if long_running {
        let pending = record.started(&response);
        pending.wait().await;
        let completion = record.completion(&response);
        return response.map(|body| crate::body::hold(body, completion));
    }
    // What has no end that is known is not held up for being told.
    if !record.wants_response() || response.body().size_hint().exact().is_none() {
        let pending = record.complete(&response, None);
        pending.wait().await;
        return response;
    }
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let object = super::body::told(&parts.headers, &bytes);
    let response = Response::from_parts(parts, crate::body::full(bytes));
    let pending = record.complete(&response, object);
    pending.wait().await;
    response
}

fn known(server: &ApiServer, info: &RequestInfo) -> bool {
    info.is_resource_request
        && server.resources().get(&info.api_group, &info.api_version, &info.resource).is_some()
}

fn audit_id(parts: &Parts) -> Option<HeaderValue> {
    /// Longest id that is taken over from a client.
    const MAX_BYTES: usize = 64;
    match parts.headers.get(&AUDIT_ID) {
        Some(given) if !given.is_empty() && given.len() <= MAX_BYTES => Some(given.clone()),
        _ => HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok(),
    }
}

/// What the client asks for with `timeout`, at most what we allow. Watches have a parameter of their own.
///
/// # Errors
/// 400 when it is no duration.
fn timeout(parts: &Parts, long_running: bool) -> Result<Duration> {
    let query = parts.uri.query().filter(|query| !long_running && query.contains("timeout="));
    let Some(query) = query.map(|query| Query::parse(Some(query))) else { return Ok(REQUEST_TIMEOUT) };
    let text = query.text("timeout");
    if matches!(text, "" | "0") {
        return Ok(REQUEST_TIMEOUT);
    }
    // Go's form of durations is a part of what jiff reads ("34s", "1m30s").
    let asked = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    match asked {
        Some(Duration::ZERO) => Ok(REQUEST_TIMEOUT),
        Some(asked) => Ok(asked.min(REQUEST_TIMEOUT)),
        None => Err(Status::bad_request(format!(
            "invalid timeout specified in the request URL - time: invalid duration {text:?}"
        ))),
    }
}

async fn answer(
    server: &ApiServer,
    info: RequestInfo,
    mut parts: Parts,
    mut body: Body,
    begun: Begun<'_>,
) -> Response<Body> {
    let pretty = negotiation::wants_pretty(None, &parts.headers);
    let error_media = negotiation::of_failure(&parts.headers, pretty);
    if let Some(open) = server.open_path(&info.path) {
        let answered = open_paths::answer(&**open, parts, body).await;
        return answered.unwrap_or_else(|status| response::status(&status, error_media));
    }
    let peer = parts.extensions.get::<PeerCertificates>().cloned().unwrap_or_default();
    let user = match server.authentication().identify(&parts, &info, &peer.0).await {
        Ok(user) => user,
        Err(status) => {
            begun.tell_of(server, &UserInfo::default(), &info, &parts);
            return response::status(&status, error_media);
        }
    };
    let annotations = begun.tell_of(server, &user, &info, &parts);
    let record = begun.record.get();
    if let Some(record) = record
        && let Err(status) = record.received().await
    {
        return response::status(&status, error_media);
    }
    let (author, user) = match server.authentication().impersonate(&parts, &info, &user).await {
        Ok(None) => (Author::new(&user.name, None), user),
        Ok(Some(other)) => {
            if let Some(record) = record {
                record.impersonates(&other);
            }
            (Author::new(&other.user.name, Some(&user.name)), other.user)
        }
        Err(status) => return response::status(&status, error_media),
    };
    if let Some(status) = &begun.refused {
        return response::status(status, error_media);
    }
    let (uids, permit) = match queue(server, &user, &info, &parts, begun.timeout).await {
        Some(Outcome { uids, permit: Ok(permit) }) => (uids, Some(permit)),
        Some(Outcome { uids, permit: Err(seconds) }) => return with_uids(too_many_requests(seconds), uids),
        None => (None, None),
    };
    let open = OPEN_PATHS.contains(&info.path.as_str());
    if !open && let Err(status) = server.authorize(&user, &info, &annotations).await {
        return with_uids(response::status(&status, error_media), uids);
    }
    if let Some(record) = record {
        if record.wants_response() {
            // What is compressed could not be told.
            parts.headers.remove(header::ACCEPT_ENCODING);
        }
        if record.wants_request() && !info.is_read_only() && !info.is_long_running() {
            body = match super::body::read(body).await {
                Ok(bytes) => {
                    if let Some(object) = super::body::told(&parts.headers, &bytes) {
                        record.request_object(object);
                    }
                    crate::body::full(bytes)
                }
                Err(status) => return with_uids(response::status(&status, error_media), uids),
            };
        }
    }
    let context = Context {
        query: Query::parse(parts.uri.query()),
        headers: std::mem::take(&mut parts.headers),
        warnings: Warnings::default(),
        annotations,
        now: jiff::Timestamp::now(),
        info,
        user,
    };
    let result = author.acting(serve(server, &context, parts, body)).await;
    let mut response = result.unwrap_or_else(|status| response::status(&status, error_media));
    let warnings = context.warnings.take();
    if !warnings.is_empty() {
        response::add_warnings(&mut response, &warnings);
    }
    // A watch has begun by now; from here on it costs what its client reads.
    drop(permit);
    with_uids(response, uids)
}

/// Hands a request to whoever serves what it asks for.
async fn serve(server: &ApiServer, context: &Context, parts: Parts, body: Body) -> Result<Response<Body>> {
    if let Some(service) = server.aggregator().remote(&context.info.path) {
        Ok(server.aggregator().pass_on(&service, context, parts, body).await)
    } else if context.info.is_resource_request {
        resource(server, context, parts, body).await
    } else if let Some(extension) = server.extension(&context.info.path) {
        extension::answer(&**extension, context, parts, body).await
    } else {
        path(server, context, &parts.method).await
    }
}

/// Waits until there is room for a request. `None` for those that are not limited: they last long.
async fn queue(
    server: &ApiServer,
    user: &UserInfo,
    info: &RequestInfo,
    parts: &Parts,
    timeout: Duration,
) -> Option<Outcome> {
    if info.is_long_running() && info.verb != "watch" {
        return None;
    }
    let resources = server.resources();
    let served = resources.get(&info.api_group, &info.api_version, &info.resource);
    let query = parts.uri.query().unwrap_or("");
    let seats = flowcontrol::seats(&**server.registry().storage(), served.map(|s| &**s), info, query).await;
    let control = server.flow_control();
    let wakes = control.watchers().woken_by(info, flowcontrol::WATCHERS_PER_SEAT);
    Some(control.enter(user, info, flowcontrol::Work { seats, wakes }, timeout).await)
}

/// Names schema and level by their uids; their names are nobody's business.
fn with_uids(mut response: Response<Body>, uids: Option<(HeaderValue, HeaderValue)>) -> Response<Body> {
    if let Some((schema, level)) = uids {
        response.headers_mut().insert(FLOW_SCHEMA_UID, schema);
        response.headers_mut().insert(PRIORITY_LEVEL_UID, level);
    }
    response
}

fn too_many_requests(retry_after_seconds: u64) -> Response<Body> {
    let mut response = response::text(429, "Too many requests, please try again later.\n");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds));
    response
}

async fn resource(
    server: &ApiServer,
    context: &Context,
    mut parts: Parts,
    body: Body,
) -> Result<Response<Body>> {
    let info = &context.info;
    let mut resources = server.resources();
    if resources.get(&info.api_group, &info.api_version, &info.resource).is_none()
        && server.custom_resources().settle().await
    {
        resources = server.resources();
    }
    let Some(served) = resources.get(&info.api_group, &info.api_version, &info.resource) else {
        return Err(Status::no_such_path());
    };
    if let Some(version) = served.as_custom() {
        version.deprecation().into_iter().for_each(|text| context.warnings.add(text));
        version.check_verb(&info.verb)?;
    }
    // A namespace in the path of something that has none, or the other way round.
    if !served.namespaced && !info.namespace.is_empty() && info.resource != "namespaces" {
        return Err(Status::no_such_path());
    }
    let named = !info.name.is_empty() && matches!(info.verb.as_str(), "get" | "update" | "patch" | "delete");
    if named && served.namespaced && info.namespace.is_empty() {
        return Err(Status::no_such_path());
    }
    if !info.subresource.is_empty() {
        return subresource(server, context, served, parts, body).await;
    }
    if !info.rest.is_empty() {
        return Err(Status::no_such_path());
    }
    let verb = info.verb.as_str();
    if !served.verbs.contains(&verb) && served.as_custom().is_none() {
        return Err(Status::method_not_allowed_path());
    }
    if reviews::is_review(served) {
        return reviews::create(server, context, served, body).await;
    }
    if component_status::is_one(served) {
        return component_status::answer(server, context, served).await;
    }
    match verb {
        "get" => get::get(server, context, served).await,
        "list" if context.query.flag(authors::PARAMETER) => authors::list(server, context, served).await,
        "list" => list::list(server, context, served).await,
        "watch" => {
            let socket = WatchSocket::asked(&context.headers, parts.extensions.remove::<OnUpgrade>())?;
            let response = watch::watch(server, context, served).await?;
            Ok(match socket {
                Some(socket) => socket.carry(response),
                None => response,
            })
        }
        "create" if binding::is_one(served) => binding::bind(server, context, served, body).await,
        "create" if info.name.is_empty() => create::create(server, context, served, body).await,
        "update" if !info.name.is_empty() => update::update(server, context, served, body).await,
        "patch" if !info.name.is_empty() => patch::patch(server, context, served, body).await,
        "delete" => delete::delete(server, context, served, body).await,
        "deletecollection" => delete::delete_collection(server, context, served, body).await,
        _ => Err(Status::method_not_allowed_path()),
    }
}

async fn subresource(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    parts: Parts,
    body: Body,
) -> Result<Response<Body>> {
    let info = &context.info;
    let Some(description) = served.subresource(&info.subresource) else {
        return Err(Status::no_such_path());
    };
    let verb = info.verb.as_str();
    let connects = matches!(info.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy");
    if !connects && !description.verbs.contains(&verb) {
        return Err(Status::method_not_allowed_path());
    }
    match info.subresource.as_str() {
        "log" | "exec" | "attach" | "portforward" | "proxy" => {
            connect::connect(server, context, served, parts, body).await
        }
        "scale" => scale::scale(server, context, served, body).await,
        "binding" => binding::bind(server, context, served, body).await,
        "eviction" => eviction::evict(server, context, served, body).await,
        "finalize" => namespace::finalize(server, context, served, body).await,
        "token" => service_account::token(server, context, served, body).await,
        _ => match verb {
            "get" => get::get(server, context, served).await,
            "update" => update::update(server, context, served, body).await,
            "patch" => patch::patch(server, context, served, body).await,
            _ => Err(Status::method_not_allowed_path()),
        },
    }
}

/// Requests for paths that are no resources.
async fn path(server: &ApiServer, context: &Context, method: &Method) -> Result<Response<Body>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Status::method_not_allowed_path());
    }
    let trimmed = context.info.path.trim_matches('/');
    let mut segments = trimmed.splitn(2, '/');
    let (first, rest) = (segments.next().unwrap_or(""), segments.next().unwrap_or(""));
    match (first, rest) {
        ("healthz" | "livez" | "readyz", check) => {
            let patience = Duration::from_secs(2);
            let (storage, kms) = tokio::join!(
                tokio::time::timeout(patience, server.storage_answers()),
                tokio::time::timeout(patience, server.kms_answers())
            );
            let kms = kms.unwrap_or(Some(false));
            let findings = server.health().findings(first, storage.unwrap_or(false), kms);
            Ok(health::answer(first, check, &context.query, &findings))
        }
        ("debug", dump) if dump.starts_with("api_priority_and_fairness/") => {
            let dump = dump.trim_start_matches("api_priority_and_fairness/");
            let details = !context.query.text("includeRequestDetails").is_empty();
            let text = server.flow_control().dump(dump, details).ok_or_else(Status::no_such_path)?;
            Ok(response::text(200, text))
        }
        ("metrics", "") => {
            let text = metrics::render(server).await;
            Ok(response::bytes(200, "text/plain; version=0.0.4; charset=utf-8", text))
        }
        (".well-known", "openid-configuration") => {
            Ok(response::bytes(200, "application/json", server.oidc().configuration.clone()))
        }
        ("openid", "v1/jwks") => {
            let kind = crate::authentication::OidcDocuments::KEYS_TYPE;
            Ok(response::bytes(200, kind, server.oidc().keys.clone()))
        }
        ("openapi", rest) => {
            let elsewhere = || server.aggregator().openapi();
            let rest = rest.trim_end_matches('/');
            server.openapi().answer(&server.resources(), elsewhere, context, rest).await
        }
        _ => {
            let answer = server.discovery().answer(context, trimmed)?;
            Ok(if compression::accepts_gzip(&context.headers) {
                compression::compress(answer)
            } else {
                answer
            })
        }
    }
}
