//! Paths to handlers.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use super::pod_source::PodSource;
use super::respond::{self, Body};
use super::serve::State;
use super::stats::{cadvisor, resource_metrics, summary};
use super::{image_archives, logs, remote};

/// Answers a request.
pub(super) async fn handle(
    state: &Arc<State>,
    certificates: &[CertificateDer<'static>],
    request: Request<Incoming>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if let Err(refusal) = state.auth.check(&parts, certificates).await {
        return refusal;
    }
    let request = Request::from_parts(parts, body);
    let path = request.uri().path().to_owned();
    let segments: Option<Vec<String>> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8().ok().map(|text| text.into_owned()))
        .collect();
    let Some(segments) = segments else {
        return respond::error(StatusCode::BAD_REQUEST, "the path is not UTF-8");
    };
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    dispatch(state, request, &words).await
}

async fn dispatch(state: &Arc<State>, request: Request<Incoming>, words: &[&str]) -> Response<Body> {
    let streaming = matches!(words.first(), Some(&("exec" | "attach" | "portForward" | "run")));
    let images = words == ["knarr", "images"];
    let allowed = match *request.method() {
        // WebSockets begin with a GET.
        Method::GET => words.first() != Some(&"run") && !images,
        Method::POST => streaming || images,
        _ => false,
    };
    if !allowed {
        return respond::error(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    }
    match words {
        ["healthz" | "healthz/", ..] => health(state.source.as_ref()),
        ["pods"] => pods(state),
        ["runningpods"] => running_pods(state).await,
        ["configz"] => respond::json(&json!({"kubeletconfig": state.source.configuration()})),
        ["stats", "summary"] => {
            let query = Query::of(&request);
            let only = query.flag("only_cpu_and_memory");
            respond::json(&summary::summary(&state.source.statistics().await, only))
        }
        ["metrics"] => respond::metrics(state.source.metrics()),
        ["metrics", "probes"] => respond::metrics(state.source.probe_metrics()),
        ["metrics", "resource"] => {
            respond::metrics(resource_metrics::render(&state.source.statistics().await))
        }
        ["metrics", "cadvisor"] => {
            let (source, statistics) = (&state.source, state.source.statistics().await);
            respond::metrics(cadvisor::render(&statistics, &source.pods(), |pod| source.cgroup(pod)))
        }
        ["containerLogs", namespace, pod, container] => {
            logs::serve(state, namespace, pod, container, &Query::of(&request)).await
        }
        ["exec", namespace, pod, container] => {
            remote::exec(state, request, Target { namespace, pod, uid: None, container }).await
        }
        ["exec", namespace, pod, uid, container] => {
            remote::exec(state, request, Target { namespace, pod, uid: Some(uid), container }).await
        }
        ["attach", namespace, pod, container] => {
            remote::attach(state, request, Target { namespace, pod, uid: None, container }).await
        }
        ["attach", namespace, pod, uid, container] => {
            remote::attach(state, request, Target { namespace, pod, uid: Some(uid), container }).await
        }
        ["portForward", namespace, pod] => remote::port_forward(state, request, namespace, pod, None).await,
        ["portForward", namespace, pod, uid] => {
            remote::port_forward(state, request, namespace, pod, Some(uid)).await
        }
        ["run", namespace, pod, container] => {
            remote::run(state, request, Target { namespace, pod, uid: None, container }).await
        }
        ["run", namespace, pod, uid, container] => {
            remote::run(state, request, Target { namespace, pod, uid: Some(uid), container }).await
        }
        ["knarr", "images"] => image_archives::import(state, request).await,
        _ => respond::error(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

/// A container, as paths name it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub uid: Option<&'a str>,
    pub container: &'a str,
}

/// Whether the kubelet is well.
pub(super) fn health(source: &dyn PodSource) -> Response<Body> {
    match source.healthy() {
        Ok(()) => respond::text(StatusCode::OK, "ok"),
        Err(reason) => {
            respond::error(StatusCode::INTERNAL_SERVER_ERROR, format!("healthz check failed: {reason}"))
        }
    }
}

fn pods(state: &State) -> Response<Body> {
    let items: Vec<Value> =
        state.source.pods().iter().filter_map(|pod| serde_json::to_value(pod.as_ref()).ok()).collect();
    respond::json(&pod_list(items))
}

async fn running_pods(state: &State) -> Response<Body> {
    let pods = state.source.running_pods().await;
    respond::json(&pod_list(pods.iter().filter_map(|pod| serde_json::to_value(pod).ok()).collect()))
}

/// Items of a list carry no type of their own.
fn pod_list(mut items: Vec<Value>) -> Value {
    for item in &mut items {
        if let Some(fields) = item.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
    }
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
}

/// A query string.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self::parse(request.uri().query().unwrap_or_default())
    }

    /// Decodes `application/x-www-form-urlencoded`; what is not UTF-8 is replaced.
    pub(super) fn parse(query: &str) -> Self {
        let decode =
            |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            })
            .collect();
        Self(pairs)
    }

    /// The first value of a name, if it is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a flag is set (`1` as the kubelet writes it, `true` as the API does).
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "true" | "t" | "T" | "True" | "TRUE"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_with_repetitions_and_flags() {
        let query = Query::parse("command=sh&command=-c&command=echo+a%26b&input=1&tty=false&x");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c", "echo a&b"]);
        assert!(query.flag("input") && !query.flag("tty") && !query.flag("x") && !query.flag("y"));
        assert_eq!(query.get("x"), None);
    }

    #[test]
    fn items_of_lists_lose_their_type() {
        let list = pod_list(vec![json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}})]);
        assert_eq!(list["items"][0], json!({"metadata": {"name": "a"}}));
    }
}
