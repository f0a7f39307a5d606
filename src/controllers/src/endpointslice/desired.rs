//! The endpoints that a service should have. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use apimachinery::family::Family;
use k8s_openapi::api::{
    core::v1::{Node, ObjectReference, Pod, Service},
    discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone},
};

use super::reconcile::Wanted;
use crate::{pods, service_pods};

/// Label with a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Groups the pods of a service by address family and ports.
pub(super) fn wanted(
    service: &Service,
    pods: &[Arc<Pod>],
    nodes: &HashMap<String, Arc<Node>>,
) -> Vec<Wanted> {
    let mut groups: BTreeMap<(Family, String), Wanted> = BTreeMap::new();
    let families = families(service);
    for pod in pods.iter().filter(|pod| service_pods::belongs(pod, true)) {
        let ports = ports(service, pod);
        for family in &families {
            let address = service_pods::addresses(pod).into_iter().find(|address| family.has(address));
            let Some(address) = address else { continue };
            let group = groups.entry((*family, format!("{ports:?}"))).or_insert_with(|| Wanted {
                address_type: family.to_string(),
                ports: ports.clone(),
                endpoints: Vec::new(),
            });
            group.endpoints.push(endpoint(
                service,
                pod,
                address,
                nodes.get(pods::node_name(pod)).map(|node| &**node),
            ));
        }
    }
    for family in families {
        // A service without pods has one empty slice per family, so that clients know there is nothing.
        if !groups.keys().any(|(known, _)| *known == family) {
            let empty = Wanted { address_type: family.to_string(), ports: Vec::new(), endpoints: Vec::new() };
            groups.insert((family, String::new()), empty);
        }
    }
    groups.into_values().collect()
}

fn families(service: &Service) -> Vec<Family> {
    let spec = service.spec.as_ref();
    let families: Vec<_> = spec
        .iter()
        .flat_map(|spec| spec.ip_families.iter().flatten())
        .filter_map(|name| Family::parse(name))
        .collect();
    if !families.is_empty() {
        return families;
    }
    let cluster_ip = spec.and_then(|spec| spec.cluster_ip.as_deref()).and_then(|ip| ip.parse().ok());
    vec![cluster_ip.map_or(Family::V4, Family::of)]
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let all = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    all.filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(service_pods::target_port(pod, port)?),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
    })
    .collect()
}

fn endpoint(service: &Service, pod: &Pod, address: IpAddr, node: Option<&Node>) -> Endpoint {
    let serving = pods::is_ready(pod);
    let terminating = pods::is_terminating(pod);
    let ready = service_pods::publishes_not_ready(service) || (serving && !terminating);
    let zone = node.and_then(|node| node.metadata.labels.as_ref()?.get(ZONE).cloned());
    let node_name = Some(pods::node_name(pod).to_owned()).filter(|name| !name.is_empty());
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: service_pods::hostname(pod, service),
        hints: ready.then(|| hints(service, zone.as_deref(), node_name.as_deref())).flatten(),
        node_name,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone,
        deprecated_topology: None,
    }
}

/// Where traffic to an endpoint should come from, by the service's `trafficDistribution` (KEP-4444, KEP-3015).
fn hints(service: &Service, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let distribution = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    let zones = zone.map(|zone| vec![ForZone { name: zone.to_owned() }]);
    let nodes = node.map(|node| vec![ForNode { name: node.to_owned() }]);
    match distribution {
        "PreferSameZone" | "PreferClose" => {
            zones.map(|zones| EndpointHints { for_zones: Some(zones), for_nodes: None })
        }
        "PreferSameNode" => nodes.map(|nodes| EndpointHints { for_zones: zones, for_nodes: Some(nodes) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        api::core::v1::{PodIP, ServicePort, ServiceSpec},
        apimachinery::pkg::apis::meta::v1::Time,
    };

    use super::*;
    use crate::pods::tests::pod;

    fn service(families: &[&str]) -> Service {
        Service {
            spec: Some(ServiceSpec {
                ip_families: Some(families.iter().map(|family| (*family).to_owned()).collect()),
                ports: Some(vec![ServicePort { port: 80, ..ServicePort::default() }]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    fn with_ips(mut pod: Pod, ips: &[&str]) -> Pod {
        let ips = ips.iter().map(|ip| PodIP { ip: (*ip).to_owned() }).collect();
        pod.status.as_mut().unwrap().pod_ips = Some(ips);
        pod
    }

    #[test]
    fn conditions_tell_ready_serving_and_terminating_apart() {
        let now = jiff::Timestamp::from_second(1_000_000).unwrap();
        let ready = with_ips(pod("a", "n1", Some(10), now), &["10.1.0.1"]);
        let unready = with_ips(pod("b", "n1", None, now), &["10.1.0.2"]);
        let mut leaving = with_ips(pod("c", "n1", Some(10), now), &["10.1.0.3"]);
        leaving.metadata.deletion_timestamp = Some(Time(now));
        let pods: Vec<_> = [ready, unready, leaving].into_iter().map(Arc::new).collect();
        let all = wanted(&service(&["IPv4"]), &pods, &HashMap::new());
        assert_eq!(all.len(), 1);
        let conditions: Vec<_> = all[0]
            .endpoints
            .iter()
            .map(|endpoint| endpoint.conditions.as_ref().unwrap())
            .map(|conditions| {
                (conditions.ready.unwrap(), conditions.serving.unwrap(), conditions.terminating.unwrap())
            })
            .collect();
        assert_eq!(conditions, [(true, true, false), (false, false, false), (false, true, true)]);
        let mut eager = service(&["IPv4"]);
        eager.spec.as_mut().unwrap().publish_not_ready_addresses = Some(true);
        let all = wanted(&eager, &pods, &HashMap::new());
        assert!(
            all[0].endpoints.iter().all(|endpoint| endpoint.conditions.as_ref().unwrap().ready == Some(true))
        );
    }

    #[test]
    fn each_family_has_slices_of_its_own_even_without_pods() {
        let now = jiff::Timestamp::from_second(1_000_000).unwrap();
        let pods = vec![Arc::new(with_ips(pod("a", "n1", Some(10), now), &["10.1.0.1", "fd00::1"]))];
        let both = wanted(&service(&["IPv4", "IPv6"]), &pods, &HashMap::new());
        let addresses: Vec<_> = both.iter().map(|group| group.endpoints[0].addresses[0].as_str()).collect();
        assert_eq!(addresses, ["10.1.0.1", "fd00::1"]);
        let none = wanted(&service(&["IPv4", "IPv6"]), &[], &HashMap::new());
        assert_eq!(none.len(), 2);
        assert!(none.iter().all(|group| group.endpoints.is_empty() && group.ports.is_empty()));
    }

    #[test]
    fn traffic_distribution_becomes_hints() {
        let mut service = service(&["IPv4"]);
        service.spec.as_mut().unwrap().traffic_distribution = Some("PreferSameZone".into());
        assert_eq!(hints(&service, Some("z1"), Some("n1")).unwrap().for_zones.unwrap()[0].name, "z1");
        assert_eq!(hints(&service, None, Some("n1")), None);
        service.spec.as_mut().unwrap().traffic_distribution = Some("PreferSameNode".into());
        assert_eq!(hints(&service, None, Some("n1")).unwrap().for_nodes.unwrap()[0].name, "n1");
    }
}
