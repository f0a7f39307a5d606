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
//! All of it follows from the Node objects: the MAC of a node's end is made of its pod CIDR, so that no node has to
//! tell others anything, and a node that changes its address changes one entry of the others.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | what the kernel should have, and the steps from what it has: pure |
//! | [`kernel`] | reading and changing what it has, by netlink |

mod kernel;
mod plan;

pub(crate) use kernel::remove;
pub use kernel::{changes, follow};
pub use plan::Member;
