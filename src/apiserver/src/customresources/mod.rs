//! Custom resources: serving what CustomResourceDefinitions define, by the same engine as everything else.
//!
//! The rules for schemas and objects are in the `apiextensions` crate; here definitions are followed, named and
//! served, and objects of one version are read from and written to the store in another.
//!
//! ```text
//! definitions --feed--> controller --names, conditions--> status
//!                           |--> CustomResource (all versions) --> Served, in the table of what is served
//!                           '--> cleanup: objects first, then the definition
//! stored bytes --> CustomVersion: refresh, convert --> what clients of a version see
//! ```
//!
//! | module | what |
//! |---|---|
//! | `definition` | a definition as serving needs it |
//! | `names` | names, conflicts, conditions |
//! | `controller` | follows definitions, swaps the table |
//! | `version` | one version; reading and writing its objects |
//! | `kind` | the same as a `Kind` |
//! | `versions` | managers of fields in other versions |
//! | `convert` | conversion between versions |
//! | `columns` | table columns |
//! | `cleanup` | deletion of what was defined |
//! | `structure` | violations of structural schemas |
//! | `openapi` | published schemas |
//! | `system` | the server's own writes |
//!
//! Upstream counterpart: `k8s.io/apiextensions-apiserver/pkg/{apiserver,controller,registry}`.

mod cleanup;
mod columns;
mod controller;
mod convert;
mod definition;
mod kind;
mod names;
mod openapi;
mod structure;
mod system;
mod version;
mod versions;

pub(crate) use controller::CustomResources;
pub(crate) use names::begin_deletion;
pub(crate) use openapi::published;
pub(crate) use version::{CustomVersion, Read, keep_metadata};
pub(crate) use versions::Conversions;
