//! Which pods stand behind a service, and on which ports: what Endpoints and EndpointSlices share.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use client::{Event, Informer, ObjectKey, Selector, informer::Store};
use k8s_openapi::{
    api::core::v1::{Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{framework::Watches, pods};

/// Annotation with the time of the change that led to the current endpoints; programming latency is measured
/// from it.
pub const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Label that tells proxies to leave headless services alone.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// Reconciles services whose own state, or whose pods, change.
pub fn watch(watches: &mut Watches, services: &Informer<Service>, pods: &Informer<Pod>) {
    watches.primary(services);
    let services = services.store().clone();
    watches.mapped(pods, move |event, keys| {
        if let Event::Applied(new, Some(old)) = event
            && !matters(old, new)
        {
            return;
        }
        for key in services_of(&services, event) {
            keys.add(key);
        }
    });
}

/// Whether a pod's change can be seen in endpoints.
fn matters(old: &Pod, new: &Pod) -> bool {
    let seen = |pod: &Pod| {
        (
            pod.metadata.labels.clone(),
            pods::is_terminating(pod),
            pods::is_ready(pod),
            pods::is_terminal(pod),
            pods::node_name(pod).to_owned(),
            addresses(pod),
            pod.spec.as_ref().map(|spec| (spec.hostname.clone(), spec.subdomain.clone())),
        )
    };
    seen(old) != seen(new)
}

fn services_of(services: &Store<Service>, event: &Event<Pod>) -> Vec<ObjectKey> {
    let namespace = event.object().metadata.namespace.as_deref().unwrap_or_default();
    let all = services.list_namespace(namespace);
    let selected = |service: &Arc<Service>| {
        let selector = selector(service)?;
        let labels = |pod: &Arc<Pod>| selector.matches(pod.metadata.labels.as_ref());
        event.states().any(labels).then(|| ObjectKey::of(&**service))
    };
    all.iter().filter_map(selected).collect()
}

/// The service's selector; `None` when its endpoints are somebody else's business.
pub fn selector(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    spec.selector
        .as_ref()
        .filter(|selector| !selector.is_empty())
        .map(|selector| Selector::exactly(Some(selector)))
}

/// Whether the service has no cluster address.
pub fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Whether pods that are not ready count as ready.
pub fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

/// The pod's addresses of all families.
pub fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = pod.status.as_ref() else { return Vec::new() };
    let all: Vec<IpAddr> =
        status.pod_ips.iter().flatten().filter_map(|entry| entry.ip.parse().ok()).collect();
    if all.is_empty() { status.pod_ip.iter().filter_map(|ip| ip.parse().ok()).collect() } else { all }
}

/// Whether a pod belongs into the endpoints of a service that selects it.
pub fn belongs(pod: &Pod, include_terminating: bool) -> bool {
    !pods::is_terminal(pod)
        && (include_terminating || !pods::is_terminating(pod))
        && !addresses(pod).is_empty()
}

/// The host name that the pod has in a headless service's domain.
pub fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let in_domain = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|hostname| in_domain && !hostname.is_empty())
}

/// The port of a pod that a service port leads to; `None` when the pod has no port of that name.
pub fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match port.target_port.as_ref() {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let spec = pod.spec.as_ref()?;
            let sidecars = spec.init_containers.iter().flatten();
            let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
            let mut ports =
                spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
            ports
                .find(|candidate| {
                    candidate.name.as_deref() == Some(name)
                        && candidate.protocol.as_deref().unwrap_or("TCP") == protocol
                })
                .map(|found| found.container_port)
        }
    }
}

/// Labels that endpoints take over from their service.
pub fn copied_labels(service: &Service, reserved: &[&str]) -> BTreeMap<String, String> {
    let labels = service.metadata.labels.iter().flatten();
    labels
        .filter(|(name, _)| !reserved.contains(&name.as_str()) && *name != HEADLESS)
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain(is_headless(service).then(|| (HEADLESS.to_owned(), String::new())))
        .collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec};

    use super::*;

    #[test]
    fn named_target_ports_are_found_by_name_and_protocol() {
        let port = |name: &str, number: i32, protocol: &str| ContainerPort {
            name: Some(name.into()),
            container_port: number,
            protocol: Some(protocol.into()),
            ..ContainerPort::default()
        };
        let pod = Pod {
            spec: Some(PodSpec {
                containers: vec![Container {
                    ports: Some(vec![port("dns", 53, "UDP"), port("dns", 5353, "TCP")]),
                    ..Container::default()
                }],
                ..PodSpec::default()
            }),
            ..Pod::default()
        };
        let service_port = |target: Option<IntOrString>, protocol: &str| ServicePort {
            port: 80,
            target_port: target,
            protocol: Some(protocol.into()),
            ..ServicePort::default()
        };
        let name = |text: &str| Some(IntOrString::String(text.into()));
        assert_eq!(target_port(&pod, &service_port(name("dns"), "TCP")), Some(5353));
        assert_eq!(target_port(&pod, &service_port(name("dns"), "UDP")), Some(53));
        assert_eq!(target_port(&pod, &service_port(name("web"), "TCP")), None);
        assert_eq!(target_port(&pod, &service_port(Some(IntOrString::Int(8080)), "TCP")), Some(8080));
        assert_eq!(target_port(&pod, &service_port(None, "TCP")), Some(80));
    }
}
