//! Ranges of addresses. Pure.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

/// The addresses that may be given to Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<RangeInclusive<u32>>);

impl Ranges {
    /// Reads `FIRST-LAST`, CIDRs and single addresses, separated by commas. Of a CIDR all addresses can be given.
    ///
    /// # Errors
    /// Tells what is none, and that IPv6 is not announced yet.
    pub fn read(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(range).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.0.iter().any(|range| range.contains(&address.to_bits()))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.0.iter().cloned().flatten().map(Ipv4Addr::from_bits)
    }
}

fn range(text: &str) -> Result<RangeInclusive<u32>, String> {
    let wrong = || format!("{text:?} is no range of addresses");
    let address = |text: &str| match text.trim().parse() {
        Ok(IpAddr::V4(address)) => Ok(address.to_bits()),
        Ok(IpAddr::V6(_)) => Err(format!("{text}: IPv6 addresses are not announced yet")),
        Err(_) => Err(wrong()),
    };
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (address(first)?, address(last)?);
        return if first <= last { Ok(first..=last) } else { Err(wrong()) };
    }
    match text.parse::<IpNet>() {
        Ok(IpNet::V4(net)) => Ok(net.network().to_bits()..=net.broadcast().to_bits()),
        Ok(IpNet::V6(_)) => Err(format!("{text}: IPv6 addresses are not announced yet")),
        Err(_) => address(text).map(|address| address..=address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_in_three_ways() {
        let ranges = Ranges::read("10.0.0.1-10.0.0.2, 10.0.1.0/31,10.0.2.7").unwrap();
        let all: Vec<String> = ranges.iter().map(|address| address.to_string()).collect();
        assert_eq!(all, ["10.0.0.1", "10.0.0.2", "10.0.1.0", "10.0.1.1", "10.0.2.7"]);
        assert!(
            ranges.contains("10.0.1.1".parse().unwrap()) && !ranges.contains("10.0.0.3".parse().unwrap())
        );
        assert!(Ranges::read("").unwrap().is_empty());
        for bad in ["10.0.0.2-10.0.0.1", "x", "10.0.0.0/40", "fd00::1", "fd00::/64"] {
            assert!(Ranges::read(bad).is_err(), "{bad}");
        }
    }
}
