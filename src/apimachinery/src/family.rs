//! The two families of IP addresses (core/v1 `IPFamily`, KEP-563).

use std::fmt;
use std::net::IpAddr;

/// A family of IP addresses. In order, IPv4 comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Reads the name that [`Self::name`] gives; None for any other.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// As a Service's `ipFamilies` and an EndpointSlice's `addressType` name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The one that it is not.
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// Whether an address belongs to it.
    pub fn has(self, address: &IpAddr) -> bool {
        Self::of(*address) == self
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_one_family() {
        for (address, family) in
            [("10.0.0.1", Family::V4), ("fd00::1", Family::V6), ("::ffff:10.0.0.1", Family::V6)]
        {
            let address = address.parse().unwrap();
            assert_eq!(Family::of(address), family);
            assert!(family.has(&address) && !family.other().has(&address));
        }
    }

    #[test]
    fn names_are_those_of_the_api() {
        assert_eq!(Family::ALL.map(|family| family.to_string()), ["IPv4", "IPv6"]);
        for family in Family::ALL {
            assert_eq!(Family::parse(family.name()), Some(family));
        }
        assert_eq!(["", "ipv4", "FQDN"].map(Family::parse), [None; 3]);
    }
}
