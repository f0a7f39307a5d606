//! The largest packet that the node's uplink takes.

/// MTU of the interface with the default route, of IPv6 if IPv4 has none; None without one, which leaves the kernel's
/// default.
pub fn of_uplink() -> Option<u32> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    let (routes, routes_v6) = (read("route"), read("ipv6_route"));
    let interface = uplink(&routes).or_else(|| uplink_v6(&routes_v6))?;
    std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu")).ok()?.trim().parse().ok()
}

/// The interface of the default route with the lowest metric, in the text of `/proc/net/route`.
pub fn uplink(routes: &str) -> Option<&str> {
    routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [interface, destination, _, _, _, _, metric, mask, ..] = fields.as_slice() else {
                return None;
            };
            let is_default = *destination == "00000000" && *mask == "00000000";
            is_default.then(|| (metric.parse::<u32>().unwrap_or(u32::MAX), *interface))
        })
        .min()
        .map(|(_, interface)| interface)
}

/// The same out of `/proc/net/ipv6_route`.
fn uplink_v6(routes: &str) -> Option<&str> {
    routes
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [destination, length, _, _, _, metric, _, _, _, interface] = fields.as_slice() else {
                return None;
            };
            // On the loopback interface there is one that leads nowhere.
            let is_default =
                *length == "00" && destination.bytes().all(|digit| digit == b'0') && *interface != "lo";
            is_default.then(|| (u32::from_str_radix(metric, 16).unwrap_or(u32::MAX), *interface))
        })
        .min()
        .map(|(_, interface)| interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_lowest_metric_counts() {
        let routes = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
            wlan0 00000000 0102A8C0 0003 0 0 600 00000000 0 0 0\n\
            eth0 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0\n\
            eth0 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        assert_eq!(uplink(routes), Some("eth0"));
        assert_eq!(uplink("Iface\n"), None);
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0100000A\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(uplink(table), Some("eth0"));
        let any = "0".repeat(32);
        let line = |destination: &str, length: &str, metric: &str, interface: &str| {
            format!(
                "{destination} {length} {any} 00 {any} {metric} 00000001 00000000 00000001    {interface}\n"
            )
        };
        let subnet = format!("fd00{}", "0".repeat(28));
        let routes = [
            line(&subnet, "40", "00000100", "eth1"),
            line(&any, "00", "00000400", "eth1"),
            line(&any, "00", "00000200", "eth0"),
            line(&any, "00", "00000000", "lo"),
        ];
        assert_eq!(uplink_v6(&routes.concat()), Some("eth0"));
        assert_eq!(uplink_v6(&routes[0]), None);
    }
}
