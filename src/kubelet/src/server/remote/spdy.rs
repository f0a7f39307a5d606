//! Streams of an SPDY connection, as older clients open them.

use std::sync::Arc;
use std::time::Duration;

use cri::streaming::remote_command::StreamOptions;
use cri::streaming::{Connection, Role, STREAM_TYPE, Stream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::streams::{ClientStreams, Input, Output};

/// How long a client may take to open its streams (upstream's `DefaultStreamCreationTimeout`).
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the end of a connection may take: what is queued has to reach a slow client.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// SPDY over an upgraded connection.
pub(super) fn connection(upgraded: Upgraded) -> Connection {
    connection_over(TokioIo::new(upgraded))
}

/// SPDY over anything.
pub(super) fn connection_over<T: AsyncRead + AsyncWrite + Send + 'static>(bytes: T) -> Connection {
    Connection::new(bytes, Role::Server)
}

/// Waits for the streams that the options ask for; None if they do not come.
pub(super) async fn accept(upgraded: Upgraded, options: StreamOptions) -> Option<ClientStreams> {
    let connection = Arc::new(connection(upgraded));
    tokio::time::timeout(OPEN_TIMEOUT, collect(connection, options)).await.ok().flatten()
}

async fn collect(connection: Arc<Connection>, options: StreamOptions) -> Option<ClientStreams> {
    let (mut stdin, mut stdout, mut stderr, mut error, mut resize) = (None, None, None, None, None);
    let complete = |stream: &Option<Stream>, wanted: bool| !wanted || stream.is_some();
    while !(complete(&stdin, options.stdin)
        && complete(&stdout, options.stdout)
        && complete(&stderr, options.stderr)
        && complete(&resize, options.tty)
        && error.is_some())
    {
        let stream = connection.accept().await?;
        match stream.headers.get(STREAM_TYPE).map(String::as_str) {
            Some("stdin") => stdin = Some(stream),
            Some("stdout") => stdout = Some(stream),
            Some("stderr") => stderr = Some(stream),
            Some("error") => error = Some(stream),
            Some("resize") => resize = Some(stream),
            other => {
                tracing::debug!(?other, "an SPDY client opened a stream of an unknown type");
                return None;
            }
        }
    }
    let input = |stream: Option<Stream>| stream.map(|stream| Box::new(stream.reader) as Box<dyn Input>);
    let output = |stream: Option<Stream>| stream.map(|stream| Box::new(stream.writer) as Box<dyn Output>);
    let (watched, closed) = (Arc::clone(&connection), connection);
    Some(ClientStreams {
        stdin: input(stdin),
        stdout: output(stdout),
        stderr: output(stderr),
        resize: input(resize),
        error: output(error)?,
        status: true,
        gone: Box::pin(async move { watched.closed().await }),
        close: Box::pin(close(closed)),
    })
}

/// Ends the connection behind everything that is queued; the client closes its side when it has read it.
async fn close(connection: Arc<Connection>) {
    connection.say_goodbye().await;
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection.closed()).await;
}
