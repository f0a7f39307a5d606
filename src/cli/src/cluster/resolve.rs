//! Host names, without the C library: a static binary must not ask it.

use anyhow::{Context, Result, bail};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use std::net::{IpAddr, Ipv4Addr};

/// The addresses of a host: itself if it is one, what `/etc/hosts` says (the resolver reads it), or the DNS.
///
/// # Errors
/// When the name is not known.
pub async fn resolve(host: &str) -> Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    // RFC 6761, section 6.3: localhost is always the loopback address.
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
    }
    let resolver = TokioResolver::builder_tokio().and_then(ResolverBuilder::build);
    let resolver = resolver.context("cannot read /etc/resolv.conf; use an address in place of the name")?;
    let found = resolver.lookup_ip(host).await;
    let found =
        found.with_context(|| format!("cannot resolve {host}; use an address in place of the name"))?;
    let addresses: Vec<IpAddr> = found.iter().collect();
    if addresses.is_empty() {
        bail!("{host} has no address; use one in place of the name");
    }
    Ok(addresses)
}
