//! The part of the table that does not depend on Services.

use super::family::NftFamily as _;
use apimachinery::family::Family;
use ipnet::IpNet;

/// The mark of packets that are to leave with the node's address. The bit is the one that Kubernetes has
/// always used, so that other components leave it alone.
const MASQUERADE_MARK: &str = "0x00004000";

/// Makes the table anew, within one transaction: packets meet the old rules or the new ones, never none.
///
/// NodePorts answer on the addresses of `node_port_addresses`, or on all the node has when that is empty.
///
/// - DNAT happens in `nat-prerouting` (pods, other hosts) and `nat-output` (this host).
/// - What has no endpoints is refused after DNAT had its chance: under `externalTrafficPolicy: Local` the
///   cluster's own traffic may still have found some.
/// - Ports of cluster IPs that no Service has are refused too, instead of leaving for the default gateway.
/// - Nobody on the wire may address the loopback network, which `route_localnet` opens for NodePorts
///   (CVE-2020-8558).
pub(crate) fn base(family: Family, node_port_addresses: &[IpNet]) -> String {
    let (table, ip, address) = (family.table(), family.ip(), family.address_type());
    let addresses: Vec<String> = node_port_addresses
        .iter()
        .filter(|net| family.has(&net.addr()))
        .map(|net| net.trunc().to_string())
        .collect();
    let node = if addresses.is_empty() {
        "fib daddr type local".to_owned()
    } else {
        format!("{ip} daddr @node-port-addresses fib daddr type local")
    };
    let node_set = if addresses.is_empty() {
        String::new()
    } else {
        let elements = addresses.join(", ");
        format!(
            "\tset node-port-addresses {{ type {address} ; flags interval ; auto-merge ; elements = {{ {elements} }} ; }}\n"
        )
    };
    let key = format!("{ip} daddr . meta l4proto . th dport");
    let by_address = format!("type {address} . inet_proto . inet_service : verdict");
    let by_port = "type inet_proto . inet_service : verdict";
    let loopback = family.loopback();
    format!(
        "add table {table}
delete table {table}
table {table} {{
{node_set}	set cluster-ips {{ type {address} ; }}
	map service-ips {{ {by_address} ; }}
	map service-nodeports {{ {by_port} ; }}
	map no-endpoint-services {{ {by_address} ; }}
	map no-endpoint-nodeports {{ {by_port} ; }}
	map firewall-ips {{ {by_address} ; }}
	chain mark-for-masquerade {{
		meta mark set meta mark or {MASQUERADE_MARK}
	}}
	chain refuse {{
		reject
	}}
	chain services {{
		{key} vmap @service-ips
		{node} meta l4proto . th dport vmap @service-nodeports
	}}
	chain endpoints-check {{
		{key} vmap @no-endpoint-services
		{node} meta l4proto . th dport vmap @no-endpoint-nodeports
	}}
	chain cluster-ips-check {{
		{ip} daddr @cluster-ips goto refuse
	}}
	chain firewall-check {{
		{key} vmap @firewall-ips
	}}
	chain nat-prerouting {{
		type nat hook prerouting priority dstnat ;
		jump services
	}}
	chain nat-output {{
		type nat hook output priority -100 ;
		jump services
	}}
	chain nat-postrouting {{
		type nat hook postrouting priority srcnat ;
		meta mark and {MASQUERADE_MARK} == 0 return
		meta mark set meta mark xor {MASQUERADE_MARK}
		masquerade fully-random
	}}
	chain filter-prerouting {{
		type filter hook prerouting priority -110 ;
		iif != lo {ip} daddr {loopback} drop
		ct state new jump firewall-check
	}}
	chain filter-input {{
		type filter hook input priority -110 ;
		ct state new jump endpoints-check
	}}
	chain filter-forward {{
		type filter hook forward priority -110 ;
		ct state new jump endpoints-check
		ct state new jump cluster-ips-check
	}}
	chain filter-output {{
		type filter hook output priority -110 ;
		ct state new jump firewall-check
	}}
	chain filter-output-after-nat {{
		type filter hook output priority -90 ;
		ct state new jump endpoints-check
		ct state new jump cluster-ips-check
	}}
}}
"
    )
}
