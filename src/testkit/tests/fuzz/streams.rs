//! What exec, attach and port-forward run over.

use cri::streaming::frame::{self, Control, Head};
use cri::streaming::headers::{HeaderDecoder, HeaderEncoder};
use kubelet::server::remote::channels::Channels;
use testkit::fuzz::fuzz;
use tokio_tungstenite::tungstenite::WebSocket;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

#[test]
fn spdy_frames() {
    let headers = [("streamtype".to_owned(), "stdin".to_owned()), ("port".to_owned(), "80".to_owned())];
    let frames = [
        Control::SynStream { stream: 1, flags: 0, headers: headers.clone().into() },
        Control::Ping { id: 7 },
        Control::Headers { stream: 1, flags: 1, headers: headers.into() },
    ];
    let mut stream = Vec::new();
    let mut encoder = HeaderEncoder::new();
    for control in &frames {
        frame::encode_control(control, &mut encoder, &mut stream).unwrap();
    }
    stream.extend(frame::data_head(1, 0, 2));
    stream.extend(b"ab");
    fuzz(&[&stream], &["\u{0}\u{3}\u{0}\u{1}"], |bytes| {
        let (mut rest, mut read, mut decoder) = (bytes, 0, HeaderDecoder::new());
        while let Some((head, after)) = rest.split_first_chunk() {
            let Ok(head) = frame::decode_head(*head) else { return false };
            let (Head::Control { length, .. } | Head::Data { length, .. }) = head;
            let Some((content, after)) = after.split_at_checked(length) else { return read > 0 };
            if let Head::Control { kind, flags, .. } = head
                && frame::decode_control(kind, flags, content, &mut decoder).is_err()
            {
                return false;
            }
            rest = after;
            read += 1;
        }
        read > 0
    });
}

/// A frame as clients send them (RFC 6455 section 5.2): masked, here with zeros, so that the payload can be read.
fn client_frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![head];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0xfe);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// What a client's end of a connection sends; what it is sent is forgotten.
struct Client<'a>(&'a [u8]);

impl std::io::Read for Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::Write for Client<'_> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn web_socket_frames_and_their_channels() {
    let channels = |base64| Channels { name: "", base64, status: true, close: true, spdy: false };
    let corpus = [
        // Data, the end of a channel, a ping, a message in two frames, a long one, text, the end.
        [client_frame(0x82, b"\0ls\n"), client_frame(0x82, &[255, 0]), client_frame(0x89, b"p")].concat(),
        [client_frame(0x02, b"\x04{\"Width\""), client_frame(0x80, b":80}"), client_frame(0x88, &[3, 232])]
            .concat(),
        client_frame(0x82, &[0; 300]),
        [client_frame(0x81, b"0bHMK"), client_frame(0x81, b";aGk="), client_frame(0x8a, b"")].concat(),
    ];
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    let config = WebSocketConfig::default().max_message_size(Some(1 << 16)).max_frame_size(Some(1 << 16));
    fuzz(&corpus, &["\u{2}\u{7f}", "\0\0\0\0", "~\0\u{7f}", "0aGk="], |bytes| {
        let mut socket = WebSocket::from_raw_socket(Client(bytes), Role::Server, Some(config));
        let mut read = 0;
        while let Ok(message) = socket.read() {
            read += 1;
            assert!(message.len() <= bytes.len());
            for channels in [channels(false), channels(true)] {
                let Some((channel, data)) = channels.decode(message.clone()) else { continue };
                // Text has no characters of one byte beyond.
                if channels.base64 && channel >= 128 - b'0' {
                    continue;
                }
                let again = channels.decode(channels.encode(channel, &data));
                assert_eq!(again, Some((channel, data)));
            }
        }
        read > 0
    });
}
