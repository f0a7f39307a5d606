//! Answers over HTTP/1.1 that go on and on: watches.
//!
//! hyper keeps two buffers of 8 KiB for each connection, which is most of what a watch costs that nothing happens in.
//! So the connection is taken from hyper when the head of such an answer is there, and the rest is written here:
//! chunks (RFC 9112, section 7.1) until the body ends or the client goes, and the connection ends with it.

use crate::body::{Body, BoxError};
use bytes::{Buf, Bytes};
use futures::FutureExt;
use http::response::Parts;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::BodyExt;
use std::io::Write as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Marks a response, in its extensions, that goes on until somebody ends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endless;

/// Frames that are there already are sent together until they are this long.
const GATHERED_BYTES: usize = 64 * 1024;

/// Sends the response. Ends early when the client goes.
///
/// # Errors
/// When the connection fails, or the body does: then the last chunk is missing, as the client can see.
pub(super) async fn send<S>(mut stream: S, response: Response<Body>) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (parts, mut body) = response.into_parts();
    stream.write_all(&head(parts)).await?;
    stream.flush().await?;
    let mut silent = true;
    let mut byte = [0];
    loop {
        let frame = tokio::select! {
            read = stream.read(&mut byte), if silent => match read {
                Ok(0) | Err(_) => return Ok(()),
                // A request that is never answered: the connection ends with this one.
                Ok(_) => {
                    silent = false;
                    continue;
                }
            },
            frame = body.frame() => frame,
        };
        let (chunks, ended) = gather(frame, &mut body)?;
        stream.write_all(&chunks).await?;
        stream.flush().await?;
        if ended {
            stream.shutdown().await?;
            return Ok(());
        }
    }
}

/// The frame and those that wait behind it as chunks, and whether the body is over.
fn gather(
    first: Option<Result<Frame<Bytes>, BoxError>>,
    body: &mut Body,
) -> Result<(Vec<u8>, bool), BoxError> {
    let mut chunks = Vec::new();
    let mut next = first;
    loop {
        let Some(frame) = next else {
            chunks.extend_from_slice(b"0\r\n\r\n");
            return Ok((chunks, true));
        };
        if let Ok(data) = frame?.into_data()
            && data.has_remaining()
        {
            chunks.reserve(data.len() + 16);
            // Writing to memory cannot fail.
            let _ = write!(chunks, "{:x}\r\n", data.len());
            chunks.extend_from_slice(&data);
            chunks.extend_from_slice(b"\r\n");
        }
        if chunks.len() >= GATHERED_BYTES {
            return Ok((chunks, false));
        }
        match body.frame().now_or_never() {
            Some(more) => next = more,
            None => return Ok((chunks, false)),
        }
    }
}

fn head(mut parts: Parts) -> Vec<u8> {
    let headers = &mut parts.headers;
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let now = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now());
    if let Some(date) = now.ok().and_then(|now| HeaderValue::try_from(now).ok()) {
        headers.insert(header::DATE, date);
    }
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_str()).into_bytes();
    for (name, value) in headers.iter() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::channel::Channel;

    fn response() -> (http_body_util::channel::Sender<Bytes, BoxError>, Response<Body>) {
        let (sender, body) = Channel::new(8);
        let response = Response::builder().header("content-type", "application/json");
        (sender, response.body(body.boxed_unsync()).unwrap())
    }

    async fn read_until(stream: &mut tokio::io::DuplexStream, end: &str) -> String {
        let mut all = Vec::new();
        while !all.ends_with(end.as_bytes()) {
            assert_ne!(stream.read_buf(&mut all).await.unwrap(), 0, "{}", String::from_utf8_lossy(&all));
        }
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn frames_are_chunks_and_the_end_is_told() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (mut sender, response) = response();
        let task = tokio::spawn(send(server, response));
        let head = read_until(&mut client, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for line in ["content-type: application/json", "transfer-encoding: chunked", "connection: close"] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
        }
        assert!(head.contains(" GMT\r\n"), "{head}");
        sender.send_data(Bytes::from_static(b"0123456789abcdef")).await.unwrap();
        assert_eq!(read_until(&mut client, "f\r\n").await, "10\r\n0123456789abcdef\r\n");
        drop(sender);
        assert_eq!(read_until(&mut client, "0\r\n\r\n").await, "0\r\n\r\n");
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_it_and_one_that_talks_does_not() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (mut sender, response) = response();
        let task = tokio::spawn(send(server, response));
        client.write_all(b"GET /next HTTP/1.1\r\n").await.unwrap();
        sender.send_data(Bytes::from_static(b"a")).await.unwrap();
        assert!(read_until(&mut client, "a\r\n").await.ends_with("\r\n\r\n1\r\na\r\n"));
        drop(client);
        sender.send_data(Bytes::from_static(b"b")).await.unwrap();
        assert!(task.await.unwrap().is_err());

        let (client, server) = tokio::io::duplex(1 << 20);
        let (_sender, response) = self::response();
        drop(client);
        // The head cannot be written, or nobody is there to read on: either way it is over.
        let _ = send(server, response).await;
    }

    #[tokio::test]
    async fn a_body_that_fails_leaves_out_the_last_chunk() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (sender, response) = response();
        let task = tokio::spawn(send(server, response));
        read_until(&mut client, "\r\n\r\n").await;
        sender.abort("broken".into());
        assert!(task.await.unwrap().is_err());
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }
}
