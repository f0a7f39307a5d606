//! A WebSocket's binary messages as one stream of bytes (KEP-4006, tunnelled SPDY).

use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::Message;

use super::websocket::socket;

/// Bytes on their way between the WebSocket and its user.
const BUFFER_BYTES: usize = 64 * 1024;

/// Opens the tunnel. It ends, in both directions, when either side does.
pub(super) async fn open(upgraded: Upgraded) -> DuplexStream {
    open_over(TokioIo::new(upgraded)).await
}

async fn open_over<T>(bytes: T) -> DuplexStream
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (inner, outer) = tokio::io::duplex(BUFFER_BYTES);
    let (mut sink, mut stream) = socket(bytes).await.split();
    let (mut reader, mut writer) = tokio::io::split(inner);
    tokio::spawn(async move {
        let inbound = async {
            while let Some(Ok(message)) = stream.next().await {
                let data = match message {
                    Message::Binary(data) => data,
                    Message::Close(_) => break,
                    _ => continue,
                };
                if writer.write_all(&data).await.is_err() {
                    break;
                }
            }
        };
        let outbound = async {
            let mut buffer = vec![0; BUFFER_BYTES / 2];
            while let Ok(length) = reader.read(&mut buffer).await {
                let Some(data) = buffer.get(..length).filter(|data| !data.is_empty()) else { break };
                let message = Message::Binary(data.to_vec().into());
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            let _ = sink.close().await;
        };
        tokio::select! {
            () = inbound => {}
            () = outbound => {}
        }
    });
    outer
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri::streaming::{Connection, Headers, Role};
    use tokio_tungstenite::WebSocketStream;

    #[tokio::test]
    async fn spdy_runs_through_a_web_socket() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (tunnel, client) = tokio::join!(
            open_over(ours),
            WebSocketStream::from_raw_socket(
                theirs,
                tokio_tungstenite::tungstenite::protocol::Role::Client,
                None
            )
        );
        let server = Connection::new(tunnel, Role::Server);
        // The client's half, as kubectl has it.
        let (inner, outer) = tokio::io::duplex(1 << 16);
        let (mut sink, mut stream) = client.split();
        let (mut reader, mut writer) = tokio::io::split(inner);
        tokio::spawn(async move {
            let mut buffer = vec![0; 1000];
            while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                sink.send(Message::Binary(buffer[..length].to_vec().into())).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Some(Ok(Message::Binary(data))) = stream.next().await {
                writer.write_all(&data).await.unwrap();
            }
        });
        let client = Connection::new(outer, Role::Client);
        let mut ours = client.open(Headers::new()).await.unwrap();
        let mut theirs = server.accept().await.unwrap();
        ours.writer.write(vec![3; 100_000].into()).await.unwrap();
        ours.writer.finish().await.unwrap();
        assert_eq!(theirs.reader.collect(usize::MAX).await.unwrap().len(), 100_000);
        theirs.writer.finish().await.unwrap();
        assert!(ours.reader.chunk().await.unwrap().is_none());
    }
}
