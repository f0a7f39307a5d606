//! CustomResourceDefinitions as data and pure functions: structural schemas, what is wrong with a definition, and
//! what custom resources go through: pruning, defaulting, validation with ratcheting.
//!
//! No I/O: serving what a definition defines is `apiserver`'s affair. Upstream counterpart: the pure half of
//! `k8s.io/apiextensions-apiserver` and the parts of `k8s.io/kube-openapi/pkg/validation` that it uses.
//!
//! ```text
//! openAPIV3Schema ──parse──► StructuralSchema ──► prune, default            (on decode)
//!                                  │         └──► CustomResourceValidator   (on write)
//!                                  └─────────────► to_engine_schema         (apply, pruning of the engine)
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`definition`] | what is wrong with a definition |
//! | [`schema`] | [`StructuralSchema`]: the type and its reading from JSON |
//! | [`structural`] | the rules by which a schema is structural |
//! | [`pruning`], [`defaulting`] | what a decoded object goes through |
//! | [`object_meta`], [`list_type`] | rules of embedded objects; sets and maps in lists |
//! | [`validation`] | values against a schema, with ratcheting |
//! | [`rules`] | `x-kubernetes-validations`: rules in CEL |
//! | [`formats`] | formats of texts |
//! | [`pattern`] | regular expressions of Go's syntax |
//! | [`engine`] | a schema as the engine's own type |

mod custom_resource;
pub mod defaulting;
pub mod definition;
pub mod engine;
pub mod formats;
mod json;
pub mod list_type;
pub mod object_meta;
mod parse;
pub mod pattern;
pub mod pruning;
pub mod rules;
pub mod schema;
pub mod structural;
pub mod validation;

pub use custom_resource::CustomResourceValidator;
pub use defaulting::{default, drop_nulls};
pub use definition::{
    validate_create as validate_crd_create, validate_status_update as validate_crd_status_update,
    validate_update as validate_crd_update,
};
pub use engine::to_engine_schema;
pub use object_meta::ObjectMeta;
pub use parse::SchemaError;
pub use pruning::prune;
pub use schema::StructuralSchema;
