//! The proxy to a Service: to one of its ready endpoints.

use super::Incoming;
use super::proxy;
use super::target::{ProxyName, Target, address, check_remote};
use crate::ApiServer;
use crate::body::Body;
use crate::endpoints::context::Context;
use crate::outbound::{SERVICE_NAME, ready};
use api::value;
use apimachinery::gvk::GroupResource;
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use http::Response;
use rand::seq::IndexedRandom;
use serde_json::Value;
use std::net::SocketAddr;

/// Answers `services/proxy`.
pub(super) async fn proxy(
    server: &ApiServer,
    context: &Context,
    incoming: Incoming,
) -> Result<Response<Body>> {
    let name = ProxyName::parse(&context.info.name)?;
    let namespace = context.info.namespace.as_str();
    let services = GroupResource::new("", "services");
    let service = server.registry().get_value(&services, namespace, &name.name).await?;
    let service = service.ok_or_else(|| Status::not_found(&services, &name.name))?;
    let port_name = port_name(&service, &name)?;
    let slices = server
        .registry()
        .list_values(&GroupResource::new("discovery.k8s.io", "endpointslices"), namespace)
        .await?;
    let mut candidates = Vec::new();
    for slice in slices.iter().filter(|s| meta::label(s, SERVICE_NAME) == Some(&name.name)) {
        candidates.extend(addresses(slice, &port_name));
    }
    let chosen = candidates.choose(&mut rand::rng()).copied();
    let address = chosen.ok_or_else(|| {
        Status::service_unavailable(format!("no endpoints available for service {:?}", name.name))
    })?;
    proxy::proxy(server, context, incoming, Target { scheme: name.scheme(), address }).await
}

/// The name of the Service's port that a request means, under which the slices have it.
fn port_name(service: &Value, name: &ProxyName) -> Result<String> {
    let ports = value::list_at(service, &["spec", "ports"]);
    let found = if name.port.is_empty() {
        ports.first()
    } else {
        let number = name.port.parse::<i64>().ok();
        ports.iter().find(|port| {
            value::text(port, "name") == name.port || (number.is_some() && value::int(port, "port") == number)
        })
    };
    match found {
        Some(port) => Ok(value::text(port, "name").to_owned()),
        None => Err(Status::service_unavailable(format!(
            "no service port {:?} found for service {:?}",
            name.port, name.name
        ))),
    }
}

/// The ready addresses of a slice, where it has the port.
fn addresses(slice: &Value, port_name: &str) -> Vec<SocketAddr> {
    ready(slice, port_name).filter_map(|(ip, port)| address(ip, port).and_then(check_remote).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ready_endpoints_with_the_port_count() {
        let slice = json!({"ports": [{"name": "web", "port": 8080}], "endpoints": [
            {"addresses": ["10.1.0.2"], "conditions": {"ready": true}},
            {"addresses": ["10.1.0.3"], "conditions": {"ready": false}},
            {"addresses": ["10.1.0.4"]},
            {"addresses": ["127.0.0.1"]}]});
        let found: Vec<String> = addresses(&slice, "web").iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.1.0.2:8080", "10.1.0.4:8080"]);
        assert!(addresses(&slice, "other").is_empty());
    }

    #[test]
    fn a_port_is_found_by_number_or_name() {
        let service = json!({"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 443}]}});
        let ask = |text: &str| port_name(&service, &ProxyName::parse(text).unwrap());
        assert_eq!(ask("s").unwrap(), "a");
        assert_eq!(ask("s:443").unwrap(), "b");
        assert_eq!(ask("s:b").unwrap(), "b");
        assert_eq!(ask("s:x").unwrap_err().code, 503);
    }
}
