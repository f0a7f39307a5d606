//! Port-forward over WebSocket channels, as the Python and JavaScript clients do it: two channels per port,
//! data and error; the first message of each, from us, says which port it is for.

use std::sync::Arc;

use bytes::Bytes;
use cri::streaming::port_forward::PortForward;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use super::channels::Channels;
use super::streams::{Input, Output, copy};
use super::websocket::{ChannelConnection, ChannelInput, ChannelOutput};

/// Channel numbers are one byte, and 255 means something else.
const MAX_PORTS: usize = 127;
/// What of an error is passed on.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Serves a client's connection until all ports or the client have ended.
pub(super) async fn serve(upgraded: Upgraded, channels: Channels, ports: &[u16], runtime: Arc<PortForward>) {
    let numbered: Vec<(u8, u16)> =
        ports.iter().take(MAX_PORTS).enumerate().map(|(at, port)| ((at * 2) as u8, *port)).collect();
    let inputs: Vec<u8> = numbered.iter().map(|(channel, _)| *channel).collect();
    let (connection, inputs) =
        ChannelConnection::with_inputs(TokioIo::new(upgraded), channels, &inputs).await;
    let gone = connection.gone();
    let forwarded = numbered.into_iter().zip(inputs).map(|((channel, port), input)| {
        let (data, error) = (connection.output(channel), connection.output(channel + 1));
        forward(Arc::clone(&runtime), port, input, data, error)
    });
    tokio::select! {
        _ = futures::future::join_all(forwarded) => {}
        () = gone => return,
    }
    connection.close().await;
}

async fn forward(
    runtime: Arc<PortForward>,
    port: u16,
    mut from_client: ChannelInput,
    mut to_client: ChannelOutput,
    mut problem: ChannelOutput,
) {
    let announcement = Bytes::copy_from_slice(&port.to_le_bytes());
    if !(to_client.write(announcement.clone()).await && problem.write(announcement).await) {
        return;
    }
    let mut opened = match runtime.open(port).await {
        Ok(opened) => opened,
        Err(failure) => {
            problem.write(Bytes::from(failure.to_string())).await;
            return;
        }
    };
    let inbound = async {
        copy(&mut from_client as &mut dyn Input, &mut opened.data.writer).await;
        Output::finish(&mut opened.data.writer).await;
        std::future::pending::<()>().await;
    };
    let outbound = async {
        copy(&mut opened.data.reader as &mut dyn Input, &mut to_client).await;
        let message = opened.error.collect(MAX_ERROR_BYTES).await.unwrap_or_default();
        if !message.is_empty() {
            problem.write(Bytes::from(message)).await;
        }
    };
    tokio::select! {
        () = inbound => {}
        () = outbound => {}
    }
}
