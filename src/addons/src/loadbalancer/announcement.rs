//! What neighbours are told when an address comes to another machine. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All nodes of a link (RFC 4291, 2.7.1), and the Ethernet address of that group (RFC 2464, 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;

/// The Ethernet frame that tells everybody on a wire that an address is one's own.
pub fn frame(own: [u8; 6], address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => gratuitous(own, address),
        IpAddr::V6(address) => unsolicited(own, address),
    }
}

/// An ARP request for one's own address (RFC 5227, 2.3).
fn gratuitous(own: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend([0xff; 6]);
    frame.extend(own);
    // ARP; Ethernet and IPv4, addresses of 6 and 4 bytes; a request.
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(own);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// A neighbour advertisement that nobody asked for (RFC 4861, 4.4 and 7.2.6): it overrides what neighbours know.
fn unsolicited(own: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let mut message = Vec::with_capacity(32);
    // A neighbour advertisement; the checksum comes later; the flag "override".
    message.extend([136, 0, 0, 0, 0x20, 0, 0, 0]);
    message.extend(address.octets());
    // The target's link-layer address, an option of 8 bytes.
    message.extend([2, 1]);
    message.extend(own);
    let length = [0, 32];
    let mut pseudo = Vec::with_capacity(72);
    pseudo.extend(address.octets());
    pseudo.extend(ALL_NODES.octets());
    pseudo.extend([0, 0]);
    pseudo.extend(length);
    pseudo.extend([0, 0, 0, ICMPV6]);
    pseudo.extend(&message);
    let checksum = checksum(&pseudo).to_be_bytes();

    let mut frame = Vec::with_capacity(86);
    frame.extend(ALL_NODES_MAC);
    frame.extend(own);
    // IPv6; version 6.
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(length);
    // No router passes on what has this hop limit, so that receivers trust it.
    frame.extend([ICMPV6, 255]);
    frame.extend(address.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message.iter().take(2));
    frame.extend(checksum);
    frame.extend(message.iter().skip(4));
    frame
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn a_gratuitous_request_asks_for_its_own_address() {
        let frame = frame(OWN, "10.0.0.9".parse().unwrap());
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[12..14], [8, 6]);
        assert_eq!(frame[28..32], [10, 0, 0, 9]);
        assert_eq!(frame[38..], [10, 0, 0, 9]);
    }

    #[test]
    fn an_advertisement_overrides_and_is_summed() {
        let address: Ipv6Addr = "fd00::9".parse().unwrap();
        let frame = frame(OWN, address.into());
        assert_eq!(frame.len(), 86);
        assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(frame[18..22], [0, 32, 58, 255]);
        assert_eq!((&frame[22..38], &frame[62..78]), (&address.octets()[..], &address.octets()[..]));
        assert_eq!((frame[54], frame[58]), (136, 0x20));
        assert_eq!(frame[80..], OWN);
        // With the sum in its place the sum of all is zero.
        let mut pseudo = frame[22..54].to_vec();
        pseudo.extend([0, 0, 0, 32, 0, 0, 0, 58]);
        pseudo.extend(&frame[54..]);
        assert_eq!(checksum(&pseudo), 0);
    }
}
