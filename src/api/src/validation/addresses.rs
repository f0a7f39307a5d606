//! IP addresses and networks as Kubernetes 1.36 takes them (KEP-4858, `StrictIPCIDRValidation`): no leading zeros, no
//! IPv4 addresses in IPv6 clothes, no bits beyond a network's prefix. What an object already holds may stay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ADDRESS_FORM: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NETWORK_FORM: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A network: its address, and the length of its prefix in bits.
pub type Network = (IpAddr, u8);

/// The address in a text that may have leading zeros.
fn sloppy_ip(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let octets: Vec<u8> = text
        .split('.')
        .map(|part| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten())
        .collect::<Option<_>>()?;
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// What is wrong with an address.
pub fn strict_ip(text: &str) -> Vec<String> {
    match text.parse() {
        Ok(ip) if is_mapped(ip) => vec!["must not be an IPv4-mapped IPv6 address".to_owned()],
        Ok(_) => Vec::new(),
        Err(_) if sloppy_ip(text).is_some() => vec!["must not have leading 0s".to_owned()],
        Err(_) => vec![ADDRESS_FORM.to_owned()],
    }
}

/// What is wrong with an address that has to be written in the one canonical way (RFC 5952).
pub fn canonical_ip(text: &str) -> Vec<String> {
    let problems = strict_ip(text);
    match text.parse::<IpAddr>() {
        Ok(ip) if problems.is_empty() && ip.to_string() != text => {
            vec![format!("must be in canonical form (\"{ip}\")")]
        }
        _ => problems,
    }
}

/// The network in a text that may have leading zeros, and bits beyond the prefix.
pub fn sloppy_network(text: &str) -> Option<Network> {
    let (ip, length) = text.split_once('/')?;
    let ip = sloppy_ip(ip)?;
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let length = length.parse().ok().filter(|length| digits && *length <= address_bits(ip))?;
    Some((ip, length))
}

fn address_bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// An address with nothing but the first `length` bits.
fn masked(ip: IpAddr, length: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

/// Whether one network lies within another and is smaller.
pub fn is_strict_subset((ip, length): Network, (whole, whole_length): Network) -> bool {
    ip.is_ipv4() == whole.is_ipv4()
        && length > whole_length
        && masked(ip, whole_length) == masked(whole, whole_length)
}

/// What is wrong with a network.
pub fn strict_cidr(text: &str) -> Vec<String> {
    let Some((ip, length)) = sloppy_network(text) else { return vec![NETWORK_FORM.to_owned()] };
    let (address, digits) = text.split_once('/').unwrap_or((text, ""));
    let problem = if address.parse::<IpAddr>().is_err() || digits != length.to_string() {
        "must not have leading 0s in IP or prefix length"
    } else if is_mapped(ip) {
        "must not have an IPv4-mapped IPv6 address"
    } else if masked(ip, length) != ip {
        "must not have bits set beyond the prefix length"
    } else {
        return Vec::new();
    };
    vec![problem.to_owned()]
}

/// What is wrong with a network that has to be written in the one canonical way.
pub fn canonical_cidr(text: &str) -> Vec<String> {
    let problems = strict_cidr(text);
    match sloppy_network(text) {
        Some((ip, length)) if problems.is_empty() && format!("{ip}/{length}") != text => {
            vec![format!("must be in canonical form (\"{ip}/{length}\")")]
        }
        _ => problems,
    }
}

/// A warning about an IPv6 address that is right but not as RFC 5952 writes it, at the path that `path` tells.
pub fn ip_warning(text: &str, path: impl FnOnce() -> String) -> Option<String> {
    let ip = text.parse::<Ipv6Addr>().ok()?.to_string();
    (ip != text).then(|| {
        format!("{}: IPv6 address \"{text}\" should be in RFC 5952 canonical format (\"{ip}\")", path())
    })
}

/// The same for a network.
pub fn cidr_warning(text: &str, path: impl FnOnce() -> String) -> Option<String> {
    let (ip, length) = sloppy_network(text).filter(|(ip, _)| ip.is_ipv6())?;
    let canonical = format!("{ip}/{length}");
    (canonical != text).then(|| {
        format!(
            "{}: IPv6 CIDR value \"{text}\" should be in RFC 5952 canonical format (\"{canonical}\")",
            path()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_without_zeros_in_front() {
        assert!(strict_ip("10.0.0.1").is_empty() && strict_ip("2001:0db8::1").is_empty());
        assert_eq!(strict_ip("10.0.0.01"), ["must not have leading 0s"]);
        assert_eq!(strict_ip("::ffff:1.2.3.4"), ["must not be an IPv4-mapped IPv6 address"]);
        assert_eq!(strict_ip("x"), [ADDRESS_FORM]);
        assert_eq!(strict_ip("1.2.3"), [ADDRESS_FORM]);
        assert_eq!(canonical_ip("2001:0db8::1"), ["must be in canonical form (\"2001:db8::1\")"]);
        assert!(canonical_ip("2001:db8::1").is_empty());
    }

    #[test]
    fn networks_hold_no_bits_beyond_their_prefix() {
        assert!(strict_cidr("10.0.0.0/8").is_empty() && strict_cidr("0.0.0.0/0").is_empty());
        assert_eq!(strict_cidr("10.0.0.1/24"), ["must not have bits set beyond the prefix length"]);
        assert_eq!(strict_cidr("10.0.0.0/08"), ["must not have leading 0s in IP or prefix length"]);
        assert_eq!(strict_cidr("10.00.0.0/8"), ["must not have leading 0s in IP or prefix length"]);
        assert_eq!(strict_cidr("::ffff:1.2.3.0/120"), ["must not have an IPv4-mapped IPv6 address"]);
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "fd00::/129"] {
            assert_eq!(strict_cidr(bad), [NETWORK_FORM], "{bad}");
        }
        assert_eq!(canonical_cidr("FD00::/64"), ["must be in canonical form (\"fd00::/64\")"]);
    }

    #[test]
    fn a_subset_is_smaller_and_within() {
        let is = |a: &str, b: &str| is_strict_subset(sloppy_network(a).unwrap(), sloppy_network(b).unwrap());
        assert!(is("10.1.0.0/16", "10.0.0.0/8"));
        assert!(!is("10.0.0.0/8", "10.0.0.0/8"));
        assert!(!is("11.0.0.0/16", "10.0.0.0/8"));
        assert!(is("fd00::/64", "::/0"));
    }

    #[test]
    fn unusual_spellings_are_warned_of() {
        let told = cidr_warning("FD00::/64", || "spec.x".to_owned()).unwrap();
        assert_eq!(
            told,
            "spec.x: IPv6 CIDR value \"FD00::/64\" should be in RFC 5952 canonical format (\"fd00::/64\")"
        );
        assert_eq!(ip_warning("fd00::1", String::new), None);
    }
}
