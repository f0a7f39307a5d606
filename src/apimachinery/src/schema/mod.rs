//! The structural schema: what a kind's objects look like, as data.
//!
//! One type describes built-in kinds (read from the compact text of [`text`], see `api::schema`) and kinds that
//! CustomResourceDefinitions define. Decoding ([`prune()`]), strategic merge patch, server-side apply, the
//! protobuf codec and OpenAPI are all driven by it.
//!
//! | module | what |
//! |---|---|
//! | [`types`] | one type: scalar, struct, map, list, and a struct's fields |
//! | [`set`] | an arena of types, and handles into it |
//! | [`text`] | the compact text form of a set |
//! | [`prune`](mod@prune) | the walk that a decoded object takes: types checked, unknown fields dropped |

pub mod prune;
mod scalar;
pub mod set;
pub mod text;
pub mod types;

pub use prune::{FieldTypeError, apply_defaults, prune};
pub(crate) use scalar::canonical;
pub use set::{Node, SchemaRef, SchemaSet};
pub use types::{Any, Field, ListType, MapType, PatchStrategy, Scalar, SchemaOr, Shape, Type, TypeId};
