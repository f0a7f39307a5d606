//! A streaming server as a container runtime has it: exec echoes standard input and ends with code 3;
//! forwarded ports echo with their number in front, except port 1, which refuses.

use std::collections::HashMap;
use std::convert::Infallible;

use bytes::Bytes;
use cri::streaming::{Connection, PORT, PROTOCOL_VERSION_HEADER, REQUEST_ID, Role, STREAM_TYPE, Stream};
use http::{Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

const EXIT_3: &str = r#"{"metadata":{},"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;

/// Starts it; gives its URL.
pub async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request| async { Ok::<_, Infallible>(upgrade(request)) });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::spawn(connection);
        }
    });
    url
}

fn upgrade(mut request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let forwards = request.uri().path().starts_with("/portforward");
    let version = request.headers()[PROTOCOL_VERSION_HEADER].clone();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let connection = Connection::new(TokioIo::new(upgraded.await.unwrap()), Role::Server);
        if forwards { forward(connection).await } else { exec(connection).await }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1")
        .header(PROTOCOL_VERSION_HEADER, version)
        .body(Empty::new())
        .unwrap()
}

async fn exec(connection: Connection) {
    let mut streams = HashMap::new();
    while !streams.contains_key("stdin") || !streams.contains_key("stdout") {
        let Some(stream) = connection.accept().await else { return };
        streams.insert(stream.headers[STREAM_TYPE].clone(), stream);
    }
    // Standard error comes last, if it comes.
    let more = tokio::time::timeout(std::time::Duration::from_millis(100), connection.accept()).await;
    if let Ok(Some(stream)) = more {
        streams.insert(stream.headers[STREAM_TYPE].clone(), stream);
    }
    let mut stdin = streams.remove("stdin").unwrap().reader;
    let stdout = streams.remove("stdout").unwrap().writer;
    while let Ok(Some(chunk)) = stdin.chunk().await {
        stdout.write(chunk).await.unwrap();
    }
    if let Some(stderr) = streams.remove("stderr") {
        stderr.writer.write("end of input\n".into()).await.unwrap();
        stderr.writer.finish().await.unwrap();
    }
    stdout.finish().await.unwrap();
    let error = streams.remove("error").unwrap().writer;
    error.write(EXIT_3.into()).await.unwrap();
    error.finish().await.unwrap();
    connection.say_goodbye().await;
}

async fn forward(connection: Connection) {
    let mut halves: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = connection.accept().await {
        let id = stream.headers[REQUEST_ID].clone();
        let Some(other) = halves.remove(&id) else {
            halves.insert(id, stream);
            continue;
        };
        tokio::spawn(async move {
            let (mut data, error) =
                if stream.headers[STREAM_TYPE] == "data" { (stream, other) } else { (other, stream) };
            let port = data.headers[PORT].clone();
            if port == "1" {
                error.writer.write("connection refused".into()).await.unwrap();
            } else {
                data.writer.write(format!("{port}: ").into()).await.unwrap();
                while let Ok(Some(chunk)) = data.reader.chunk().await {
                    data.writer.write(chunk).await.unwrap();
                }
            }
            error.writer.finish().await.unwrap();
            data.writer.finish().await.unwrap();
        });
    }
}
