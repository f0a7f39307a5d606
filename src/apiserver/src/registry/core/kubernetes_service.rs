//! The `kubernetes` Service in `default`: how pods find the API server (upstream's
//! kubernetesservice controller), and the ServiceCIDR that its address comes from.

use super::allocation::first_address;
use super::service_families::Family;
use crate::ApiServer;
use crate::registry::own::{create, put};
use apimachinery::gvk::Gvr;
use apimachinery::status::{Result, Status};
use serde_json::{Value, json};

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";

/// Makes the Service and its endpoints what they are to be.
///
/// # Errors
/// When the store fails.
pub(crate) async fn ensure(server: &ApiServer) -> Result<()> {
    let (address, port) = server.advertise();
    let cidrs = server.service_cidrs();
    let Some(first) = cidrs.first() else { return Err(Status::internal("there is no service CIDR")) };
    let names: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
    create(server, &Gvr::new("networking.k8s.io", "v1", "servicecidrs"), service_cidr(&names)).await?;
    let ip = first_address(first).to_string();
    create(server, &Gvr::new("", "v1", "services"), service(&ip, port)).await?;
    if address.is_loopback() || address.is_unspecified() {
        tracing::warn!(%address, "pods cannot reach this server: its address is not one of the network");
        return Ok(());
    }
    let address_text = address.to_string();
    let endpoints = endpoints(&address_text, port);
    put(server, &Gvr::new("", "v1", "endpoints"), endpoints, &["subsets"]).await?;
    let slice = slice(&address_text, Family::of(address), port);
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

fn endpoints(address: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": NAME, "namespace": NAMESPACE,
            // The slice below is ours too.
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": address}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }],
    })
}

fn slice(address: &str, family: Family, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": NAME, "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": family.name(),
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}
