//! Backups as files: what is in one, whether it is whole, where it is kept and for how long.
//!
//! - Purpose: the archive with its manifest; folders and S3 buckets that keep archives.
//! - Not here: copying the datastore's state and bringing it back (crate `datastore`), who may ask for it (crate `cli`).
//! - Upstream counterpart: k3s' etcd snapshots.
//!
//! ```text
//!  state.db, pki/*, configuration --> archive::write --> tar, compressed --> archive::unpack --> a folder, checked
//! ```
//!
//! | module | what |
//! |---|---|
//! | `manifest` | what a backup says of itself |
//! | `archive` | writing one, and unpacking one that is not believed |
//! | `names` | what kept backups are called, and which are too many |
//! | `s3` | object storage |

pub mod archive;
pub mod manifest;
pub mod names;
pub mod s3;

pub use archive::{Form, Member, UnpackError, unpack, write};
pub use manifest::{Manifest, MemberEntry, Version};
