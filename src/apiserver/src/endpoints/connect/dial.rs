//! Connections to the other end.

use super::target::{Scheme, Target};
use crate::ApiServer;
use crate::body::Body;
use apimachinery::status::{Result, Status};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Upstream's dial timeout for proxied connections.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens a connection and speaks HTTP/1.1 on it (upgrades need it).
///
/// # Errors
/// 503 when the other end cannot be reached, or is not who it should be.
pub(crate) async fn dial(server: &ApiServer, target: Target) -> Result<SendRequest<Body>> {
    match tokio::time::timeout(DIAL_TIMEOUT, connect(server, target)).await {
        Ok(result) => result,
        Err(_) => Err(unreachable(target, "i/o timeout")),
    }
}

async fn connect(server: &ApiServer, target: Target) -> Result<SendRequest<Body>> {
    let stream = TcpStream::connect(target.address).await.map_err(|e| unreachable(target, e))?;
    stream.set_nodelay(true).map_err(|e| unreachable(target, e))?;
    let config = match target.scheme {
        Scheme::Http => return handshake(stream, target).await,
        Scheme::Https => crate::outbound::unchecked().map_err(Status::internal)?,
        Scheme::Kubelet => server.kubelet_client().cloned().ok_or_else(|| {
            Status::service_unavailable("this server has no client certificate for kubelets")
        })?,
    };
    let name = ServerName::IpAddress(target.address.ip().into());
    let stream =
        TlsConnector::from(config).connect(name, stream).await.map_err(|e| unreachable(target, e))?;
    handshake(stream, target).await
}

async fn handshake<S>(stream: S, target: Target) -> Result<SendRequest<Body>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| unreachable(target, e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    Ok(sender)
}

fn unreachable(target: Target, why: impl std::fmt::Display) -> Status {
    Status::service_unavailable(format!(
        "error trying to reach service: dial tcp {}: connect: {why}",
        target.address
    ))
}
