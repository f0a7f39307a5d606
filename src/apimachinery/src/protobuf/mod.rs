//! `application/vnd.kubernetes.protobuf`: the form in which client-go sends and likes to get built-in kinds. Driven
//! by the field numbers of the schema table: from and to JSON, without structs in between.
//!
//! A body is the four bytes `k8s\0` and a `runtime.Unknown` {typeMeta, raw, contentEncoding, contentType}; `raw` is
//! the object's message (proto2; API conventions, "Protobuf encoding"). Upstream counterpart:
//! `k8s.io/apimachinery/pkg/runtime/serializer/protobuf` and the generated `generated.pb.go` of every group.
//!
//! | module | what |
//! |---|---|
//! | [`wire`] | varints, tags and the fields of a message |
//! | [`envelope`] | what is around an object's message |
//! | `plan` | the layout of a message, worked out once from its schema |
//! | [`decode`](mod@decode) | message to JSON tree |
//! | [`encode`] | JSON bytes to message |
//! | `json` | the scanner that encoding reads JSON with |
//!
//! Go writes every field that is no pointer, also when it is zero, and JSON leaves it out: the table tells pointers
//! ([`crate::schema::types::ProtobufPath::is_pointer`]). Fields stand in the order of their numbers and entries of
//! maps in that of the JSON, so an object has one encoding, the same as upstream's.

pub mod decode;
pub mod encode;
pub mod envelope;
mod json;
mod plan;
pub mod wire;

pub use decode::decode;
pub use encode::Encoder;
pub use envelope::{Envelope, MAGIC, open};
pub(crate) use plan::Plans;

/// Deepest nesting; as for JSON.
const MAX_DEPTH: usize = crate::decode::MAX_DEPTH;

/// Why a body cannot be read, or an object not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The body does not begin with [`MAGIC`].
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// There is nothing after [`MAGIC`].
    #[error("empty body")]
    Empty,
    /// The body ends within a value, or a length is impossible.
    #[error("unexpected EOF")]
    Truncated,
    /// A field has another wire type than its schema says.
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WireType {
        /// The field.
        field: String,
        /// What it came as.
        wire: u64,
    },
    /// Text that is no UTF-8, or JSON within that is none.
    #[error("proto: invalid {what} in field {field}")]
    Content {
        /// The field.
        field: String,
        /// What it should be.
        what: &'static str,
    },
    /// Too many levels.
    #[error("proto: exceeded max depth of {MAX_DEPTH}")]
    Depth,
    /// A small body that would become a huge object.
    #[error("the object takes more than {0} bytes")]
    Bomb(usize),
    /// The object is compressed or no protobuf within.
    #[error("proto: content encoding {0:?} is not understood")]
    Encoding(String),
    /// The JSON to encode is damaged at this byte.
    #[error("invalid JSON at byte {0}")]
    Json(usize),
}
