//! The Container Runtime Interface (CRI v1) as Knarr's kubelet uses it, and the containerd that Knarr runs.
//!
//! What lives here:
//!
//! | module | job |
//! |---|---|
//! | [`runtime`] | the [`Runtime`] and [`Images`] traits: CRI rpcs with typed errors and a deadline each |
//! | [`client`] | [`Client`]: both traits over gRPC on a unix socket |
//! | [`containerd`] | configuration, supervision and adoption of Knarr's own containerd |
//! | [`image`] | packing the running executable as an OCI image; import and export of image archives |
//! | [`streaming`] | SPDY/3.1 framing and the client of the runtime's streaming server (exec, attach, port-forward) |
//!
//! What it is not: pod workers, image policy and back-off are the kubelet's; pod networking is crate `cni`.
//! Upstream counterpart: `k8s.io/cri-client` and the part of k3s that looks after containerd.

pub mod client;
pub mod containerd;
pub mod error;
pub mod image;
pub mod runtime;
pub mod streaming;

pub use client::Client;
pub use error::{CriError, Result};
/// The generated CRI v1 messages.
pub use k8s_cri::v1;
pub use runtime::{ExecOutput, Images, Runtime};
