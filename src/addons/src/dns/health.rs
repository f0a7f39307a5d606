//! `/health`, `/ready` and `/metrics` (names as CoreDNS' where it has them).

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::net::TcpListener;

/// What is counted and told.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    requests: AtomicU64,
    failures: AtomicU64,
    cache_hits: AtomicU64,
    forwarded: AtomicU64,
}

impl Health {
    /// Everything of the cluster has been seen.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// A question came.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A question could not be answered.
    pub fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// An answer came from the cache.
    pub fn count_cache_hit(&self) {
        self.cache_hits.fetch_add(1, Ordering::Relaxed);
    }

    /// An upstream server was asked.
    pub fn count_forwarded(&self) {
        self.forwarded.fetch_add(1, Ordering::Relaxed);
    }

    fn metrics(&self) -> String {
        [
            ("coredns_dns_requests_total", &self.requests, "Questions that came."),
            ("coredns_dns_failures_total", &self.failures, "Questions that could not be answered."),
            ("coredns_cache_hits_total", &self.cache_hits, "Answers out of the cache."),
            ("coredns_forward_requests_total", &self.forwarded, "Questions to upstream servers."),
        ]
        .iter()
        .map(|(name, value, help)| {
            format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {}\n", value.load(Ordering::Relaxed))
        })
        .collect()
    }

    fn answer(&self, path: &str) -> (StatusCode, String) {
        match path {
            "/health" => (StatusCode::OK, "OK".to_owned()),
            "/ready" if self.ready.load(Ordering::Acquire) => (StatusCode::OK, "OK".to_owned()),
            "/ready" => (StatusCode::SERVICE_UNAVAILABLE, "the cluster has not been seen yet".to_owned()),
            "/metrics" => (StatusCode::OK, self.metrics()),
            _ => (StatusCode::NOT_FOUND, "not found".to_owned()),
        }
    }
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, health: Arc<Health>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: a moment later there may be one.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let health = health.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let (status, text) = health.answer(request.uri().path());
                let mut response = Response::new(Full::new(Bytes::from(text)));
                *response.status_mut() = status;
                async move { Ok::<_, Infallible>(response) }
            });
            // A broken connection is the client's affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
