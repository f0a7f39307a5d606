//! What is around an object's message: the magic bytes and `runtime.Unknown`.

use super::ProtobufError;
use super::wire::{Entries, Wire, head_len, put_bytes, put_head, wrap};
use crate::gvk::Gvk;

/// What every body begins with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// The end of every body: contentEncoding and contentType, which are empty.
pub const TAIL: &[u8; 4] = b"\x1a\0\x22\0";

/// A body without its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// What the object says it is; empty parts where it says nothing.
    pub gvk: Gvk,
    /// The object's message.
    pub raw: &'a [u8],
}

/// Takes the envelope off.
///
/// # Errors
/// When it is none.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let unknown = body.strip_prefix(MAGIC.as_slice()).ok_or(ProtobufError::Magic)?;
    if unknown.is_empty() {
        return Err(ProtobufError::Empty);
    }
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for entry in Entries(unknown) {
        let (number, wire) = entry?;
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => {
                for entry in Entries(bytes) {
                    match entry? {
                        (1, Wire::Bytes(text)) => api_version = string("apiVersion", text)?,
                        (2, Wire::Bytes(text)) => kind = string("kind", text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            (3, Wire::Bytes(encoding)) if !encoding.is_empty() => {
                return Err(ProtobufError::Encoding(String::from_utf8_lossy(encoding).into_owned()));
            }
            _ => {}
        }
    }
    Ok(Envelope { gvk: Gvk::from_api_version(&api_version, kind), raw })
}

/// Appends what stands before an object's message of this length; [`TAIL`] stands after it.
pub fn put_envelope(out: &mut Vec<u8>, api_version: &str, kind: &str, raw_length: usize) {
    out.extend_from_slice(MAGIC);
    let from = out.len();
    put_bytes(out, 1, api_version.as_bytes());
    put_bytes(out, 2, kind.as_bytes());
    wrap(out, 1, from);
    put_head(out, 2, raw_length);
}

/// An object's message in its envelope.
pub fn seal(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    // Tags and lengths take less than 32 bytes.
    let mut out = Vec::with_capacity(raw.len() + api_version.len() + kind.len() + 32);
    put_envelope(&mut out, api_version, kind, raw.len());
    out.extend_from_slice(raw);
    out.extend_from_slice(TAIL);
    out
}

/// Appends a watch event (`metav1.WatchEvent`) as one frame of a stream: its length in four bytes, big-endian, then
/// its message. `object` is a whole body.
pub fn put_event(out: &mut Vec<u8>, kind: &str, object: &[u8]) {
    const LENGTH_BYTES: usize = 4;
    let start = out.len();
    out.reserve(object.len() + kind.len() + 24);
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    put_bytes(out, 1, kind.as_bytes());
    // runtime.RawExtension {raw}.
    put_head(out, 2, head_len(1, object.len()) + object.len());
    put_bytes(out, 1, object);
    let length = u32::try_from(out.len() - start - LENGTH_BYTES).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(start..start + LENGTH_BYTES) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
}

pub(super) fn string(name: &str, bytes: &[u8]) -> Result<String, ProtobufError> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| ProtobufError::Content { field: name.to_owned(), what: "UTF-8" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_is_put_on_and_taken_off() {
        let body = seal("v1", "Pod", b"x");
        // typeMeta {apiVersion "v1", kind "Pod"}, raw "x", no encoding, no content type.
        assert_eq!(body, b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x01x\x1a\x00\x22\x00");
        assert_eq!(open(&body).unwrap(), Envelope { gvk: Gvk::new("", "v1", "Pod"), raw: b"x" });
    }

    #[test]
    fn damaged_bodies_are_refused_and_no_crash() {
        assert_eq!(open(b"{}"), Err(ProtobufError::Magic));
        assert_eq!(open(MAGIC), Err(ProtobufError::Empty));
        for rest in [
            &b"\x0a"[..],
            b"\x0a\x7f",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b",
            b"\x0a\x01\x0a",
        ] {
            assert!(open(&[MAGIC.as_slice(), rest].concat()).is_err(), "{rest:?}");
        }
    }

    #[test]
    fn events_are_framed_by_their_length() {
        let mut out = Vec::new();
        put_event(&mut out, "ADDED", b"ab");
        assert_eq!(out, b"\0\0\0\x0d\x0a\x05ADDED\x12\x04\x0a\x02ab");
    }
}
