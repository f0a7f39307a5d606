//! Connections of etcd's clients, and who may read.

use crate::grpc::{self, Body, Messages, Status};
use crate::maintenance::refused;
use crate::messages::{Empty, HeaderResponse, RangeRequest};
use crate::view::View;
use bytes::Bytes;
use http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The group whose members may do everything in Kubernetes, and may read here.
const READERS: &str = "system:masters";

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// After this time without a sign of life a client is asked for one.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Wait after a connection could not be taken: there are no more file descriptors, perhaps.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves clients until it is told to stop. The TLS configuration has to require certificates of clients, and to
/// offer `h2`.
pub async fn serve(view: View, listener: TcpListener, tls: Arc<ServerConfig>, stop: CancellationToken) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (view, acceptor, stop) = (view.clone(), acceptor.clone(), stop.clone());
        tokio::spawn(async move {
            let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return debug!(%peer, %error, "a client of etcd's API was not let in"),
                Err(_) => return,
            };
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let may = chain.first().is_some_and(|certificate| may_read(certificate));
            let service = service_fn(move |request| {
                let view = view.clone();
                async move { Ok::<_, Infallible>(answer(&view, may, request).await) }
            });
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                // How a client went away is of no interest.
                _ = connection => {}
            }
        });
    }
}

fn may_read(certificate: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    certificate.subject().iter_organization().any(|name| name.as_str().is_ok_and(|name| name == READERS))
}

/// Answers one call.
pub(crate) async fn answer<B>(view: &View, may: bool, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
{
    let path = request.uri().path().to_owned();
    let mut messages = Messages::new(request.into_body());
    if !may {
        let text = format!("etcdserver: permission denied: the certificate has to be of the group {READERS}");
        return grpc::unary::<Empty>(Err(Status::new(Status::PERMISSION_DENIED, text)));
    }
    let (service, method) =
        path.strip_prefix("/etcdserverpb.").and_then(|rest| rest.split_once('/')).unwrap_or_default();
    match (service, method) {
        ("KV", "Range") => match messages.only::<RangeRequest>().await {
            Ok(request) => grpc::unary(view.range(&request).await),
            Err(status) => grpc::unary::<Empty>(Err(status)),
        },
        ("Watch", "Watch") => grpc::streaming(view.watch(messages)),
        ("Cluster", "MemberList") => grpc::unary(Ok(view.members())),
        ("Lease", "LeaseLeases") => grpc::unary(Ok(HeaderResponse { header: view.header() })),
        ("Lease", "LeaseTimeToLive") => {
            grpc::unary(messages.only().await.map(|request| view.time_to_live(request)))
        }
        ("Maintenance", "Status") => grpc::unary(view.status().await),
        ("Maintenance", "Alarm") => {
            grpc::unary(messages.only().await.and_then(|request| view.alarm(request)))
        }
        ("Maintenance", "Hash") => grpc::unary(view.hash(&Default::default()).await),
        ("Maintenance", "HashKV") => match messages.only().await {
            Ok(request) => grpc::unary(view.hash(&request).await),
            Err(status) => grpc::unary::<Empty>(Err(status)),
        },
        ("Maintenance", "Snapshot") => match view.snapshot().await {
            Ok(pieces) => grpc::streaming(pieces),
            Err(status) => grpc::unary::<Empty>(Err(status)),
        },
        ("KV" | "Lease" | "Cluster" | "Maintenance" | "Auth", _) => grpc::unary::<Empty>(Err(refused())),
        _ => {
            let text = format!("unknown service or method {path}");
            grpc::unary::<Empty>(Err(Status::new(Status::UNIMPLEMENTED, text)))
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
