//! The networks of pods and Services: flags, checked against each other and the rest.

use crate::arguments::{Network, Server};
use crate::cluster::networks::{self, Networks};
use crate::cluster::protocol::Common;
use anyhow::{Result, anyhow, bail};
use apimachinery::family::Family;
use ipnet::IpNet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;

/// Place of the DNS Service's address among those of Services, as kubeadm and k3s have it.
const DNS: u8 = 10;
/// What is there when the kernel has IPv6.
const IPV6: &str = "/proc/sys/net/ipv6";

/// What flags say of all nodes of a cluster, as far as it is about addresses.
///
/// # Errors
/// When a flag is none.
pub fn common(options: &Server) -> Result<Common> {
    let service_cidr =
        Networks::of(&options.service_cidr).map_err(|error| anyhow!("--service-cidr: {error}"))?;
    let dns = networks::address(&service_cidr.primary(), DNS);
    Ok(Common {
        cluster_cidr: Networks::of(&options.cluster_cidr)
            .map_err(|error| anyhow!("--cluster-cidr: {error}"))?,
        service_cidr,
        node_ports: range(&options.service_node_port_range)?.into_inner(),
        cluster_dns: options.cluster_dns.unwrap_or(dns),
        cluster_domain: options.cluster_domain.trim_end_matches('.').to_lowercase(),
    })
}

/// Checks the sizes that flags ask for.
///
/// # Errors
/// Which is too small.
pub fn check_sizes(options: &Server) -> Result<()> {
    let (v4, v6) = (options.node_cidr_mask_size, options.node_cidr_mask_size_ipv6);
    if !(16..=28).contains(&v4) {
        bail!("--node-cidr-mask-size {v4} is not between 16 and 28");
    }
    if !(32..=120).contains(&v6) {
        bail!("--node-cidr-mask-size-ipv6 {v6} is not between 32 and 120");
    }
    for (flag, cidrs, [v4, v6]) in [
        ("--cluster-cidr", &options.cluster_cidr, [v4, v6]),
        ("--service-cidr", &options.service_cidr, [28, 124]),
    ] {
        for cidr in cidrs {
            let longest = if cidr.addr().is_ipv4() { v4 } else { v6 };
            if cidr.prefix_len() > longest {
                bail!("{flag} {cidr} is too small: /{longest} at least");
            }
        }
    }
    Ok(())
}

/// Checks that what a cluster has fits together, and to this node.
///
/// # Errors
/// What does not, and what to say instead.
pub fn check(common: &Common, options: &Server) -> Result<()> {
    let (pods, services) = (&common.cluster_cidr, &common.service_cidr);
    let first = |networks: &Networks| Family::of(networks.primary().addr());
    if !pods.is_like(services) || first(pods) != first(services) {
        bail!(
            "--cluster-cidr {pods} and --service-cidr {services} are of different families; give both of IPv4, both of \
             IPv6, or both of both in the same order"
        );
    }
    let own_network = options.node.network == Network::Knarr && !options.disable_agent;
    if own_network && pods.has(Family::V6) && !Path::new(IPV6).exists() {
        bail!(
            "--cluster-cidr {pods}: the kernel of this machine has no IPv6; boot it without ipv6.disable=1, or give \
             networks of IPv4 only"
        );
    }
    let overlaps = |pods: IpNet, services: IpNet| pods.contains(&services) || services.contains(&pods);
    if pods.all().any(|pods| services.all().any(|services| overlaps(pods, services))) {
        bail!("--cluster-cidr {pods} and --service-cidr {services} overlap; give networks of their own");
    }
    let (services, dns) = (services.primary(), common.cluster_dns);
    if !services.contains(&dns) {
        bail!("--cluster-dns {dns} is not in --service-cidr {services}; give an address in it");
    }
    let bind = options.bind_address;
    let family = Family::of(services.addr());
    if !options.disable_agent && !family.has(&bind) && !bind.is_unspecified() {
        bail!(
            "--bind-address {bind}: pods reach the API server by {family}; leave it out, or give :: for all addresses"
        );
    }
    Ok(())
}

/// The API server's own Service has the first address.
pub fn first_service_address(services: &Networks) -> IpAddr {
    networks::address(&services.primary(), 1)
}

fn range(text: &str) -> Result<RangeInclusive<u16>> {
    let bounds = text.split_once('-').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
    match bounds {
        Some((low, high)) if 0 < low && low <= high => Ok(low..=high),
        _ => bail!("--service-node-port-range {text:?} is not LOW-HIGH, such as 30000-32767"),
    }
}
