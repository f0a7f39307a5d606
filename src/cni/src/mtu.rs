//! The largest packet that the node's uplink takes.

/// MTU of the interface with the default route; None without one, which leaves the kernel's default.
pub fn of_uplink() -> Option<u32> {
    let routes = std::fs::read_to_string("/proc/net/route").ok()?;
    let interface = uplink(&routes)?;
    std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu")).ok()?.trim().parse().ok()
}

/// The interface of the default route with the lowest metric.
fn uplink(routes: &str) -> Option<&str> {
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
    }
}
