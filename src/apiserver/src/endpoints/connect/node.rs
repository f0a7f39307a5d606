//! The proxy to a node's kubelet.

use super::Incoming;
use super::target::{ProxyName, Scheme, Target, check_remote};
use super::{kubelet, proxy};
use crate::ApiServer;
use crate::body::Body;
use crate::endpoints::context::Context;
use apimachinery::status::{Result, Status};
use http::Response;

/// Answers `nodes/proxy`.
pub(super) async fn proxy(
    server: &ApiServer,
    context: &Context,
    incoming: Incoming,
) -> Result<Response<Body>> {
    let name = ProxyName::parse(&context.info.name)?;
    let kubelet = kubelet::of_node(server, &name.name).await?;
    let target = match name.port.parse::<u16>() {
        // The kubelet itself, with our certificate.
        Err(_) if name.port.is_empty() => kubelet,
        Ok(port) if port == kubelet.address.port() => kubelet,
        // Something else on the node.
        Ok(port) => {
            let mut address = kubelet.address;
            address.set_port(port);
            let scheme = if name.https { Scheme::Https } else { Scheme::Http };
            Target { scheme, address: check_remote(address)? }
        }
        Err(_) => return Err(Status::bad_request(format!("invalid port {:?}", name.port))),
    };
    proxy::proxy(server, context, incoming, target).await
}
