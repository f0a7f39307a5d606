//! Channels over WebSocket messages: the first byte (or digit, in base64 protocols) of a message says which.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cri::streaming::remote_command::StreamOptions;
use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::channels::Channels;
use super::streams::{ClientStreams, Input, Output};

/// Largest message from a client: kubectl sends 32 KiB at a time.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Messages queued towards the client before a writer waits.
const SEND_QUEUE: usize = 16;
/// Messages queued for one channel; then the whole connection waits, as TCP would.
const RECEIVE_QUEUE: usize = 32;
/// How long a client may take to answer the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The channel of KEP-4006 on which a client says that another one ends.
const CLOSE_CHANNEL: u8 = 255;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// A client's channels.
pub(super) struct ChannelConnection {
    channels: Channels,
    sender: mpsc::Sender<Message>,
    closed: CancellationToken,
}

/// What a client sends on one channel.
pub(super) struct ChannelInput(mpsc::Receiver<Bytes>);

/// What a client gets on one channel.
pub(super) struct ChannelOutput {
    channel: u8,
    channels: Channels,
    sender: mpsc::Sender<Message>,
}

/// A WebSocket over an upgraded connection.
pub(super) async fn socket<T>(bytes: T) -> WebSocketStream<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    WebSocketStream::from_raw_socket(bytes, Role::Server, Some(config)).await
}

impl ChannelConnection {
    /// Runs channels over `bytes`; gives an input for each of `inputs`.
    pub(super) async fn new<T, const N: usize>(
        bytes: T,
        channels: Channels,
        inputs: [u8; N],
    ) -> (Self, [ChannelInput; N])
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (connection, receivers) = Self::with_inputs(bytes, channels, &inputs).await;
        let mut receivers = receivers.into_iter();
        // As many as were asked for; one too few would be an input that has ended.
        let inputs = inputs.map(|_| receivers.next().unwrap_or_else(|| ChannelInput(mpsc::channel(1).1)));
        (connection, inputs)
    }

    /// The same for a number of channels that is known only now.
    pub(super) async fn with_inputs<T>(
        bytes: T,
        channels: Channels,
        inputs: &[u8],
    ) -> (Self, Vec<ChannelInput>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sink, stream) = socket(bytes).await.split();
        let (sender, mut outgoing) = mpsc::channel::<Message>(SEND_QUEUE);
        let closed = CancellationToken::new();
        let (mut targets, mut receivers) = (Vec::new(), Vec::new());
        for channel in inputs {
            let (target, receiver) = mpsc::channel(RECEIVE_QUEUE);
            targets.push((*channel, Some(target)));
            receivers.push(ChannelInput(receiver));
        }
        let token = closed.clone();
        tokio::spawn(async move {
            let sending = async {
                while let Some(message) = outgoing.recv().await {
                    let last = message.is_close();
                    if sink.send(message).await.is_err() {
                        break;
                    }
                    if last {
                        // The reader sees the client's answer, or its end.
                        std::future::pending::<()>().await;
                    }
                }
            };
            tokio::select! {
                () = sending => {}
                () = token.cancelled() => {}
            }
            token.cancel();
        });
        let token = closed.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = receive(stream, channels, targets) => {}
                () = token.cancelled() => {}
            }
            token.cancel();
        });
        (Self { channels, sender, closed }, receivers)
    }

    /// The sending side of a channel.
    pub(super) fn output(&self, channel: u8) -> ChannelOutput {
        ChannelOutput { channel, channels: self.channels, sender: self.sender.clone() }
    }

    /// Resolves when the client is gone.
    pub(super) fn gone(&self) -> impl Future<Output = ()> + Send + use<> {
        let closed = self.closed.clone();
        async move { closed.cancelled().await }
    }

    /// Ends the connection behind everything that is queued.
    pub(super) async fn close(self) {
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        if self.sender.send(Message::Close(Some(frame))).await.is_ok() {
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.closed.cancelled()).await;
        }
        self.closed.cancel();
    }
}

/// Distributes messages to their channels until the client ends.
async fn receive<S>(mut stream: S, channels: Channels, mut targets: Vec<(u8, Option<mpsc::Sender<Bytes>>)>)
where
    S: futures::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    while let Some(Ok(message)) = stream.next().await {
        // Pings are answered by the WebSocket itself.
        let Some((channel, data)) = channels.decode(message) else { continue };
        if channels.close && channel == CLOSE_CHANNEL {
            let ended = data.first().copied();
            for (_, target) in targets.iter_mut().filter(|(channel, _)| Some(*channel) == ended) {
                *target = None;
            }
            continue;
        }
        let target =
            targets.iter().find(|(number, _)| *number == channel).and_then(|(_, target)| target.as_ref());
        if let Some(target) = target
            && !data.is_empty()
        {
            // An error means that nobody reads the channel any more.
            let _ = target.send(data).await;
        }
    }
}

#[async_trait]
impl Input for ChannelInput {
    async fn chunk(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

#[async_trait]
impl Output for ChannelOutput {
    async fn write(&mut self, data: Bytes) -> bool {
        self.sender.send(self.channels.encode(self.channel, &data)).await.is_ok()
    }

    /// Servers do not end single channels: the connection ends when all is said.
    async fn finish(&mut self) {}
}

/// A client's end of an exec or attach.
pub(super) async fn accept(
    upgraded: Upgraded,
    channels: Channels,
    options: StreamOptions,
) -> Option<ClientStreams> {
    accept_over(TokioIo::new(upgraded), channels, options).await
}

async fn accept_over<T>(bytes: T, channels: Channels, options: StreamOptions) -> Option<ClientStreams>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (connection, [stdin, resize]) = ChannelConnection::new(bytes, channels, [STDIN, RESIZE]).await;
    let output =
        |wanted: bool, channel: u8| wanted.then(|| Box::new(connection.output(channel)) as Box<dyn Output>);
    let (stdout, stderr) = (output(options.stdout, STDOUT), output(options.stderr, STDERR));
    let mut error: Box<dyn Output> = Box::new(connection.output(ERROR));
    // An empty message on the first channel tells clients that wait for it that the connection stands.
    let first = if options.stdout {
        STDOUT
    } else if options.stderr {
        STDERR
    } else {
        ERROR
    };
    if !connection.output(first).write(Bytes::new()).await {
        error.finish().await;
        return None;
    }
    Some(ClientStreams {
        stdin: options.stdin.then(|| Box::new(stdin) as Box<dyn Input>),
        stdout,
        stderr,
        resize: options.tty.then(|| Box::new(resize) as Box<dyn Input>),
        error,
        status: channels.status,
        gone: Box::pin(connection.gone()),
        close: Box::pin(connection.close()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V5: Channels =
        Channels { name: "v5.channel.k8s.io", base64: false, status: true, close: true, spdy: false };
    const BASE64: Channels =
        Channels { name: "base64.channel.k8s.io", base64: true, status: false, close: false, spdy: false };

    async fn pair(channels: Channels) -> (ClientStreams, WebSocketStream<tokio::io::DuplexStream>) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let options = StreamOptions { stdin: true, stdout: true, stderr: true, tty: false };
        let (streams, client) = tokio::join!(
            accept_over(ours, channels, options),
            WebSocketStream::from_raw_socket(theirs, Role::Client, None)
        );
        (streams.unwrap(), client)
    }

    #[tokio::test]
    async fn channels_carry_data_and_v5_half_closes_stdin() {
        let (mut streams, mut client) = pair(V5).await;
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Binary(Bytes::from_static(&[1])));
        client.send(Message::Binary(Bytes::from_static(b"\x00input"))).await.unwrap();
        client.send(Message::Binary(Bytes::from_static(&[255, 0]))).await.unwrap();
        let stdin = streams.stdin.as_mut().unwrap();
        assert_eq!(stdin.chunk().await.unwrap(), "input");
        assert_eq!(stdin.chunk().await, None);
        assert!(streams.stderr.as_mut().unwrap().write(Bytes::from_static(b"oops")).await);
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Binary(Bytes::from_static(b"\x02oops")));
        let closing = tokio::spawn(streams.close);
        assert!(client.next().await.unwrap().unwrap().is_close());
        drop(client);
        closing.await.unwrap();
    }

    #[tokio::test]
    async fn base64_protocols_speak_text() {
        let (mut streams, mut client) = pair(BASE64).await;
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Text("1".into()));
        client.send(Message::Text("0aGk=".into())).await.unwrap();
        assert_eq!(streams.stdin.as_mut().unwrap().chunk().await.unwrap(), "hi");
        assert!(streams.stdout.as_mut().unwrap().write(Bytes::from_static(b"hi")).await);
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Text("1aGk=".into()));
    }

    #[tokio::test]
    async fn a_client_that_goes_is_noticed_and_ends_stdin() {
        let (mut streams, client) = pair(V5).await;
        drop(client);
        streams.gone.await;
        assert_eq!(streams.stdin.as_mut().unwrap().chunk().await, None);
    }
}
