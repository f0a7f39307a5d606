//! Keeps the zone as the cluster is.

use super::health::Health;
use super::zone::{Endpoint, Port, Service, Zone};
use client::{Event, SharedInformers};
use k8s_openapi::api::core::v1::{Namespace, Service as ServiceObject};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use parking_lot::RwLock;
use std::net::IpAddr;
use std::sync::Arc;

/// The label that names an EndpointSlice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Feeds the zone for ever; the server is ready once everything has been seen.
pub async fn watch(informers: &SharedInformers, zone: Arc<RwLock<Zone>>, health: Arc<Health>) {
    let services = informers.get::<ServiceObject>();
    let slices = informers.get::<EndpointSlice>();
    let namespaces = informers.get::<Namespace>();
    let z = zone.clone();
    let _namespaces = namespaces.add_handler(move |event| {
        let exists = matches!(event, Event::Applied(..));
        z.write().set_namespace(event.object().metadata.name.as_deref().unwrap_or(""), exists);
    });
    let z = zone.clone();
    let _services = services.add_handler(move |event| {
        let meta = &event.object().metadata;
        let (namespace, name) = (meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""));
        let service = matches!(event, Event::Applied(..)).then(|| service(event.object()));
        z.write().set_service(namespace, name, service);
    });
    let _slices = slices.add_handler(move |event| {
        let slice = event.object();
        let meta = &slice.metadata;
        let Some(service) = meta.labels.as_ref().and_then(|l| l.get(SERVICE_NAME)) else { return };
        let (namespace, name) = (meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""));
        let endpoints = matches!(event, Event::Applied(..)).then(|| endpoints(slice));
        zone.write().set_slice(namespace, service, name, endpoints);
    });
    namespaces.synced().await;
    services.synced().await;
    slices.synced().await;
    health.ready.set();
    tracing::info!("ready");
    std::future::pending().await
}

fn service(object: &ServiceObject) -> Service {
    let Some(spec) = &object.spec else { return Service::default() };
    let external = spec.type_.as_deref() == Some("ExternalName");
    let addresses = spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse::<IpAddr>().ok()).collect();
    Service {
        cluster_ips: if external { Vec::new() } else { addresses },
        external_name: spec.external_name.clone().filter(|_| external),
        ports: spec
            .ports
            .iter()
            .flatten()
            .filter_map(|p| named_port(p.name.as_deref(), p.protocol.as_deref(), p.port))
            .collect(),
    }
}

/// The endpoints that may be found: the ready ones (of Services that publish all, all count as ready).
fn endpoints(slice: &EndpointSlice) -> Vec<Endpoint> {
    let ports: Vec<Port> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|p| named_port(p.name.as_deref(), p.protocol.as_deref(), p.port?))
        .collect();
    let ready = slice
        .endpoints
        .iter()
        .flatten()
        .filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
    ready
        .flat_map(|e| {
            let (hostname, ports) = (e.hostname.clone(), ports.clone());
            e.addresses.iter().filter_map(|a| a.parse().ok()).map(move |address| Endpoint {
                address,
                hostname: hostname.clone(),
                ports: ports.clone(),
            })
        })
        .collect()
}

fn named_port(name: Option<&str>, protocol: Option<&str>, number: i32) -> Option<Port> {
    Some(Port {
        name: name.unwrap_or("").to_owned(),
        protocol: protocol.unwrap_or("TCP").to_lowercase(),
        number: u16::try_from(number).ok()?,
    })
}
