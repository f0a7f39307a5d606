//! `storage.k8s.io`.

use crate::Kind;

mod attachment_rules;
mod csi_driver;
mod csi_node;
mod csi_storage_capacity;
mod parameters;
mod storage_class;
mod topologies;
mod volume_attachment;
mod volume_attributes_class;

/// The kinds of this group that have a file of their own.
pub(crate) const KINDS: &[&dyn Kind] = &[
    &csi_driver::CSIDriver,
    &csi_node::CSINode,
    &csi_storage_capacity::CSIStorageCapacity,
    &storage_class::StorageClass,
    &volume_attachment::VolumeAttachment,
    &volume_attributes_class::VolumeAttributesClass,
];
