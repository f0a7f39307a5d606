//! The core group, and events of `events.k8s.io`, which are the same objects: one line per kind.

mod component_status;
mod config_map;
mod endpoints;
mod event;
mod key_pair;
mod limit_range;
pub mod namespace;
mod node;
mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod;
mod pod_template;
pub(crate) mod pod_warnings;
mod replication_controller;
mod resource_quota;
mod secret;
pub mod service;
mod service_account;

use crate::kind::Kind;

/// Every kind of the group that has its own file.
pub(crate) const KINDS: &[&dyn Kind] = &[
    &component_status::ComponentStatus,
    &config_map::ConfigMap,
    &endpoints::Endpoints,
    &event::Event { group: "" },
    &event::Event { group: "events.k8s.io" },
    &limit_range::LimitRange,
    &namespace::Namespace,
    &node::Node,
    &persistent_volume::PersistentVolume,
    &persistent_volume_claim::PersistentVolumeClaim,
    &pod::Pod,
    &pod_template::PodTemplate,
    &replication_controller::ReplicationController,
    &resource_quota::ResourceQuota,
    &secret::Secret,
    &service::Service,
    &service_account::ServiceAccount,
];
