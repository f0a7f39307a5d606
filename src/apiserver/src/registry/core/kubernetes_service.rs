//! The `kubernetes` Service in `default`: how pods find the API server (upstream's
//! kubernetesservice controller), and the ServiceCIDR that its address comes from.

use super::allocation::first_address;
use super::service_families::Family;
use crate::ApiServer;
use crate::registry::own::{create, put};
use apimachinery::gvk::Gvr;
use apimachinery::status::{Result, Status};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";

/// Makes the Service what it is to be.
///
/// # Errors
/// When the store fails.
pub(crate) async fn ensure(server: &ApiServer) -> Result<()> {
    let (address, port) = server.advertise();
    if server.identity().address().is_none() {
        tracing::warn!(%address, "pods cannot reach this server: its address is not one of the network");
    }
    let cidrs = server.service_cidrs();
    let Some(first) = cidrs.first() else { return Err(Status::internal("there is no service CIDR")) };
    let names: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
    create(server, &Gvr::new("networking.k8s.io", "v1", "servicecidrs"), service_cidr(&names)).await?;
    let ip = first_address(first).to_string();
    create(server, &Gvr::new("", "v1", "services"), service(&ip, port)).await
}

/// Makes the endpoints of the Service those of the API servers that are alive.
///
/// # Errors
/// When the store fails.
pub(crate) async fn list_servers(server: &ApiServer) -> Result<()> {
    let identity = server.identity();
    if identity.address().is_none() {
        return Ok(());
    }
    write(server, identity.servers(server.registry(), jiff::Timestamp::now()).await?).await
}

/// Takes this server off the list, unless it is the last.
///
/// # Errors
/// When the store fails.
pub(crate) async fn withdraw(server: &ApiServer) -> Result<()> {
    let identity = server.identity();
    let Some(address) = identity.address() else { return Ok(()) };
    let mut servers = identity.servers(server.registry(), jiff::Timestamp::now()).await?;
    servers.remove(&address);
    if servers.is_empty() {
        return Ok(());
    }
    identity.withdraw(server.registry()).await?;
    write(server, servers).await
}

async fn write(server: &ApiServer, servers: BTreeSet<SocketAddr>) -> Result<()> {
    // All of them choose the same, so that they do not undo each other's work: one family and port, as the Service has.
    let Some(first) = servers.first().copied() else { return Ok(()) };
    let alike = |one: &&SocketAddr| one.is_ipv4() == first.is_ipv4() && one.port() == first.port();
    let addresses: Vec<String> = servers.iter().filter(alike).map(|one| one.ip().to_string()).collect();
    let endpoints = endpoints(&addresses, first.port());
    put(server, &Gvr::new("", "v1", "endpoints"), endpoints, &["subsets"]).await?;
    let slice = slice(&addresses, Family::of(first.ip()), first.port());
    put(server, &Gvr::new("discovery.k8s.io", "v1", "endpointslices"), slice, &["endpoints", "ports"]).await
}

fn service_cidr(cidrs: &[String]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": NAME},
        "spec": {"cidrs": cidrs},
    })
}

fn service(ip: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": NAME, "namespace": NAMESPACE,
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "sessionAffinity": "None",
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    })
}

fn endpoints(addresses: &[String], port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": NAME, "namespace": NAMESPACE,
            // The slice below is ours too.
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": addresses.iter().map(|address| json!({"ip": address})).collect::<Vec<_>>(),
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    })
}

fn slice(addresses: &[String], family: Family, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": NAME, "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": family.name(),
        "endpoints": addresses
            .iter()
            .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
            .collect::<Vec<_>>(),
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}
