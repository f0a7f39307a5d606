//! Why a streaming connection failed.

/// Error of SPDY framing, multiplexing and of the client of a runtime's streaming server.
#[derive(Debug, thiserror::Error)]
pub enum StreamingError {
    /// Reading or writing the connection failed.
    #[error("streaming connection: {0}")]
    Io(#[from] std::io::Error),
    /// The peer violated SPDY/3.1.
    #[error("SPDY protocol error: {0}")]
    Protocol(&'static str),
    /// The peer reset the stream; the number is SPDY's status code (3.1 section 2.6.3).
    #[error("stream was reset by the peer (status {0})")]
    Reset(u32),
    /// The connection ended before the stream did.
    #[error("streaming connection is closed")]
    Closed,
    /// The runtime's streaming URL is not one we can dial.
    #[error("unusable streaming URL {url:?}: {reason}")]
    Url {
        /// As the runtime gave it.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The streaming server refused the upgrade.
    #[error("streaming server answered {status}: {body}")]
    Refused {
        /// HTTP status code.
        status: u16,
        /// Beginning of the body.
        body: String,
    },
    /// The server did not answer in time.
    #[error("streaming server did not answer within {0:?}")]
    TimedOut(std::time::Duration),
}
