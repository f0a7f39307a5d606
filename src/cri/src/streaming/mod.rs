//! SPDY/3.1 as Kubernetes' streaming uses it, and the client of a runtime's streaming server.
//!
//! Exec, attach and port-forward run over SPDY/3.1 between kubelet and runtime (CRI's streaming URLs), and
//! between older clients and the kubelet. Nothing else on earth still speaks it, hence our own framing.
//!
//! | module | job |
//! |---|---|
//! | [`frame`] | frames to bytes and back |
//! | [`headers`] | name/value blocks and their zlib contexts |
//! | [`connection`] | multiplexing of streams over one byte stream, both roles |
//! | [`stream`] | one of these streams |
//! | `send`, `receive` | the two tasks that run a connection |
//! | [`remote_command`] | client of exec and attach URLs |
//! | [`port_forward`] | client of port-forward URLs |
//!
//! Flow control is left out on purpose: the Go implementation on the other side of every such connection
//! neither sends WINDOW_UPDATE nor heeds it, so back-pressure is TCP's.

pub mod connection;
mod dictionary;
pub mod error;
pub mod frame;
pub mod headers;
pub mod port_forward;
mod receive;
pub mod remote_command;
mod send;
pub mod stream;
mod upgrade;

pub use connection::{Connection, Role};
pub use error::StreamingError;
pub use headers::Headers;
pub use stream::{Stream, StreamReader, StreamWriter};

/// The header of a stream that says what it carries: `error`, `stdin`, `stdout`, `stderr`, `resize`, `data`.
pub const STREAM_TYPE: &str = "streamtype";
/// The header of a port-forward stream that says which port of the pod it is for.
pub const PORT: &str = "port";
/// The header that ties a port-forward's error stream to its data stream.
pub const REQUEST_ID: &str = "requestid";
/// Version 4 of the remote command protocol: the error stream ends with a JSON `Status`.
pub const REMOTE_COMMAND_V4: &str = "v4.channel.k8s.io";
/// The only version of the port-forward protocol.
pub const PORT_FORWARD_V1: &str = "portforward.k8s.io";
/// Request and response header that negotiates the protocol's version on an SPDY upgrade.
pub const PROTOCOL_VERSION_HEADER: &str = "x-stream-protocol-version";
