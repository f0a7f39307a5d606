//! SPDY/3.1 frames (sections 2.2 and 2.6 of the draft).

use super::error::StreamingError;
use super::headers::{HeaderDecoder, HeaderEncoder, Headers};

/// Bytes of every frame's head.
pub const HEAD_BYTES: usize = 8;
/// The sender will send no more on this stream.
pub const FLAG_FIN: u8 = 0x01;
/// The opener will receive nothing on this stream.
pub const FLAG_UNIDIRECTIONAL: u8 = 0x02;
/// RST_STREAM status: the stream is not wanted any more.
pub const RESET_CANCEL: u32 = 5;
/// RST_STREAM status: the receiver refused the stream.
pub const RESET_REFUSED: u32 = 3;

/// Set in the first word of a control frame; the version in its lower 15 bits is always 3.
const CONTROL: u32 = 0x8003_0000;
/// Stream ids and deltas have 31 bits.
const MASK_31: u32 = 0x7fff_ffff;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// A control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Opens a stream.
    SynStream {
        /// Odd from the client, even from the server, rising.
        stream: u32,
        /// `FLAG_FIN`, `FLAG_UNIDIRECTIONAL`.
        flags: u8,
        /// What the stream is for.
        headers: Headers,
    },
    /// Accepts a stream.
    SynReply {
        /// The stream.
        stream: u32,
        /// `FLAG_FIN`.
        flags: u8,
        /// As a rule empty.
        headers: Headers,
    },
    /// Ends a stream abnormally.
    RstStream {
        /// The stream.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// To be sent back with the same id.
    Ping {
        /// Odd from the client, even from the server.
        id: u32,
    },
    /// No new streams will be accepted.
    GoAway {
        /// Last stream that was accepted.
        last_stream: u32,
        /// 0 = normal.
        status: u32,
    },
    /// More headers for an open stream.
    Headers {
        /// The stream.
        stream: u32,
        /// `FLAG_FIN`.
        flags: u8,
        /// The headers.
        headers: Headers,
    },
    /// SETTINGS, WINDOW_UPDATE and unknown types: read and ignored.
    Ignored,
}

/// The first 8 bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A control frame of a type.
    Control {
        /// Frame type.
        kind: u16,
        /// Flags.
        flags: u8,
        /// Bytes that follow.
        length: usize,
    },
    /// Data of a stream.
    Data {
        /// The stream.
        stream: u32,
        /// `FLAG_FIN`.
        flags: u8,
        /// Bytes that follow.
        length: usize,
    },
}

/// Reads a frame's head.
pub fn decode_head(bytes: [u8; HEAD_BYTES]) -> Result<Head, StreamingError> {
    let [a, b, c, d, flags, l1, l2, l3] = bytes;
    let word = u32::from_be_bytes([a, b, c, d]);
    let length = u32::from_be_bytes([0, l1, l2, l3]) as usize;
    if word & !MASK_31 == 0 {
        return Ok(Head::Data { stream: word, flags, length });
    }
    if word & 0xffff_0000 != CONTROL {
        return Err(StreamingError::Protocol("not SPDY version 3"));
    }
    Ok(Head::Control { kind: (word & 0xffff) as u16, flags, length })
}

/// Reads the body of a control frame.
pub fn decode_control(
    kind: u16,
    flags: u8,
    body: &[u8],
    decoder: &mut HeaderDecoder,
) -> Result<Control, StreamingError> {
    let mut rest = body;
    match kind {
        SYN_STREAM => {
            let stream = take_word(&mut rest)? & MASK_31;
            take_word(&mut rest)?; // Associated stream: server push, which nobody uses.
            let block = rest.get(2..).ok_or(StreamingError::Protocol("SYN_STREAM is cut short"))?;
            Ok(Control::SynStream { stream, flags, headers: decoder.decode(block)? })
        }
        SYN_REPLY => {
            let stream = take_word(&mut rest)? & MASK_31;
            Ok(Control::SynReply { stream, flags, headers: decoder.decode(rest)? })
        }
        RST_STREAM => {
            Ok(Control::RstStream { stream: take_word(&mut rest)? & MASK_31, status: take_word(&mut rest)? })
        }
        PING => Ok(Control::Ping { id: take_word(&mut rest)? }),
        GOAWAY => Ok(Control::GoAway {
            last_stream: take_word(&mut rest)? & MASK_31,
            status: take_word(&mut rest)?,
        }),
        HEADERS => {
            let stream = take_word(&mut rest)? & MASK_31;
            Ok(Control::Headers { stream, flags, headers: decoder.decode(rest)? })
        }
        _ => Ok(Control::Ignored),
    }
}

/// Appends a control frame to `output`.
pub fn encode_control(
    frame: &Control,
    encoder: &mut HeaderEncoder,
    output: &mut Vec<u8>,
) -> Result<(), StreamingError> {
    match frame {
        Control::SynStream { stream, flags, headers } => {
            let block = encoder.encode(headers)?;
            put_control_head(output, SYN_STREAM, *flags, 10 + block.len());
            output.extend_from_slice(&stream.to_be_bytes());
            output.extend_from_slice(&[0; 6]); // Associated stream, priority, slot.
            output.extend_from_slice(&block);
        }
        Control::SynReply { stream, flags, headers } => {
            let block = encoder.encode(headers)?;
            put_control_head(output, SYN_REPLY, *flags, 4 + block.len());
            output.extend_from_slice(&stream.to_be_bytes());
            output.extend_from_slice(&block);
        }
        Control::Headers { stream, flags, headers } => {
            let block = encoder.encode(headers)?;
            put_control_head(output, HEADERS, *flags, 4 + block.len());
            output.extend_from_slice(&stream.to_be_bytes());
            output.extend_from_slice(&block);
        }
        Control::RstStream { stream, status } => {
            put_control_head(output, RST_STREAM, 0, 8);
            output.extend_from_slice(&stream.to_be_bytes());
            output.extend_from_slice(&status.to_be_bytes());
        }
        Control::Ping { id } => {
            put_control_head(output, PING, 0, 4);
            output.extend_from_slice(&id.to_be_bytes());
        }
        Control::GoAway { last_stream, status } => {
            put_control_head(output, GOAWAY, 0, 8);
            output.extend_from_slice(&last_stream.to_be_bytes());
            output.extend_from_slice(&status.to_be_bytes());
        }
        Control::Ignored => {}
    }
    Ok(())
}

/// The head of a data frame; the payload of `length` bytes (under 16 MiB) follows it.
pub fn data_head(stream: u32, flags: u8, length: usize) -> [u8; HEAD_BYTES] {
    let [a, b, c, d] = (stream & MASK_31).to_be_bytes();
    let [_, l1, l2, l3] = (length as u32).to_be_bytes();
    [a, b, c, d, flags, l1, l2, l3]
}

fn put_control_head(output: &mut Vec<u8>, kind: u16, flags: u8, length: usize) {
    output.extend_from_slice(&(CONTROL | u32::from(kind)).to_be_bytes());
    let [_, l1, l2, l3] = (length as u32).to_be_bytes();
    output.extend_from_slice(&[flags, l1, l2, l3]);
}

fn take_word(rest: &mut &[u8]) -> Result<u32, StreamingError> {
    let (head, tail) =
        rest.split_first_chunk::<4>().ok_or(StreamingError::Protocol("control frame is cut short"))?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(frame: Control) {
        let mut bytes = Vec::new();
        encode_control(&frame, &mut HeaderEncoder::new(), &mut bytes).unwrap();
        let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>().unwrap();
        let Head::Control { kind, flags, length } = decode_head(*head).unwrap() else {
            panic!("not a control frame")
        };
        assert_eq!(length, body.len());
        assert_eq!(decode_control(kind, flags, body, &mut HeaderDecoder::new()).unwrap(), frame);
    }

    #[test]
    fn control_frames_survive_a_round_trip() {
        let headers = Headers::from([("streamtype".to_owned(), "error".to_owned())]);
        round_trip(Control::SynStream { stream: 1, flags: FLAG_FIN, headers: headers.clone() });
        round_trip(Control::SynReply { stream: 3, flags: 0, headers: Headers::new() });
        round_trip(Control::Headers { stream: 3, flags: FLAG_FIN, headers });
        round_trip(Control::RstStream { stream: 5, status: RESET_CANCEL });
        round_trip(Control::Ping { id: 2 });
        round_trip(Control::GoAway { last_stream: 7, status: 0 });
    }

    #[test]
    fn the_head_of_data_carries_stream_flags_and_length() {
        let head = data_head(9, FLAG_FIN, 0x01_0203);
        assert_eq!(decode_head(head).unwrap(), Head::Data { stream: 9, flags: FLAG_FIN, length: 0x01_0203 });
    }

    #[test]
    fn cut_frames_and_other_versions_are_errors() {
        assert!(decode_head([0x80, 2, 0, 1, 0, 0, 0, 0]).is_err());
        for kind in 1..10 {
            for length in 0..8 {
                let _ = decode_control(kind, 0, &vec![0; length], &mut HeaderDecoder::new());
            }
        }
        assert!(decode_control(SYN_STREAM, 0, &[0; 9], &mut HeaderDecoder::new()).is_err());
    }
}
