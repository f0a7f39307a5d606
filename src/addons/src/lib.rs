//! Add-ons: the engine that enables and disables them, and the servers that their pods run.
//!
//! The manifests lie in the top-level folder `addons/`, one folder an add-on; they are part of the binary.
//!
//! | module | what |
//! |---|---|
//! | [`arguments`] | what people write after an add-on's name |
//! | [`catalog`] | what add-ons there are, with their arguments and manifests |
//! | [`render`] | manifests with arguments and settings put in |
//! | [`engine`] | server-side apply with pruning, waiting for readiness, removal |
//! | [`engine::manifests`] | a folder of manifests that is applied when it changes |
//! | [`helm`] | releases of Helm charts as custom resources |
//! | [`repositories`] | add-ons that others make |
//! | [`http`] | what the servers serve HTTP with |
//! | [`resident`] | what of the program is in memory |
//! | [`relay`] | what proxies do with the heads of messages |
//! | [`dashboard`] | the server of the `dashboard` add-on, and its page |
//! | [`dns`] | the server of the `dns` add-on |
//! | [`host_access`] | the address of the `host-access` add-on |
//! | [`hostpath`] | the provisioner of the `hostpath-storage` add-on |
//! | [`ingress`] | the proxy of the `ingress` add-on |
//! | [`loadbalancer`] | the servers of the `loadbalancer` add-on |
//! | [`metrics_server`] | the server of the `metrics-server` add-on |
//! | [`registry`] | the server of the `registry` add-on |

pub mod arguments;
pub mod catalog;
mod conditions;
pub mod dashboard;
pub mod dns;
pub mod engine;
pub mod helm;
pub mod host_access;
pub mod hostpath;
pub mod http;
pub mod ingress;
pub mod loadbalancer;
pub mod metrics_server;
pub mod registry;
pub mod relay;
pub mod render;
pub mod repositories;
pub mod resident;
mod self_signed;
#[cfg(test)]
mod testing;

#[cfg(test)]
#[allow(dead_code, reason = "shared with the crate's tests, which use more of it")]
#[path = "../tests/in_process/wire.rs"]
mod wire;
