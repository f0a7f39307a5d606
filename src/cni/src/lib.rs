//! The pod network: the CNI plugin `knarr-cni` that the container runtime calls, and what the node needs
//! around it.
//!
//! ```text
//!   pod namespace                        host
//!   eth0 10.1.0.7/32  ── veth ──  knarrXXXXXXXX   route 10.1.0.7/32 dev knarrXXXXXXXX
//!   default via 169.254.1.1 (a permanent neighbour: the host end, whose MAC is always the same)
//!   eth0 fd00:10:1::7/128                            route fd00:10:1::7 dev knarrXXXXXXXX
//!   default via fe80::4b:a9ff:fefe:101 (the same end)
//! ```
//!
//! There is no bridge: every packet of a pod passes the host's prerouting, so Services work for pods of one
//! node too. Addresses come from the node's pod CIDR (CNI specification 1.0.0, also spoken as 0.4.0).
//!
//! | module | what |
//! |---|---|
//! | [`plugin`] | the commands ADD, DEL, CHECK, VERSION |
//! | [`protocol`] | what the runtime says (environment, standard input) |
//! | [`ipam`] | addresses, kept as files |
//! | [`link`] | veth, addresses and routes by netlink |
//! | [`nodes`] | routes and the tunnel to pods of other nodes |
//! | [`host_ports`] | ports of the host that lead to pods, in nftables |
//! | [`host`] | forwarding and masquerading on the node, and their removal |
//! | `forwarding` | exceptions in the firewalls of others |
//! | [`garbage`] | what sandboxes left that are gone without a DEL |
//! | [`configuration`] | the network configuration that the runtime reads |

pub mod configuration;
mod forwarding;
pub mod garbage;
pub mod host;
mod host_ports;
pub mod ipam;
mod link;
mod mtu;
mod nft;
pub mod nodes;
mod plugin;
pub mod protocol;

pub use host::cleanup;
pub use mtu::uplink;
pub use plugin::{is_plugin_call, main};

/// Name that the plugin is called by, and of its network.
pub const PLUGIN: &str = "knarr-cni";

/// Name that containerd calls the plugin by that sets up `lo`.
pub const LOOPBACK: &str = "loopback";
