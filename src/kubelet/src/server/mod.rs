//! The kubelet's HTTPS server on port 10250.
//!
//! Upstream counterpart: `k8s.io/kubernetes/pkg/kubelet/server`, with the streaming library of
//! `k8s.io/kubelet/pkg/cri/streaming` for what clients see.
//!
//! ```text
//!   API server ── GET /exec/NS/POD/C (WebSocket v5 | v4, or SPDY/3.1) ──> here ── SPDY/3.1 ──> container runtime
//! ```
//!
//! | module | job |
//! |---|---|
//! | [`serve`] | TLS, connections, shutdown |
//! | `auth` | who asks (client certificate, or TokenReview), and may they (SubjectAccessReview) |
//! | `route` | paths to handlers |
//! | [`health`] | the port for this machine's own questions |
//! | [`pod_source`] | [`PodSource`]: what the server asks of the kubelet |
//! | [`stats`] | usage of node, pods and containers: collection, Summary API and resource metrics |
//! | [`logs`] | container logs out of CRI log files |
//! | `remote` | exec, attach and port-forward |
//! | [`image_archives`] | archives of images that other nodes send |

mod auth;
pub mod health;
pub mod image_archives;
pub mod logs;
pub mod pod_source;
pub mod remote;
mod respond;
mod route;
pub mod serve;
pub mod stats;
#[cfg(test)]
mod tests;

pub use image_archives::{ImageArchives, ImageImporter};
pub use pod_source::{ContainerHandle, ContainerInstance, PodHandle, PodSource};
pub use serve::{Server, ServerConfig, ServerError};
