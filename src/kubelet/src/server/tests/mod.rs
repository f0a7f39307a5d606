//! The server over real TLS, with a streaming server in the runtime's place and reviews in the API server's.

mod dial;
mod runtime;
mod world;

use cri::streaming::{Headers, PORT, REQUEST_ID, STREAM_TYPE};
use futures::{SinkExt, StreamExt};
use http::StatusCode;
use tokio_tungstenite::tungstenite::Message;

use self::world::{Identity, World};

#[tokio::test]
async fn clients_are_authenticated_and_authorized() {
    let world = World::new().await;
    for (identity, path, status) in [
        (Identity::Nobody, "/healthz", StatusCode::UNAUTHORIZED),
        (Identity::ApiServer, "/healthz", StatusCode::OK),
        (Identity::ApiServer, "/pods", StatusCode::OK),
        (Identity::ApiServer, "/runningpods/", StatusCode::OK),
        (Identity::ApiServer, "/configz", StatusCode::OK),
        (Identity::ApiServer, "/stats/summary", StatusCode::OK),
        (Identity::ApiServer, "/metrics/resource", StatusCode::OK),
        (Identity::ApiServer, "/metrics/cadvisor", StatusCode::OK),
        (Identity::ApiServer, "/metrics/probes", StatusCode::OK),
        (Identity::ApiServer, "/nothing", StatusCode::NOT_FOUND),
        // A node's certificate is of the right authority, but permits nothing here.
        (Identity::Node, "/pods", StatusCode::FORBIDDEN),
        (Identity::Token("metrics"), "/metrics/resource", StatusCode::OK),
        (Identity::Token("metrics"), "/metrics/cadvisor", StatusCode::OK),
        (Identity::Token("metrics"), "/metrics/probes", StatusCode::OK),
        (Identity::Token("metrics"), "/pods", StatusCode::FORBIDDEN),
        (Identity::Token("wrong"), "/healthz", StatusCode::UNAUTHORIZED),
    ] {
        let (got, body) = world.get(identity, path).await;
        assert_eq!(got, status, "{identity:?} {path}: {body}");
    }
    let (_, body) = world.get(Identity::Node, "/pods").await;
    assert_eq!(
        body,
        "Forbidden (user=system:node:n1, verb=get, resource=nodes, subresource(s)=[pods proxy])\n"
    );
}

#[tokio::test]
async fn this_machine_learns_of_its_health_without_credentials() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new().await;
    for (path, expected) in [
        ("/healthz", ("HTTP/1.1 200 OK", "ok")),
        ("/pods", ("HTTP/1.1 404 Not Found", "404 page not found\n")),
    ] {
        let mut stream = tokio::net::TcpStream::connect(world.health).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!((head.lines().next().unwrap(), body), expected, "{path}");
    }
}

#[tokio::test]
async fn logs_are_served_and_their_absence_explained() {
    let world = World::new().await;
    let (status, body) = world.get(Identity::ApiServer, "/containerLogs/ns/pod/main?tailLines=1").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "two\n"));
    let (status, body) = world.get(Identity::ApiServer, "/containerLogs/ns/pod/main?previous=true").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body, "previous terminated container \"main\" in pod \"pod\" not found\n");
    let (status, _) = world.get(Identity::ApiServer, "/containerLogs/ns/other/main").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn exec_runs_over_a_web_socket_with_half_closed_stdin() {
    let world = World::new().await;
    let path = "/exec/ns/pod/main?command=cat&input=1&output=1";
    let (mut socket, protocol) = world.web_socket(path, "v5.channel.k8s.io, v4.channel.k8s.io").await;
    assert_eq!(protocol, "v5.channel.k8s.io");
    for message in [b"\x00hello ".as_slice(), b"\x00world", &[255, 0]] {
        socket.send(Message::Binary(message.to_vec().into())).await.unwrap();
    }
    let (mut output, mut status) = (Vec::new(), Vec::new());
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(data) = message else { break };
        match data.split_first() {
            Some((1, data)) => output.extend_from_slice(data),
            Some((3, data)) => status.extend_from_slice(data),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(output, b"hello world");
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "3");
}

#[tokio::test]
async fn exec_runs_over_spdy() {
    let world = World::new().await;
    let connection =
        world.spdy("/exec/ns/pod/main?command=cat&input=1&output=1&error=1", "v4.channel.k8s.io").await;
    let open = async |kind: &str| {
        connection.open(Headers::from([(STREAM_TYPE.to_owned(), kind.to_owned())])).await.unwrap()
    };
    let mut error = open("error").await;
    error.writer.finish().await.unwrap();
    let (stdin, mut stdout, mut stderr) = (open("stdin").await, open("stdout").await, open("stderr").await);
    let sent = vec![9; 200_000];
    let (received, errors, status, ()) = tokio::join!(
        stdout.reader.collect(usize::MAX),
        stderr.reader.collect(usize::MAX),
        error.reader.collect(usize::MAX),
        async {
            stdin.writer.write(sent.clone().into()).await.unwrap();
            stdin.writer.finish().await.unwrap();
        }
    );
    assert_eq!(received.unwrap(), sent);
    assert_eq!(errors.unwrap(), b"end of input\n");
    assert!(String::from_utf8(status.unwrap()).unwrap().contains("ExitCode"));
    connection.closed().await;
}

#[tokio::test]
async fn containers_that_do_not_run_and_requests_without_upgrade_are_refused() {
    let world = World::new().await;
    let exec = |container: &str| format!("/exec/ns/pod/{container}?command=ls&output=1");
    let (status, body) = world.get(Identity::ApiServer, &exec("waiting")).await;
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::INTERNAL_SERVER_ERROR, "container not found (\"waiting\")\n")
    );
    let (status, body) = world.get(Identity::ApiServer, &exec("main")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let (status, _) = world.get(Identity::ApiServer, "/exec/ns/pod/main?command=ls").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) =
        world.get(Identity::ApiServer, "/exec/ns/pod/another-uid/main?command=ls&output=1").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = world.get(Identity::ApiServer, "/run/ns/pod/main?cmd=ls").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn ports_are_forwarded_over_spdy_also_through_a_web_socket() {
    let world = World::new().await;
    let (socket, protocol) = world.web_socket("/portForward/ns/pod", "SPDY/3.1+portforward.k8s.io").await;
    assert_eq!(protocol, "SPDY/3.1+portforward.k8s.io");
    for connection in
        [world.spdy("/portForward/ns/pod", "portforward.k8s.io").await, dial::spdy_through(socket)]
    {
        let headers = |kind: &str, id: &str, port: &str| {
            let pairs = [(STREAM_TYPE, kind), (PORT, port), (REQUEST_ID, id)];
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect::<Headers>()
        };
        for id in ["0", "1"] {
            let mut error = connection.open(headers("error", id, "80")).await.unwrap();
            let mut data = connection.open(headers("data", id, "80")).await.unwrap();
            error.writer.finish().await.unwrap();
            data.writer.write("ping".into()).await.unwrap();
            data.writer.finish().await.unwrap();
            assert_eq!(data.reader.collect(usize::MAX).await.unwrap(), b"80: ping");
            assert!(error.reader.collect(usize::MAX).await.unwrap().is_empty());
        }
        let mut error = connection.open(headers("error", "2", "1")).await.unwrap();
        let mut data = connection.open(headers("data", "2", "1")).await.unwrap();
        assert_eq!(error.reader.collect(usize::MAX).await.unwrap(), b"connection refused");
        assert!(data.reader.collect(usize::MAX).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn ports_are_forwarded_over_channels() {
    let world = World::new().await;
    let path = "/portForward/ns/pod?port=80&port=1";
    let (mut socket, _) = world.web_socket(path, "v4.channel.k8s.io").await;
    socket.send(Message::Binary(b"\x00ping".to_vec().into())).await.unwrap();
    let mut channels = [const { Vec::new() }; 4];
    while let Some(Ok(Message::Binary(data))) = socket.next().await {
        channels[usize::from(data[0])].extend_from_slice(&data[1..]);
        if channels[0].len() >= 10 && channels[3].len() > 2 {
            break;
        }
    }
    assert_eq!(channels[0], b"\x50\x0080: ping");
    assert_eq!(channels[1], b"\x50\x00");
    assert_eq!(channels[2], b"\x01\x00");
    assert_eq!(channels[3], b"\x01\x00connection refused");
}

#[tokio::test]
async fn archives_of_images_are_imported_and_not_kept() {
    let world = World::new().await;
    let none: Vec<_> = std::fs::read_dir(&world.imports).into_iter().flatten().collect();
    assert!(none.is_empty(), "what was left there is gone");
    // In pieces, and more than any limit of what is held in memory.
    let piece = bytes::Bytes::from(vec![0xff; 100_000]);
    let archive = move || {
        let pieces = std::iter::repeat_n(piece.clone(), 50);
        let frames = pieces.map(|piece| Ok::<_, std::convert::Infallible>(http_body::Frame::data(piece)));
        http_body_util::StreamBody::new(futures::stream::iter(frames))
    };
    let path = "/knarr/images?name=a%2Fb";
    let (status, answer) = world.post(Identity::ApiServer, path, 5_000_000, archive()).await;
    assert_eq!((status, &answer["images"][0]), (StatusCode::OK, &"a/b:5000000".into()), "{answer}");
    let (status, _) = world.post(Identity::Node, path, 5_000_000, archive()).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = world.get(Identity::ApiServer, path).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);

    let text = http_body_util::Full::new(bytes::Bytes::from("text"));
    let (status, answer) = world.post(Identity::ApiServer, "/knarr/images", 4, text).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["message"], "not a valid image archive: it is text");
    assert_eq!((&answer["kind"], &answer["reason"]), (&"Status".into(), &"BadRequest".into()));
    // What cannot have room is refused at once, and the answer comes although the archive does not end.
    let endless = http_body_util::StreamBody::new(futures::stream::pending::<
        Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>,
    >());
    let (status, answer) = world.post(Identity::ApiServer, "/knarr/images", 1 << 60, endless).await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE);
    assert!(answer["message"].as_str().unwrap().contains("free on the node's disk"), "{answer}");
    assert_eq!(std::fs::read_dir(&world.imports).unwrap().count(), 0, "nothing is left");
}
