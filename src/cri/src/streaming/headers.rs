//! Name/value blocks of SPDY/3.1 and the zlib contexts that a connection keeps for them.

use std::collections::BTreeMap;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;
use super::error::StreamingError;

/// Headers of a stream: lower-case names. Repeated values are joined by NUL, as on the wire.
pub type Headers = BTreeMap<String, String>;

/// Largest block after decompression. Stream headers are a handful of short words; the bound keeps a
/// hostile peer's zip bomb small.
const MAX_BLOCK_BYTES: usize = 64 * 1024;
/// zlib level: blocks are tens of bytes, so that speed and window size are all that matter.
const LEVEL: u32 = 6;

/// Compresses blocks; one per sending direction, for the life of the connection.
pub struct HeaderEncoder(Compress);

/// Decompresses blocks; one per receiving direction, for the life of the connection.
pub struct HeaderDecoder(Decompress);

impl HeaderEncoder {
    /// A fresh context, primed with the dictionary.
    pub fn new() -> Self {
        let mut context = Compress::new(Compression::new(LEVEL), true);
        // Cannot fail on a fresh zlib context; if it did, the peer would report the first block.
        let _ = context.set_dictionary(&dictionary());
        Self(context)
    }

    /// The compressed block of `headers`.
    pub fn encode(&mut self, headers: &Headers) -> Result<Vec<u8>, StreamingError> {
        let mut plain = Vec::with_capacity(256);
        put_length(&mut plain, headers.len());
        for (name, value) in headers {
            put_length(&mut plain, name.len());
            plain.extend_from_slice(name.to_ascii_lowercase().as_bytes());
            put_length(&mut plain, value.len());
            plain.extend_from_slice(value.as_bytes());
        }
        let mut output = Vec::with_capacity(plain.len() + 64);
        let start = self.0.total_in();
        loop {
            let consumed = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX);
            let input = plain.get(consumed..).unwrap_or_default();
            self.0
                .compress_vec(input, &mut output, FlushCompress::Sync)
                .map_err(|_| StreamingError::Protocol("header compression failed"))?;
            let all_in = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX) >= plain.len();
            // Room left over means that the flush is complete.
            if all_in && output.len() < output.capacity() {
                return Ok(output);
            }
            output.reserve(256);
        }
    }
}

impl Default for HeaderEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl HeaderDecoder {
    /// A fresh context; the dictionary goes in when the stream asks for it.
    pub fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The headers of a compressed block.
    pub fn decode(&mut self, block: &[u8]) -> Result<Headers, StreamingError> {
        let plain = self.inflate(block)?;
        let mut rest = plain.as_slice();
        let count = take_length(&mut rest)?;
        let mut headers = Headers::new();
        for _ in 0..count {
            let name = take_text(&mut rest)?;
            let value = take_text(&mut rest)?;
            if name.is_empty() {
                return Err(StreamingError::Protocol("empty header name"));
            }
            if headers.insert(name.to_ascii_lowercase(), value).is_some() {
                return Err(StreamingError::Protocol("duplicate header name"));
            }
        }
        Ok(headers)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, StreamingError> {
        let mut output = Vec::with_capacity(1024);
        let mut input = block;
        loop {
            let before = self.0.total_in();
            let result = self.0.decompress_vec(input, &mut output, FlushDecompress::Sync);
            let consumed = usize::try_from(self.0.total_in() - before).unwrap_or(usize::MAX);
            input = input.get(consumed..).unwrap_or_default();
            match result {
                Ok(Status::StreamEnd) => return Err(StreamingError::Protocol("header stream ended")),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0
                        .set_dictionary(&dictionary())
                        .map_err(|_| StreamingError::Protocol("unknown header dictionary"))?;
                    continue;
                }
                Err(_) => return Err(StreamingError::Protocol("corrupt header block")),
            }
            if input.is_empty() && output.len() < output.capacity() {
                return Ok(output);
            }
            if output.len() >= MAX_BLOCK_BYTES {
                return Err(StreamingError::Protocol("header block too large"));
            }
            if consumed == 0 && output.len() < output.capacity() {
                return Err(StreamingError::Protocol("corrupt header block"));
            }
            output.reserve(1024);
        }
    }
}

impl Default for HeaderDecoder {
    fn default() -> Self {
        Self::new()
    }
}

fn put_length(output: &mut Vec<u8>, length: usize) {
    output.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

fn take_length(rest: &mut &[u8]) -> Result<usize, StreamingError> {
    let (head, tail) =
        rest.split_first_chunk::<4>().ok_or(StreamingError::Protocol("header block is cut short"))?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head) as usize)
}

fn take_text(rest: &mut &[u8]) -> Result<String, StreamingError> {
    let length = take_length(rest)?;
    if length > rest.len() {
        return Err(StreamingError::Protocol("header block is cut short"));
    }
    let (text, tail) = rest.split_at(length);
    *rest = tail;
    String::from_utf8(text.to_vec()).map_err(|_| StreamingError::Protocol("header is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_one_connection_share_their_context() {
        let (mut encoder, mut decoder) = (HeaderEncoder::new(), HeaderDecoder::new());
        for number in 0..50 {
            let headers = Headers::from([
                ("streamtype".to_owned(), "stdout".to_owned()),
                ("port".to_owned(), number.to_string()),
            ]);
            let block = encoder.encode(&headers).unwrap();
            assert_eq!(decoder.decode(&block).unwrap(), headers);
        }
    }

    #[test]
    fn a_long_value_survives() {
        let (mut encoder, mut decoder) = (HeaderEncoder::new(), HeaderDecoder::new());
        let value: String = (0..9000_u32)
            .map(|n| char::from(b'!' + (n.wrapping_mul(2_654_435_761) >> 25) as u8 % 90))
            .collect();
        let headers = Headers::from([("a".to_owned(), value)]);
        assert_eq!(decoder.decode(&encoder.encode(&headers).unwrap()).unwrap(), headers);
    }

    #[test]
    fn a_bomb_is_refused_and_rubbish_is_an_error() {
        let mut encoder = HeaderEncoder::new();
        let bomb = encoder.encode(&Headers::from([("a".to_owned(), "0".repeat(10 << 20))])).unwrap();
        assert!(HeaderDecoder::new().decode(&bomb).is_err());
        assert!(HeaderDecoder::new().decode(b"rubbish").is_err());
        assert!(HeaderDecoder::new().decode(b"").is_err());
    }
}
