//! How pods of different nodes reach each other.
//!
//! ```text
//!   10.1.1.0/24 via 192.168.7.3 dev eth0                  a node on our subnet: its packets go as they are
//!   10.1.2.0/24 via 10.1.2.0 dev knarr-vxlan onlink       a node elsewhere: VXLAN (RFC 7348)
//!     10.1.2.0 lladdr 02:4b:0a:01:02:00                   its end of the tunnel
//!     02:4b:0a:01:02:00 dst 192.168.8.2                   where that is
//!   unreachable 10.1.0.0/24                               our own range: what no pod has leads nowhere
//! ```
//!
//! Pods may have IPv4 addresses on nodes that have IPv6 ones only:
//!
//! ```text
//!   10.1.1.0/24 via inet6 fd00::3 dev eth0                a gateway of the other family (as RFC 8950 tells of them)
//!     02:4b:0a:01:02:00 dst fd00:8::2                     the tunnel over IPv6
//!   10.152.183.0/24 dev knarr-vxlan                       Services: a route for what the node itself sends to them
//! ```
//!
//! And IPv6 addresses on nodes of either:
//!
//! ```text
//!   fd00:10:1:1::/64 via fd00::3 dev eth0                 a node on our subnet that has an IPv6 address
//!   fd00:10:1:2::/64 via fe80::4b:aff:fe01:200 dev knarr-vxlan    any other: the tunnel, and the same end of it
//!   fd00:10:152::/112 dev knarr-vxlan                     Services, on a node without an IPv6 address
//! ```
//!
//! All of it follows from the Node objects: the MAC of a node's end is made of its pod CIDR, so that no node has to
//! tell others anything, and a node that changes its address changes one entry of the others.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | what the kernel should have, and the steps from what it has: pure |
//! | [`kernel`] | reading and changing what it has, by netlink |

mod kernel;
mod plan;

pub(crate) use kernel::{DEVICE, remove};
pub use kernel::{changes, follow};
pub use plan::Member;
