//! The kubelet's HTTPS server on port 10250.
//!
//! | module | job |
//! |---|---|
//! | [`pod_source`] | [`PodSource`]: what the server asks of the kubelet |
//! | [`stats`] | usage of node, pods and containers: collection, Summary API and resource metrics |

pub mod pod_source;
pub mod stats;

pub use pod_source::{ContainerHandle, ContainerInstance, PodHandle, PodSource};
