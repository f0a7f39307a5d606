//! Client of a runtime's port-forward URL.

use std::sync::atomic::{AtomicU64, Ordering};

use super::connection::Connection;
use super::error::StreamingError;
use super::stream::{Stream, StreamReader};
use super::upgrade;
use super::{PORT, PORT_FORWARD_V1, REQUEST_ID, STREAM_TYPE};

/// A connection to a sandbox's network, over which any number of ports can be dialled.
pub struct PortForward {
    connection: Connection,
    next_request: AtomicU64,
}

/// One forwarded TCP connection.
pub struct Forwarded {
    /// The bytes, both ways.
    pub data: Stream,
    /// Carries text if the runtime could not connect, and ends when it is done.
    pub error: StreamReader,
}

/// Connects to a port-forward URL.
pub async fn connect(url: &str) -> Result<PortForward, StreamingError> {
    let (connection, _) = upgrade::connect(url, &[PORT_FORWARD_V1]).await?;
    Ok(PortForward { connection, next_request: AtomicU64::new(0) })
}

impl PortForward {
    /// Dials a port inside the sandbox.
    pub async fn open(&self, port: u16) -> Result<Forwarded, StreamingError> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed).to_string();
        let port = port.to_string();
        let headers =
            |kind| upgrade::stream_headers([(STREAM_TYPE, kind), (PORT, &port), (REQUEST_ID, &request)]);
        // The runtime pairs the two by request id and begins when it has both.
        let error = self.connection.open(headers("error")).await?;
        error.writer.finish().await?;
        let data = self.connection.open(headers("data")).await?;
        Ok(Forwarded { data, error: error.reader })
    }

    /// Resolves when the runtime has ended the connection.
    pub async fn closed(&self) {
        self.connection.closed().await;
    }
}
