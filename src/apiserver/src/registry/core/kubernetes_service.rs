//! The `kubernetes` Service in `default`: how pods find the API server (upstream's
//! kubernetesservice controller), and the ServiceCIDR that its address comes from.

use super::allocation::first_address;
use crate::ApiServer;
use crate::registry::decode;
use crate::registry::own::{create, put};
use api::value;
use apimachinery::family::Family;
use apimachinery::gvk::{GroupResource, Gvr};
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";
const DISCOVERY: &str = "discovery.k8s.io";

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

/// Makes the endpoints of the Service those of the API servers that are alive. Answers whether pods reach all of them:
/// one whose address is of another family than Services are has to have another one, which its Node tells later.
///
/// # Errors
/// When the store fails.
pub(crate) async fn list_servers(server: &ApiServer) -> Result<bool> {
    let identity = server.identity();
    if identity.address().is_none() {
        return Ok(true);
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
    write(server, servers).await.map(drop)
}

async fn write(server: &ApiServer, servers: BTreeMap<SocketAddr, String>) -> Result<bool> {
    // All of them choose the same, so that they do not undo each other's work: one family and port.
    let Some(first) = servers.keys().next().copied() else { return Ok(true) };
    let (family, port) = (Family::of(first.ip()), first.port());
    let alike = |one: &SocketAddr| one.is_ipv4() == first.is_ipv4() && one.port() == port;
    let servers: Vec<(SocketAddr, String)> = servers.into_iter().filter(|(one, _)| alike(one)).collect();
    let addresses: Vec<String> = servers.iter().map(|(one, _)| one.ip().to_string()).collect();
    put(server, &Gvr::new("", "v1", "endpoints"), endpoints(&addresses, port), &["subsets"]).await?;
    put_slice(server, slice(NAME, &addresses, family, port)).await?;
    let Some(services) = server.service_cidrs().first().map(|cidr| Family::of(cidr.addr())) else {
        return Ok(true);
    };
    let name = format!("{NAME}-{}", services.name().to_lowercase());
    if services == family {
        return delete_slice(server, &name, |_| true).await.map(|()| true);
    }
    // Proxies pass over endpoints of another family than the Service has. These lead through the pod network, so they
    // are for pods alone: nodes and clients outside go by the others.
    let mut for_pods = Vec::new();
    for (_, hostname) in &servers {
        for_pods.extend(internal_address(server, hostname, services).await?);
    }
    let all = for_pods.len() == servers.len();
    put_slice(server, slice(&name, &for_pods, services, port)).await?;
    Ok(all)
}

/// The address of a family that a Node tells for use within the cluster.
async fn internal_address(server: &ApiServer, node: &str, family: Family) -> Result<Option<String>> {
    let Some(node) = server.registry().get_value(&GroupResource::new("", "nodes"), "", node).await? else {
        return Ok(None);
    };
    let internal = value::list_at(&node, &["status", "addresses"])
        .iter()
        .filter(|address| value::text(address, "type") == "InternalIP")
        .map(|address| value::text(address, "address"));
    let alike = |address: &&str| address.parse().is_ok_and(|ip| Family::of(ip) == family);
    Ok(internal.into_iter().find(alike).map(str::to_owned))
}

async fn put_slice(server: &ApiServer, slice: Value) -> Result<()> {
    // The type of a slice's addresses never changes; the servers' may.
    let family = value::text(&slice, "addressType").to_owned();
    delete_slice(server, meta::name(&slice), |old| value::text(old, "addressType") != family).await?;
    put(server, &Gvr::new(DISCOVERY, "v1", "endpointslices"), slice, &["endpoints", "ports"]).await
}

async fn delete_slice(server: &ApiServer, name: &str, which: impl Fn(&Value) -> bool) -> Result<()> {
    let registry = server.registry();
    let resource = GroupResource::new(DISCOVERY, "endpointslices");
    if let Some(object) = registry.get(&resource, NAMESPACE, name).await?
        && which(&decode(&object)?)
    {
        // Another server may have been faster.
        let _ = registry.storage().delete(&object.key, object.revision).await;
    }
    Ok(())
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

fn slice(name: &str, addresses: &[String], family: Family, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": name, "namespace": NAMESPACE,
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
