//! The `kubernetes` Service in `default`: how pods find the API server (upstream's
//! kubernetesservice controller), and the ServiceCIDR that its address comes from.

use super::allocation::first_address;
use super::service_families::Family;
use crate::ApiServer;
use crate::admission::{Chain, Warnings};
use crate::audit::Annotations;
use crate::authentication::UserInfo;
use crate::registry::writer::{Change, Writer};
use api::value;
use apimachinery::gvk::Gvr;
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use serde_json::{Value, json};

const NAME: &str = "kubernetes";
const NAMESPACE: &str = "default";
/// Who manages the fields, as upstream calls itself.
const MANAGER: &str = "kube-apiserver";

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

/// Creates an object unless it is there.
async fn create(server: &ApiServer, gvr: &Gvr, object: Value) -> Result<()> {
    // Asked first: creating would find the address taken, by the object itself.
    let resource = gvr.group_resource();
    if server.registry().get(&resource, meta::namespace(&object), meta::name(&object)).await?.is_some() {
        return Ok(());
    }
    match write(server, gvr, object, None).await {
        Err(e) if e.is_already_exists() => Ok(()),
        result => result,
    }
}

/// Creates an object, or makes some of its fields what they are to be.
async fn put(server: &ApiServer, gvr: &Gvr, object: Value, fields: &[&str]) -> Result<()> {
    match write(server, gvr, object.clone(), None).await {
        Err(e) if e.is_already_exists() => write(server, gvr, object, Some(fields)).await,
        result => result,
    }
}

async fn write(server: &ApiServer, gvr: &Gvr, mut object: Value, update: Option<&[&str]>) -> Result<()> {
    let resources = server.resources();
    let Some(served) = resources.get(&gvr.group, &gvr.version, &gvr.resource) else {
        return Err(Status::internal(format!("{gvr} is not served")));
    };
    apimachinery::schema::prune(&served.schema, &mut object).map_err(Status::internal)?;
    served.rules().default(&mut object);
    let (chain, warnings) = (Chain::default(), Warnings::default());
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    let writer = Writer {
        registry: server.registry(),
        services: server.services(),
        served,
        subresource: "",
        chain: &chain,
        user: &user,
        manager: MANAGER,
        warnings: &warnings,
        annotations: &Annotations::default(),
        options: &Value::Null,
        dry_run: false,
        now: jiff::Timestamp::now(),
    };
    let result = match update {
        None => writer.create(Change { object, tracked: false }).await,
        Some(fields) => {
            let (namespace, name) = (meta::namespace(&object).to_owned(), meta::name(&object).to_owned());
            writer
                .update(&namespace, &name, |old| {
                    let mut changed = old.clone();
                    for field in fields {
                        value::copy(&mut changed, &object, field);
                    }
                    Ok(Change { object: changed, tracked: false })
                })
                .await
        }
    };
    result.map(|_| ())
}
