//! An API server that keeps objects as they come: no defaults, no validation, but real patches and watches.

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Clone)]
pub struct FakeApi {
    state: Arc<State>,
}

/// Plural, namespace and name.
type Key = (String, String, String);

/// One lock for both, and for telling watches: a list has what its revision says, and a watch from there all that follows.
struct Contents {
    objects: BTreeMap<Key, Value>,
    revision: u64,
}

struct State {
    contents: Mutex<Contents>,
    events: broadcast::Sender<(&'static str, String, Value)>,
    changed: watch::Sender<u64>,
    /// Plurals whose lists and watches are not answered.
    mute: Mutex<BTreeSet<String>>,
}

#[derive(Default, Debug)]
struct Target {
    group: String,
    version: String,
    namespace: String,
    plural: String,
    name: String,
    subresource: String,
    query: BTreeMap<String, String>,
}

impl FakeApi {
    pub fn new() -> Self {
        let (events, _) = broadcast::channel(1024);
        let (changed, _) = watch::channel(0);
        let state = State {
            contents: Mutex::new(Contents { objects: BTreeMap::new(), revision: 1 }),
            events,
            changed,
            mute: Mutex::default(),
        };
        Self { state: Arc::new(state) }
    }

    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<client::connect::RequestBody>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        client::in_process(service, "test")
    }

    /// Creates or replaces an object as somebody else would.
    pub fn put(&self, plural: &str, mut object: Value) {
        let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or("").to_owned();
        if text(&object, "uid").is_empty() {
            object["metadata"]["uid"] = json!(format!("uid-{}", text(&object, "name")));
        }
        let key = (plural.to_owned(), text(&object, "namespace"), text(&object, "name"));
        self.store(&mut self.state.contents.lock(), &key, object);
    }

    /// Answers no lists and watches of a kind from now on.
    #[allow(dead_code)]
    pub fn mute(&self, plural: &str) {
        self.state.mute.lock().insert(plural.to_owned());
    }

    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.state.contents.lock().objects.get(&key).cloned()
    }

    pub fn list(&self, plural: &str) -> Vec<Value> {
        self.state.contents.lock().list(plural)
    }

    /// Changes an object as somebody else would.
    pub fn edit(&self, plural: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        let mut contents = self.state.contents.lock();
        let mut object = contents.objects.get(&key).cloned().unwrap();
        edit(&mut object);
        self.store(&mut contents, &key, object);
    }

    #[allow(dead_code)]
    pub fn remove(&self, plural: &str, namespace: &str, name: &str) {
        let key = (plural.to_owned(), namespace.to_owned(), name.to_owned());
        self.delete(&mut self.state.contents.lock(), &key);
    }

    /// Waits until `condition` holds for the stored objects.
    pub async fn wait<T>(&self, what: &str, mut condition: impl FnMut(&Self) -> Option<T>) -> T {
        let mut changed = self.state.changed.subscribe();
        let waiting = async {
            loop {
                if let Some(found) = condition(self) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await {
            Ok(found) => found,
            Err(_) => {
                let contents = self.state.contents.lock();
                let all: Vec<String> =
                    contents.objects.values().map(|object| format!("{object:#}")).collect();
                panic!("waited in vain for {what}; the API server has\n{}", all.join("\n"));
            }
        }
    }

    fn store(&self, contents: &mut Contents, key: &Key, mut object: Value) -> Value {
        contents.revise(&mut object);
        let old = contents.objects.insert(key.clone(), object.clone());
        self.tell(if old.is_some() { "MODIFIED" } else { "ADDED" }, key, &object, contents.revision);
        object
    }

    fn delete(&self, contents: &mut Contents, key: &Key) -> Option<Value> {
        let mut object = contents.objects.remove(key)?;
        contents.revise(&mut object);
        self.tell("DELETED", key, &object, contents.revision);
        Some(object)
    }

    fn tell(&self, kind: &'static str, key: &Key, object: &Value, revision: u64) {
        let _ = self.state.events.send((kind, key.0.clone(), object.clone()));
        self.state.changed.send_replace(revision);
    }

    async fn answer(&self, request: Request<client::connect::RequestBody>) -> Response<Body> {
        let target = Target::parse(request.uri());
        let method = request.method().clone();
        let content_type =
            request.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
        let bytes = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let key = (target.plural.clone(), target.namespace.clone(), target.name.clone());
        if method == Method::GET && self.state.mute.lock().contains(&target.plural) {
            return failure(503, "ServiceUnavailable", &target);
        }
        match method {
            Method::GET if target.query.contains_key("watch") => self.watch(target),
            Method::GET if target.name.is_empty() => {
                let contents = self.state.contents.lock();
                let revision = contents.revision.to_string();
                let items = contents.list(&target.plural);
                let items: Vec<Value> = items.into_iter().filter(|object| target.selects(object)).collect();
                respond(
                    200,
                    &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": revision}, "items": items}),
                )
            }
            Method::GET => match self.get(&key.0, &key.1, &key.2) {
                Some(object) => respond(200, &object),
                None => failure(404, "NotFound", &target),
            },
            Method::POST if target.subresource == "token" => {
                let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3600);
                let token =
                    format!("token-for-{}", body["spec"]["boundObjectRef"]["name"].as_str().unwrap_or(""));
                respond(
                    201,
                    &json!({"spec": body["spec"], "status": {"token": token, "expirationTimestamp": expires.to_string()}}),
                )
            }
            Method::POST => {
                let mut object = body;
                let name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
                let key = (key.0, key.1, name);
                let mut contents = self.state.contents.lock();
                if contents.objects.contains_key(&key) {
                    return failure(409, "AlreadyExists", &target);
                }
                if object["metadata"]["uid"].is_null() {
                    object["metadata"]["uid"] = json!(format!("uid-{}", key.2));
                }
                respond(201, &self.store(&mut contents, &key, object))
            }
            Method::PATCH => {
                let mut contents = self.state.contents.lock();
                let Some(mut object) = contents.objects.get(&key).cloned() else {
                    return failure(404, "NotFound", &target);
                };
                let wanted = body["metadata"]["uid"].as_str();
                if wanted.is_some_and(|uid| object["metadata"]["uid"] != uid) {
                    return failure(409, "Conflict", &target);
                }
                if content_type.contains("strategic") {
                    let gvr = apimachinery::gvk::Gvr::new(&target.group, &target.version, &target.plural);
                    let schema = &api::registry().by_gvr(&gvr).unwrap().schema;
                    apimachinery::patch::strategic::apply(schema, &mut object, &body).unwrap();
                } else {
                    apimachinery::patch::merge::apply(&mut object, &body);
                }
                respond(200, &self.store(&mut contents, &key, object))
            }
            Method::DELETE => {
                let mut contents = self.state.contents.lock();
                let Some(object) = contents.objects.get(&key) else {
                    return failure(404, "NotFound", &target);
                };
                let wanted = body["preconditions"]["uid"].as_str();
                if wanted.is_some_and(|uid| object["metadata"]["uid"] != uid) {
                    return failure(409, "Conflict", &target);
                }
                respond(200, &self.delete(&mut contents, &key).unwrap_or(Value::Null))
            }
            _ => failure(405, "MethodNotAllowed", &target),
        }
    }

    fn watch(&self, target: Target) -> Response<Body> {
        let contents = self.state.contents.lock();
        let events = self.state.events.subscribe();
        let from: u64 = target.query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        let newer = |object: &Value| {
            object["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse().ok()).unwrap_or(0) > from
        };
        let backlog: Vec<(&'static str, Value)> = contents
            .list(&target.plural)
            .into_iter()
            .filter(|object| newer(object) && target.selects(object))
            .map(|object| ("MODIFIED", object))
            .collect();
        let live = futures::stream::unfold((events, target), |(mut events, target)| async move {
            loop {
                let (kind, plural, object) = events.recv().await.ok()?;
                if plural == target.plural && target.selects(&object) {
                    return Some(((kind, object), (events, target)));
                }
            }
        });
        let frames = futures::stream::iter(backlog).chain(live).map(|(kind, object)| {
            let line = format!("{}\n", json!({"type": kind, "object": object}));
            Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(line)))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

impl Contents {
    fn list(&self, plural: &str) -> Vec<Value> {
        let all = self.objects.iter().filter(|(key, _)| key.0 == plural);
        all.map(|(_, object)| object.clone()).collect()
    }

    fn revise(&mut self, object: &mut Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
    }
}

impl Target {
    fn parse(uri: &http::Uri) -> Self {
        let mut parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let mut target = Self::default();
        let grouped = parts.remove(0) == "apis";
        if grouped {
            target.group = parts.remove(0).to_owned();
        }
        target.version = parts.remove(0).to_owned();
        if parts.first() == Some(&"namespaces") && parts.len() > 2 {
            target.namespace = parts[1].to_owned();
            parts.drain(..2);
        }
        let mut parts = parts.into_iter().map(str::to_owned);
        target.plural = parts.next().unwrap_or_default();
        target.name = parts.next().unwrap_or_default();
        target.subresource = parts.next().unwrap_or_default();
        for pair in uri.query().unwrap_or("").split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
            target.query.insert(key.to_owned(), value);
        }
        target
    }

    fn selects(&self, object: &Value) -> bool {
        let in_namespace =
            self.namespace.is_empty() || object["metadata"]["namespace"] == self.namespace.as_str();
        let selector = self.query.get("fieldSelector").map(String::as_str).unwrap_or("");
        let fields = selector.split(',').filter(|part| !part.is_empty()).all(|part| {
            let (path, value) = part.split_once('=').unwrap_or((part, ""));
            let found = path.split('.').fold(object, |value, field| &value[field]);
            found.as_str().unwrap_or("") == value.trim_start_matches('=')
        });
        in_namespace && fields
    }
}

fn respond(code: u16, object: &Value) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from(object.to_string())).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn failure(code: u16, reason: &str, target: &Target) -> Response<Body> {
    let message = format!("{} {:?}: {reason}", target.plural, target.name);
    respond(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}
