//! Kubernetes' API machinery as data and pure functions: identities, `Status`, object metadata, selectors,
//! field paths and errors, quantities, strict decoding, schemas, patches, server-side apply, families of addresses.
//!
//! No I/O, no clocks, no kinds: what belongs to one kind lives in `api`. Upstream counterpart:
//! `k8s.io/apimachinery` and `sigs.k8s.io/structured-merge-diff`.

pub mod causes;
pub mod decode;
pub mod family;
pub mod field;
pub mod fields;
pub mod gvk;
pub mod jsonpath;
pub mod labels;
pub mod managedfields;
pub mod meta;
pub mod metrics;
pub mod patch;
pub mod platform;
pub mod protobuf;
pub mod quantity;
mod scan;
pub mod schema;
pub mod status;
pub mod table;
pub mod time;
pub mod validation;
