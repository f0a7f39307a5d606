//! The node's addresses, and their changes.

use futures::Stream;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::net::IpAddr;
use std::time::Duration;

/// How often addresses are looked at: a change shows within seconds, at the cost of one system call.
const PERIOD: Duration = Duration::from_secs(2);
/// Unchanged addresses are told again after this, so that certificates are renewed in time.
const REPEAT: Duration = Duration::from_secs(12 * 3600);
/// What the names of the pod network's links begin with.
const POD_NETWORK: &str = "knarr";

/// The address of the interface that the default route leads through: IPv4's, or IPv6's without one.
pub fn primary() -> Option<IpAddr> {
    primary_v4().or_else(kubelet::primary_v6)
}

fn primary_v4() -> Option<IpAddr> {
    let routes = std::fs::read_to_string("/proc/net/route").ok()?;
    let interface = cni::uplink(&routes)?;
    interfaces()
        .into_iter()
        .find(|(name, address)| *name == interface && address.is_ipv4())
        .map(|(_, address)| address)
}

/// All addresses of the node but loopback and link-local ones.
pub fn all() -> Vec<IpAddr> {
    sorted(interfaces())
}

/// Those of them that lead to the node from outside of the cluster: not through the pod network.
pub fn outside() -> Vec<IpAddr> {
    sorted(interfaces().into_iter().filter(|(interface, _)| !interface.starts_with(POD_NETWORK)).collect())
}

fn sorted(found: Vec<(String, IpAddr)>) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = found.into_iter().map(|(_, address)| address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The node's addresses now, at each change, and from time to time.
pub fn watch() -> impl Stream<Item = Vec<IpAddr>> {
    let start = (Vec::new(), tokio::time::Instant::now());
    futures::stream::unfold(start, |(mut told, mut at): (Vec<IpAddr>, _)| async move {
        loop {
            let now = all();
            if now != told || at.elapsed() >= REPEAT {
                told.clone_from(&now);
                at = tokio::time::Instant::now();
                return Some((now, (told, at)));
            }
            tokio::time::sleep(PERIOD).await;
        }
    })
}

/// Waits until the address of the default route is another one than `known`, and answers it. None at all is no change: a
/// cable may be out, and none of IPv4 alone is none either.
pub async fn moved(known: IpAddr) -> IpAddr {
    let mut before = None;
    loop {
        tokio::time::sleep(PERIOD).await;
        let now = if known.is_ipv4() { primary_v4() } else { primary() };
        let now = now.filter(|now| *now != known);
        // Twice in a row: what is under way has come to its end.
        if let (Some(now), true) = (now, before == now) {
            return now;
        }
        before = now;
    }
}

fn interfaces() -> Vec<(String, IpAddr)> {
    let Ok(found) = getifaddrs() else { return Vec::new() };
    found
        .filter(|i| {
            i.flags.contains(InterfaceFlags::IFF_UP) && !i.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
        .filter_map(|i| {
            let address = i.address?;
            let address = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (_, Some(v6)) => IpAddr::V6(v6.ip()),
                _ => return None,
            };
            let local = match address {
                IpAddr::V4(address) => address.is_link_local(),
                IpAddr::V6(address) => address.is_unicast_link_local(),
            };
            (!local).then_some((i.interface_name, address))
        })
        .collect()
}
