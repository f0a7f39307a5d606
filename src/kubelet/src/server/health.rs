//! The port on which this machine asks whether the kubelet is well (`--healthz-port`): no TLS, no credentials, nothing
//! else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pod_source::PodSource;
use super::{respond, route};

/// How long a client may take for a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait after accept failed (too many open files): it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers `/healthz` until shutdown.
pub async fn serve(listener: TcpListener, source: Arc<dyn PodSource>, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (source, shutdown) = (Arc::clone(&source), shutdown.clone());
        tasks.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = match (request.method(), request.uri().path()) {
                    (&(Method::GET | Method::HEAD), "/healthz") => route::health(source.as_ref()),
                    _ => respond::error(StatusCode::NOT_FOUND, "404 page not found"),
                };
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            shutdown.run_until_cancelled(connection).await;
        });
    }
    tasks.close();
    tasks.wait().await;
}
