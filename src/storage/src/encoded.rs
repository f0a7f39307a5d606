//! Objects on their way into the store: encoded once, before the revision is known.

use crate::attrs::Attrs;
use crate::error::StorageError;
use bytes::Bytes;
use serde_json::Value;

const MEMBER: &[u8] = b"\"resourceVersion\":\"";
const METADATA: &str = "metadata";
const RESOURCE_VERSION: &str = "resourceVersion";

/// An object as compact JSON without `metadata.resourceVersion`, and the place where it belongs.
///
/// The store assigns the revision, in an order that is not known while the object is encoded; splicing it
/// into the bytes spares parsing and encoding them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    bytes: Bytes,
    splice_at: u32,
    /// Known to whoever encoded it; never stored.
    attrs: Option<Attrs>,
}

impl Encoded {
    /// Encodes an object, leaving its `metadata.resourceVersion` out. An object without metadata gets an
    /// empty one.
    ///
    /// # Errors
    /// [`StorageError::InvalidObject`] when the value or its metadata is not a JSON object, or is larger
    /// than 4 GiB.
    pub fn new(object: &Value) -> Result<Self, StorageError> {
        let Value::Object(members) = object else {
            return Err(StorageError::InvalidObject { reason: "not a JSON object" });
        };
        // Most objects are a few hundred bytes to a few KiB; growing from 1 KiB copies little.
        let mut out = Vec::with_capacity(1024);
        let mut splice_at = None;
        out.push(b'{');
        for (name, value) in members {
            separate(&mut out);
            write(&mut out, name)?;
            out.push(b':');
            match value {
                Value::Object(metadata) if name == METADATA => {
                    out.push(b'{');
                    splice_at = Some(out.len());
                    for (name, value) in metadata.iter().filter(|(name, _)| *name != RESOURCE_VERSION) {
                        separate(&mut out);
                        write(&mut out, name)?;
                        out.push(b':');
                        write(&mut out, value)?;
                    }
                    out.push(b'}');
                }
                _ if name == METADATA => {
                    return Err(StorageError::InvalidObject { reason: "metadata is not a JSON object" });
                }
                other => write(&mut out, other)?,
            }
        }
        let splice_at = match splice_at {
            Some(at) => at,
            None => {
                separate(&mut out);
                out.extend_from_slice(b"\"metadata\":{");
                let at = out.len();
                out.push(b'}');
                at
            }
        };
        out.push(b'}');
        // Without spare capacity the vector becomes `Bytes` without a copy.
        out.shrink_to_fit();
        Self::from_parts(Bytes::from(out), splice_at)
    }

    /// With what selectors can name, so that nobody has to find it in the bytes. It has to be what the store's
    /// [`crate::Extractor`] would find there.
    #[must_use]
    pub fn with_attrs(self, attrs: Attrs) -> Self {
        Self { attrs: Some(attrs), ..self }
    }

    /// Takes out what [`Encoded::with_attrs`] brought.
    pub fn take_attrs(&mut self) -> Option<Attrs> {
        self.attrs.take()
    }

    /// The same object as it is to be stored: encrypted by a [`crate::Sealer`], with the place of the revision kept
    /// for the time when it is decrypted.
    #[must_use]
    pub fn sealed(&self, stored: Bytes) -> Self {
        Self { bytes: stored, splice_at: self.splice_at, attrs: None }
    }

    /// Whether the bytes are encrypted; JSON of an object begins with a brace.
    pub fn is_sealed(&self) -> bool {
        self.bytes.first() != Some(&b'{')
    }

    /// From bytes that were encoded elsewhere: `splice_at` is just after `"metadata":{`, and the metadata
    /// holds no `resourceVersion`. Or from bytes that are encrypted.
    ///
    /// # Errors
    /// [`StorageError::InvalidObject`] when `splice_at` does not follow an opening brace.
    pub fn from_parts(bytes: Bytes, splice_at: usize) -> Result<Self, StorageError> {
        let sealed = bytes.first().is_some_and(|first| *first != b'{');
        let opening = splice_at.checked_sub(1).and_then(|at| bytes.get(at));
        if !sealed && (opening != Some(&b'{') || splice_at >= bytes.len()) {
            return Err(StorageError::InvalidObject { reason: "the splice offset is not inside an object" });
        }
        let splice_at = u32::try_from(splice_at)
            .map_err(|_| StorageError::InvalidObject { reason: "larger than 4 GiB" })?;
        Ok(Self { bytes, splice_at, attrs: None })
    }

    /// The JSON without the revision.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where the revision belongs.
    pub fn splice_at(&self) -> u32 {
        self.splice_at
    }

    /// The JSON with a revision as `metadata.resourceVersion`. Deterministic. What is encrypted stays as it is: the
    /// revision gets into it when it is read.
    pub fn spliced(&self, revision: u64) -> Bytes {
        if self.is_sealed() {
            return self.bytes.clone();
        }
        let Some((head, tail)) = self.bytes.split_at_checked(self.splice_at as usize) else {
            return self.bytes.clone();
        };
        let digits = revision.to_string();
        let mut out = Vec::with_capacity(self.bytes.len() + MEMBER.len() + digits.len() + 2);
        out.extend_from_slice(head);
        out.extend_from_slice(MEMBER);
        out.extend_from_slice(digits.as_bytes());
        out.push(b'"');
        if tail.first() != Some(&b'}') {
            out.push(b',');
        }
        out.extend_from_slice(tail);
        out.shrink_to_fit();
        Bytes::from(out)
    }
}

/// Replaces the revision that was spliced in at `splice_at`. Bytes that hold none there come back unchanged.
pub(crate) fn restamp(value: &Bytes, splice_at: u32, revision: u64) -> Bytes {
    let at = splice_at as usize;
    let Some((head, rest)) = value.split_at_checked(at) else { return value.clone() };
    let Some(rest) = rest.strip_prefix(MEMBER) else { return value.clone() };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let tail = rest.get(digits..).unwrap_or_default();
    let new = revision.to_string();
    let mut out = Vec::with_capacity(head.len() + MEMBER.len() + new.len() + tail.len());
    out.extend_from_slice(head);
    out.extend_from_slice(MEMBER);
    out.extend_from_slice(new.as_bytes());
    out.extend_from_slice(tail);
    Bytes::from(out)
}

fn separate(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

fn write(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) -> Result<(), StorageError> {
    serde_json::to_writer(out, value)
        .map_err(|_| StorageError::InvalidObject { reason: "it has no JSON form" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_revision_is_spliced_first_into_metadata_and_an_old_one_is_dropped() {
        let object = json!({"apiVersion": "v1", "data": {"metadata": {}}, "kind": "ConfigMap",
            "metadata": {"name": "a", "resourceVersion": "7"}, "z": "{"});
        let encoded = Encoded::new(&object).unwrap();
        assert_eq!(
            text(&encoded.spliced(42)),
            r#"{"apiVersion":"v1","data":{"metadata":{}},"kind":"ConfigMap","metadata":{"resourceVersion":"42","name":"a"},"z":"{"}"#
        );
    }

    #[test]
    fn empty_or_missing_metadata_gets_no_comma() {
        for object in [json!({"metadata": {}}), json!({}), json!({"metadata": {"resourceVersion": "1"}})] {
            let encoded = Encoded::new(&object).unwrap();
            assert_eq!(text(&encoded.spliced(5)), r#"{"metadata":{"resourceVersion":"5"}}"#);
        }
        assert_eq!(
            text(&Encoded::new(&json!({"a": 1})).unwrap().spliced(5)),
            r#"{"a":1,"metadata":{"resourceVersion":"5"}}"#
        );
    }

    #[test]
    fn values_that_are_no_objects_are_refused() {
        assert!(Encoded::new(&json!([])).is_err());
        assert!(Encoded::new(&json!({"metadata": 5})).is_err());
        assert!(Encoded::from_parts(Bytes::from_static(b"{}"), 0).is_err());
        assert!(Encoded::from_parts(Bytes::from_static(b"{}"), 2).is_err());
    }

    #[test]
    fn what_is_sealed_is_left_alone_and_remembers_where_the_revision_belongs() {
        let plain = Encoded::new(&json!({"a": "b", "metadata": {}})).unwrap();
        let sealed = plain.sealed(Bytes::from_static(b"k8s:enc:x"));
        assert!(sealed.is_sealed() && !plain.is_sealed());
        assert_eq!(sealed.spliced(7), "k8s:enc:x");
        let read = Encoded::from_parts(sealed.bytes().clone(), sealed.splice_at() as usize).unwrap();
        assert_eq!(Encoded::from_parts(plain.bytes().clone(), read.splice_at() as usize).unwrap(), plain);
    }

    #[test]
    fn restamping_replaces_just_the_revision() {
        let encoded = Encoded::new(&json!({"metadata": {"name": "9"}})).unwrap();
        let stamped = restamp(&encoded.spliced(9), encoded.splice_at(), 1000);
        assert_eq!(text(&stamped), r#"{"metadata":{"resourceVersion":"1000","name":"9"}}"#);
        let odd = Bytes::from_static(b"{}");
        assert_eq!(restamp(&odd, 1, 3), odd);
        assert_eq!(restamp(&odd, 9, 3), odd);
    }
}
