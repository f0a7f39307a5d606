//! TCP probes: a port that accepts is alive.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// Connects and closes.
///
/// # Errors
/// What to tell in the event, when nobody accepts within `timeout`.
pub async fn tcp_connect(address: SocketAddr, timeout: Duration) -> Result<(), String> {
    match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("dial tcp {address}: connect: {}", lower(&error))),
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
    }
}

/// An I/O error as Unix words it: `connection refused`, without the number.
pub fn lower(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
