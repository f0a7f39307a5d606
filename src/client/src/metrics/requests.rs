//! `rest_client_*`, and the service that counts.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use apimachinery::metrics::{Histogram, head};
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body;
use parking_lot::Mutex;
use tokio::time::Instant;
use tower::Service;

/// Upstream's bounds.
const SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// Upstream's bounds.
const BYTES: &[f64] = &[
    64.0,
    256.0,
    512.0,
    1024.0,
    4096.0,
    16384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];
/// The host of requests that go over no network.
const IN_PROCESS: &str = "in-process";

/// The requests of this process.
pub(crate) static PROCESS: Requests = Requests::new();

/// A histogram: its name, what it is, and where its values are.
type Counts = (&'static str, &'static str, fn(&Counted) -> &Histogram);

/// Requests by host and method.
pub(crate) struct Requests {
    all: Mutex<BTreeMap<String, BTreeMap<String, Arc<Counted>>>>,
}

/// What is counted of requests to one host with one method.
struct Counted {
    /// By status; none where nobody answered.
    codes: Mutex<BTreeMap<Option<StatusCode>, u64>>,
    seconds: Histogram,
    sent: Histogram,
    received: Histogram,
}

impl Counted {
    fn new() -> Self {
        let bytes = || Histogram::new(BYTES);
        Self { codes: Mutex::default(), seconds: Histogram::new(SECONDS), sent: bytes(), received: bytes() }
    }
}

impl Requests {
    const fn new() -> Self {
        Self { all: Mutex::new(BTreeMap::new()) }
    }

    fn of(&self, host: &str, method: &Method) -> Arc<Counted> {
        let mut all = self.all.lock();
        if let Some(known) = all.get(host).and_then(|methods| methods.get(method.as_str())) {
            return Arc::clone(known);
        }
        let methods = all.entry(host.to_owned()).or_default();
        Arc::clone(methods.entry(method.as_str().to_owned()).or_insert_with(|| Arc::new(Counted::new())))
    }

    /// Writes the metrics of all requests.
    pub(crate) fn write(&self, out: &mut String) -> fmt::Result {
        let mut all = Vec::new();
        for (host, methods) in &*self.all.lock() {
            all.extend(methods.iter().map(|(method, counted)| {
                (
                    format!("host=\"{host}\",method=\"{method}\""),
                    format!("host=\"{host}\",verb=\"{method}\""),
                    Arc::clone(counted),
                )
            }));
        }
        let histograms: [Counts; 3] = [
            ("rest_client_request_duration_seconds", "How long requests take, watches apart.", |one| {
                &one.seconds
            }),
            ("rest_client_request_size_bytes", "How large requests are.", |one| &one.sent),
            ("rest_client_response_size_bytes", "How large answers are, where it is known at once.", |one| {
                &one.received
            }),
        ];
        for (name, help, of) in histograms {
            head(out, name, "histogram", help)?;
            for (_, labels, counted) in &all {
                of(counted).write(out, name, labels)?;
            }
        }
        let total = "rest_client_requests_total";
        head(out, total, "counter", "Requests by how they ended.")?;
        for (labels, _, counted) in &all {
            for (code, count) in &*counted.codes.lock() {
                let code = code.as_ref().map_or("<error>", StatusCode::as_str);
                writeln!(out, "{total}{{code=\"{code}\",{labels}}} {count}")?;
            }
        }
        Ok(())
    }
}

/// A service whose requests are counted.
#[derive(Clone)]
pub(crate) struct Measured<S>(pub(crate) S);

impl<S, B, C> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
    B: Body,
    C: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let host = request.uri().authority().map_or(IN_PROCESS, |authority| authority.as_str());
        let counted = PROCESS.of(host, request.method());
        if let Some(bytes) = request.body().size_hint().exact() {
            counted.sent.observe(bytes as f64);
        }
        let streams = streams(&request);
        let began = Instant::now();
        let answer = self.0.call(request);
        Box::pin(async move {
            let result = answer.await;
            let code = result.as_ref().ok().map(Response::status);
            *counted.codes.lock().entry(code).or_insert(0) += 1;
            if !streams {
                counted.seconds.observe(began.elapsed().as_secs_f64());
                let known = result.as_ref().ok().and_then(|response| response.body().size_hint().exact());
                if let Some(bytes) = known {
                    counted.received.observe(bytes as f64);
                }
            }
            result
        })
    }
}

/// Whether the answer is not one document: a watch, a log that is followed, or an upgrade.
fn streams<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or("");
    let asked = query.split('&').any(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        matches!(name, "watch" | "follow") && !matches!(value, "false" | "0")
    });
    asked || request.headers().contains_key(header::UPGRADE)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_counted_by_host_method_and_code() {
        let service = tower::service_fn(|request: Request<Full<Bytes>>| async move {
            tokio::time::advance(std::time::Duration::from_secs(3)).await;
            if request.uri().path() == "/broken" {
                return Err("broken");
            }
            let mut response = Response::new(Full::new(Bytes::from_static(b"answer")));
            *response.status_mut() = StatusCode::CREATED;
            Ok::<_, &str>(response)
        });
        let ask = |method: &str, uri: &str| {
            let request = Request::builder().method(method).uri(uri);
            Measured(service).oneshot(request.body(Full::new(Bytes::from_static(b"ask"))).unwrap())
        };
        ask("POST", "https://test.invalid:6443/api").await.unwrap();
        ask("POST", "https://test.invalid:6443/api?watch=true").await.unwrap();
        ask("POST", "https://test.invalid:6443/broken").await.unwrap_err();
        ask("TRACE", "/api").await.unwrap();
        let mut out = String::new();
        PROCESS.write(&mut out).unwrap();
        for line in [
            "rest_client_requests_total{code=\"201\",host=\"test.invalid:6443\",method=\"POST\"} 2",
            "rest_client_requests_total{code=\"<error>\",host=\"test.invalid:6443\",method=\"POST\"} 1",
            "rest_client_requests_total{code=\"201\",host=\"in-process\",method=\"TRACE\"} 1",
            "rest_client_request_duration_seconds_bucket{host=\"test.invalid:6443\",verb=\"POST\",le=\"2\"} 0",
            "rest_client_request_duration_seconds_bucket{host=\"test.invalid:6443\",verb=\"POST\",le=\"4\"} 2",
            "rest_client_request_size_bytes_sum{host=\"test.invalid:6443\",verb=\"POST\"} 9",
            "rest_client_response_size_bytes_sum{host=\"test.invalid:6443\",verb=\"POST\"} 6",
        ] {
            assert!(out.lines().any(|told| told == line), "{line}\n{out}");
        }
    }

    #[test]
    fn what_streams_is_known_by_its_query_or_its_upgrade() {
        let streams = |uri: &str| streams(&Request::get(uri).body(()).unwrap());
        assert!(streams("/api/v1/pods?watch=true") && streams("/api/v1/pods?limit=1&watch=1"));
        assert!(!streams("/api/v1/pods") && !streams("/api/v1/pods?watch=false"));
    }
}
