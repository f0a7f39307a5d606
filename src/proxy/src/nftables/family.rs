//! nftables' words for IPv4 and IPv6.

use apimachinery::family::Family;
use std::net::SocketAddr;

/// The name of our table, in each family.
const TABLE: &str = "knarr-proxy";

/// What nftables says of a family; each has a table of its own.
pub(crate) trait NftFamily {
    /// Family and name of the table, as commands want it.
    fn table(self) -> String;

    /// nft's word for the family, and for matching its header.
    fn ip(self) -> &'static str;

    /// nft's type of an address.
    fn address_type(self) -> &'static str;

    /// What of it never leaves the node.
    fn loopback(self) -> &'static str;
}

impl NftFamily for Family {
    fn table(self) -> String {
        format!("{} {TABLE}", self.ip())
    }

    fn ip(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.0/8",
            Self::V6 => "::1",
        }
    }
}

/// An endpoint as part of a name, where colons are not allowed.
pub(crate) fn endpoint_in_name(endpoint: &SocketAddr) -> String {
    format!("{}/{}", endpoint.ip().to_string().replace(':', "."), endpoint.port())
}
