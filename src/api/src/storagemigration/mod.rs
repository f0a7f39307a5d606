//! `storagemigration.k8s.io`.

use crate::Kind;

mod storage_version_migration;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[&storage_version_migration::StorageVersionMigration];
