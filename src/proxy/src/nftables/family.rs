//! What differs between IPv4 and IPv6.

use std::net::{IpAddr, SocketAddr};

/// The name of our table, in each family.
const TABLE: &str = "knarr-proxy";

/// An address family; each has a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Family and name of the table, as commands want it.
    pub(crate) fn table(self) -> String {
        format!("{} {TABLE}", self.ip())
    }

    /// nft's word for the family, and for matching its header.
    pub(crate) fn ip(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// nft's type of an address.
    pub(crate) fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    pub(crate) fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.0/8",
            Self::V6 => "::1",
        }
    }

    /// Whether an address belongs to it.
    pub(crate) fn has(self, address: &IpAddr) -> bool {
        address.is_ipv6() == (self == Self::V6)
    }
}

/// An endpoint as part of a name, where colons are not allowed.
pub(crate) fn endpoint_in_name(endpoint: &SocketAddr) -> String {
    format!("{}/{}", endpoint.ip().to_string().replace(':', "."), endpoint.port())
}
