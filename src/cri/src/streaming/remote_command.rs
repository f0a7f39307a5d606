//! Client of a runtime's exec and attach URLs.

use super::connection::Connection;
use super::error::StreamingError;
use super::stream::{StreamReader, StreamWriter};
use super::upgrade;
use super::{REMOTE_COMMAND_V4, STREAM_TYPE};

/// Which streams an exec or attach has; must be what the CRI request asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Send standard input.
    pub stdin: bool,
    /// Receive standard output.
    pub stdout: bool,
    /// Receive standard error; must be false with a terminal.
    pub stderr: bool,
    /// The process has a terminal: sizes can be sent.
    pub tty: bool,
}

/// A running exec or attach.
pub struct RemoteCommand {
    /// Keeps the connection; dropping it ends everything.
    pub connection: Connection,
    /// Standard input; finish it for end of file.
    pub stdin: Option<StreamWriter>,
    /// Standard output.
    pub stdout: Option<StreamReader>,
    /// Standard error.
    pub stderr: Option<StreamReader>,
    /// Ends with one JSON `Status` when the process is done (remote command protocol v4).
    pub error: StreamReader,
    /// Takes `{"Width":80,"Height":25}` objects.
    pub resize: Option<StreamWriter>,
}

/// Connects to an exec or attach URL and opens its streams.
pub async fn connect(url: &str, options: StreamOptions) -> Result<RemoteCommand, StreamingError> {
    let (connection, chosen) = upgrade::connect(url, &[REMOTE_COMMAND_V4]).await?;
    if chosen.as_deref() != Some(REMOTE_COMMAND_V4) {
        return Err(StreamingError::Protocol("the runtime does not speak v4.channel.k8s.io"));
    }
    let open = async |kind: &str| connection.open(upgrade::stream_headers([(STREAM_TYPE, kind)])).await;
    let error = open("error").await?;
    error.writer.finish().await?;
    let stdin = if options.stdin { Some(open("stdin").await?.writer) } else { None };
    let stdout = if options.stdout { Some(open("stdout").await?.reader) } else { None };
    let stderr = if options.stderr && !options.tty { Some(open("stderr").await?.reader) } else { None };
    let resize = if options.tty { Some(open("resize").await?.writer) } else { None };
    Ok(RemoteCommand { error: error.reader, stdin, stdout, stderr, resize, connection })
}
