//! Ranges of addresses. Pure.

use apimachinery::family::Family;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// An interface's part of an IPv6 address, as RFC 4291, 2.5.1 has it.
const INTERFACE_BITS: u8 = 64;

/// The addresses that may be given to Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    v4: Vec<RangeInclusive<Ipv4Addr>>,
    v6: Vec<RangeInclusive<Ipv6Addr>>,
}

impl Ranges {
    /// Reads `FIRST-LAST`, CIDRs and single addresses of both families, separated by commas. Of a CIDR all addresses can
    /// be given, but for the one that every router of an IPv6 network answers to (RFC 4291, 2.6.1).
    ///
    /// # Errors
    /// Tells what is none, and which cannot be given.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut all = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match ends(part).ok_or_else(|| format!("{part:?} is no range of addresses"))? {
                (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => all.v4.push(first..=last),
                (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                    if first.is_unicast_link_local() || last.is_unicast_link_local() {
                        return Err(format!("{part:?} is of addresses that every link has for itself"));
                    }
                    all.v6.push(first..=last);
                }
                _ => return Err(format!("{part:?} is no range of addresses")),
            }
        }
        Ok(all)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.iter().any(|range| range.contains(&address)),
            IpAddr::V6(address) => self.v6.iter().any(|range| range.contains(&address)),
        }
    }

    /// All of a family, in order.
    pub fn iter(&self, family: Family) -> Box<dyn Iterator<Item = IpAddr> + '_> {
        match family {
            Family::V4 => Box::new(self.v4.iter().cloned().flatten().map(IpAddr::V4)),
            Family::V6 => Box::new(self.v6.iter().cloned().flatten().map(IpAddr::V6)),
        }
    }
}

/// The first and the last one of a range.
fn ends(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once('-') {
        return Some((first.trim().parse().ok()?, last.trim().parse().ok()?));
    }
    match text.parse() {
        Ok(IpNet::V4(net)) => Some((net.network().into(), net.broadcast().into())),
        Ok(IpNet::V6(net)) => {
            let routers = net.prefix_len() <= INTERFACE_BITS;
            let first = Ipv6Addr::from_bits(net.network().to_bits() | u128::from(routers));
            Some((first.into(), net.broadcast().into()))
        }
        Err(_) => text.parse().ok().map(|address| (address, address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ranges: &Ranges, family: Family) -> Vec<String> {
        ranges.iter(family).map(|address| address.to_string()).collect()
    }

    #[test]
    fn ranges_are_written_in_three_ways() {
        let ranges =
            Ranges::read("10.0.0.1-10.0.0.2, 10.0.1.0/31,fd00::10 - fd00::11,10.0.2.7,fd00::20/127,fd00:1::");
        let ranges = ranges.unwrap();
        let v4 = ["10.0.0.1", "10.0.0.2", "10.0.1.0", "10.0.1.1", "10.0.2.7"];
        assert_eq!(all(&ranges, Family::V4), v4);
        let v6 = ["fd00::10", "fd00::11", "fd00::20", "fd00::21", "fd00:1::"];
        assert_eq!(all(&ranges, Family::V6), v6);
        for (address, there) in
            [("10.0.1.1", true), ("10.0.0.3", false), ("fd00::21", true), ("fd00::12", false)]
        {
            assert_eq!(ranges.contains(address.parse().unwrap()), there, "{address}");
        }
        assert!(Ranges::read("").unwrap().is_empty());
        for one in ["10.0.0.1", "fd00::1"] {
            assert!(!Ranges::read(one).unwrap().is_empty(), "{one}");
        }
        for bad in
            ["10.0.0.2-10.0.0.1", "x", "10.0.0.0/40", "fd00::2-fd00::1", "10.0.0.1-fd00::1", "fd00::/129"]
        {
            assert!(Ranges::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_routers_own_address_and_those_of_a_link_are_not_given() {
        let ranges = Ranges::read("fd00:2::/64").unwrap();
        assert_eq!(ranges.iter(Family::V6).next(), Some("fd00:2::1".parse().unwrap()));
        assert!(ranges.contains("fd00:2::ffff:ffff:ffff:ffff".parse().unwrap()));
        for local in ["fe80::1", "fe80::/64", "fe00::-fe80::9"] {
            assert!(Ranges::read(local).is_err(), "{local}");
        }
    }
}
