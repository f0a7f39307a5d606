//! Server-side apply: who owns which field, and what an applied configuration does to an object.
//!
//! KEP-555; upstream counterparts are `sigs.k8s.io/structured-merge-diff` and
//! `k8s.io/apimachinery/pkg/util/managedfields`.
//!
//! | module | what |
//! |---|---|
//! | [`apply()`] | merges an applied configuration, finds conflicts, removes what it no longer has |
//! | [`update()`] | tracks any other write |
//! | [`field_set`] | a set of fields, in the `FieldsV1` form it is stored in |
//! | [`path`] | one step of a path to a field |
//! | `atom` | how the parts of a value are owned, by schema |
//! | `compare` | which fields a write added, changed and removed |
//! | `extract` | the fields of a configuration, checked against the schema |
//! | `merge` | a configuration onto an object, and fields out of one |
//! | [`overlay()`] | merges a configuration that nobody comes to own |
//! | `entry` | one manager's entry in `metadata.managedFields` |
//! | [`versions`] | managers of versions whose fields differ |
//! | `conflict` | conflicts in the words of kube-apiserver |

mod apply;
mod atom;
mod compare;
mod conflict;
mod entry;
mod extract;
pub mod field_set;
mod last_applied;
mod merge;
mod overlay;
pub mod path;
mod update;
pub mod versions;

pub use apply::{Apply, Unfinished, apply, apply_to_versions};
pub use field_set::FieldSet;
pub use overlay::overlay;
pub use update::{update, update_versions};

#[cfg(test)]
mod fixture;
