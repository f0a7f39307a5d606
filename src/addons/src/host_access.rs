//! The `host-access` add-on: an address of the node itself by which pods reach it, the same on every node. As MicroK8s', it
//! is held on the loopback interface.

use futures::TryStreamExt as _;
use rtnetlink::packet_route::address::AddressAttribute;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// The loopback interface of every network namespace.
const LOOPBACK: u32 = 1;

/// Makes the node have the address, or no longer have it. What is so already stays.
///
/// # Errors
/// When the kernel refuses.
pub async fn hold(address: Ipv4Addr, held: bool) -> io::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let driving = tokio::spawn(connection);
    let all: Vec<_> = handle
        .address()
        .get()
        .set_link_index_filter(LOOPBACK)
        .execute()
        .try_collect()
        .await
        .map_err(io::Error::other)?;
    let local = AddressAttribute::Local(IpAddr::V4(address));
    let there = all.into_iter().find(|one| one.header.prefix_len == 32 && one.attributes.contains(&local));
    match (there, held) {
        (None, true) => handle.address().add(LOOPBACK, address.into(), 32).execute().await,
        (Some(one), false) => handle.address().del(one).execute().await,
        _ => Ok(()),
    }
    .map_err(io::Error::other)?;
    driving.abort();
    Ok(())
}
