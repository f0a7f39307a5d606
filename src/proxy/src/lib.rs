//! The service proxy: Services and their endpoints, and NetworkPolicies, as nftables rules on every node.
//!
//! - Purpose: ClusterIP, NodePort, externalIPs and load balancer addresses, session affinity, internal and
//!   external traffic policies, terminating endpoints (KEP-1669), in the manner of kube-proxy's nftables mode
//!   (KEP-3866).
//! - [`policy`]: NetworkPolicies, in a table of their own.
//! - Not here: the pod network (crate `cni`), DNS.
//! - Upstream counterpart: `k8s.io/kubernetes/pkg/proxy` with `pkg/proxy/nftables`.
//!
//! ```text
//!  Services, EndpointSlices (informers)
//!        |                 |
//!  service_change_    endpoints_change_      pure
//!    tracker            tracker
//!        \________  ________/
//!                 \/
//!     endpoints::reachable -> nftables::render -> nftables::ShadowTable -- diff --> one `nft -f -`
//! ```
//!
//! A change costs what it changes: the chains of its service and some map elements. The table is written as a
//! whole only at the start, in one transaction, and when somebody else has damaged it. Rules stay when the
//! process ends; [`cleanup`] removes them.
//!
//! | module | what |
//! |---|---|
//! | `service` | one port of a Service, as far as it matters here |
//! | `service_change_tracker` | Services by name, and which have changed |
//! | `endpoints_change_tracker` | EndpointSlices by service, and which have changed |
//! | `endpoints` | which endpoints a port leads to |
//! | `nftables` | rules as text, the shadow of the kernel's table, `nft` |
//! | `conntrack` | forgetting UDP flows that lead nowhere |
//! | `proxier` | the loop |
//! | [`policy`] | NetworkPolicies |

mod conntrack;
mod endpoints;
mod endpoints_change_tracker;
mod nftables;
pub mod policy;
mod proxier;
mod service;
mod service_change_tracker;

pub use nftables::NftError;
pub use proxier::{Config, ProxyError, cleanup, run};
