//! The sending task of a connection.

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::StreamingError;
use super::frame::{self, Control, FLAG_FIN};
use super::headers::HeaderEncoder;

/// What it sends.
pub(super) enum Outgoing {
    Control(Control),
    Data {
        stream: u32,
        fin: bool,
        data: Bytes,
    },
    /// The last frame: GOAWAY, then the end of the connection.
    Goodbye,
}

/// Sends frames until nobody can queue any more, flushing whenever the queue runs dry.
pub(super) async fn write_frames<W: AsyncWrite + Send + Unpin>(
    mut writer: W,
    mut outgoing: mpsc::Receiver<Outgoing>,
    closed: CancellationToken,
) {
    let mut encoder = HeaderEncoder::new();
    let sent = async {
        let mut buffer = Vec::with_capacity(1024);
        while let Some(first) = outgoing.recv().await {
            let mut next = Some(first);
            while let Some(frame) = next {
                buffer.clear();
                match frame {
                    Outgoing::Control(control) => {
                        frame::encode_control(&control, &mut encoder, &mut buffer)?;
                        writer.write_all(&buffer).await?;
                    }
                    Outgoing::Data { stream, fin, data } => {
                        let flags = if fin { FLAG_FIN } else { 0 };
                        writer.write_all(&frame::data_head(stream, flags, data.len())).await?;
                        writer.write_all(&data).await?;
                    }
                    Outgoing::Goodbye => {
                        let goodbye = Control::GoAway { last_stream: 0, status: 0 };
                        frame::encode_control(&goodbye, &mut encoder, &mut buffer)?;
                        writer.write_all(&buffer).await?;
                        writer.flush().await?;
                        return Ok(());
                    }
                }
                next = outgoing.try_recv().ok();
            }
            writer.flush().await?;
        }
        Ok::<_, StreamingError>(())
    };
    tokio::select! {
        result = sent => {
            if let Err(error) = result {
                tracing::debug!(%error, "SPDY connection ended while sending");
            }
        }
        () = closed.cancelled() => {}
    }
    let _ = writer.shutdown().await;
    closed.cancel();
}
