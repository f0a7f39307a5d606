//! Publishes the pods behind services as v1 Endpoints, for clients from before EndpointSlices.
//!
//! Upstream counterpart: `endpoints-controller`.

use std::{collections::BTreeMap, sync::Arc};

use apimachinery::family::Family;
use async_trait::async_trait;
use client::{
    EventRecorder, EventType, Informer, ObjectKey, Rest,
    rest::{self, DeleteOptions},
};
use k8s_openapi::{
    api::core::v1::{
        EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    pods, service_pods,
};

const NAME: &str = "endpoint-controller";
/// Label with the name of who writes an Endpoints object (1.33 and later).
pub const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// Addresses in one object at most (KEP-1809); the object's size grows with them, and slices have them all.
const CAPACITY: usize = 1000;
/// Annotation of objects that were cut off.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// The controller; keys are Services.
pub struct EndpointsController {
    context: Context,
    rest: Rest,
    services: Informer<Service>,
    pods: Informer<Pod>,
    endpoints: Informer<Endpoints>,
    recorder: EventRecorder,
}

impl EndpointsController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            services: context.services(),
            pods: context.pods(),
            endpoints: context.informers.get(),
            recorder: context.recorder(NAME),
        }
    }

    async fn write(&self, service: &Service, desired: Endpoints, exists: bool) -> Result<(), ReconcileError> {
        let result =
            if exists { self.rest.replace(&desired).await } else { self.rest.create(&desired).await };
        match result {
            Ok(_) => Ok(()),
            Err(error) if rest::is_namespace_terminating(&error) => Ok(()),
            Err(error) if rest::is_already_exists(&error) => {
                Err(ReconcileError::Retry("the endpoints exist but the cache has not seen them".into()))
            }
            Err(error) => {
                if !rest::is_conflict(&error) {
                    let (reason, verb) = if exists {
                        ("FailedToUpdateEndpoint", "update")
                    } else {
                        ("FailedToCreateEndpoint", "create")
                    };
                    let key = ObjectKey::of(service);
                    let message = format!("Failed to {verb} endpoint {key}: {error}");
                    self.recorder.about(service, EventType::Warning, reason, message);
                }
                Err(error.into())
            }
        }
    }
}

#[async_trait]
impl Controller for EndpointsController {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        service_pods::watch(watches, &self.services, &self.pods);
        watches.primary(&self.endpoints);
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let existing = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else {
            // The two share a name and nothing else; but what somebody wrote by hand stays.
            if let Some(existing) = existing.filter(|existing| is_ours(existing)) {
                let uid = existing.metadata.uid.clone().unwrap_or_default();
                self.rest.delete::<Endpoints>(key, &DeleteOptions::uid(uid)).await?;
            }
            return Ok(Action::Done);
        };
        let Some(selector) = service_pods::selector(&service) else { return Ok(Action::Done) };
        if service.metadata.deletion_timestamp.is_some() {
            return Ok(Action::Done);
        }
        let mut selected = self.pods.list_namespace(&key.namespace);
        selected.retain(|pod| selector.matches(pod.metadata.labels.as_ref()));
        let now = self.context.now().to_string();
        if let Some(desired) = plan(&service, &selected, existing.as_deref(), &now) {
            self.write(&service, desired, existing.is_some()).await?;
        }
        Ok(Action::Done)
    }
}

fn is_ours(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let label =
        meta.labels.as_ref().is_some_and(|labels| labels.get(MANAGED_BY).is_some_and(|by| by == NAME));
    label || meta.annotations.as_ref().is_some_and(|all| all.contains_key(service_pods::LAST_CHANGE))
}

/// The object to write, if the existing one does not say the same.
fn plan(service: &Service, pods: &[Arc<Pod>], existing: Option<&Endpoints>, now: &str) -> Option<Endpoints> {
    let (subsets, cut) = subsets(service, pods);
    let mut labels = service_pods::copied_labels(service, &[MANAGED_BY]);
    labels.insert(MANAGED_BY.to_owned(), NAME.to_owned());
    let mut annotations =
        existing.and_then(|existing| existing.metadata.annotations.clone()).unwrap_or_default();
    let was_cut = annotations.contains_key(OVER_CAPACITY);
    if let Some(existing) = existing
        && existing.subsets.as_deref().unwrap_or_default() == subsets
        && existing.metadata.labels.as_ref() == Some(&labels)
        && was_cut == cut
    {
        return None;
    }
    annotations.insert(service_pods::LAST_CHANGE.to_owned(), now.to_owned());
    annotations.remove(OVER_CAPACITY);
    if cut {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    }
    let mut metadata = existing.map(|existing| existing.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        ..ObjectMeta::default()
    });
    metadata.labels = Some(labels);
    metadata.annotations = Some(annotations);
    Some(Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) })
}

type Addresses = BTreeMap<String, EndpointAddress>;

/// Addresses grouped by their ports, in a canonical order; and whether some had to be left out.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (Vec<EndpointSubset>, bool) {
    let tolerate_unready = service_pods::publishes_not_ready(service);
    let mut groups: BTreeMap<String, (Vec<EndpointPort>, Addresses, Addresses)> = BTreeMap::new();
    let mut count = 0;
    let mut cut = false;
    // Ready ones first, so that the limit leaves out those that do not serve.
    let mut candidates: Vec<(&Arc<Pod>, bool)> = pods
        .iter()
        .filter(|pod| service_pods::belongs(pod, tolerate_unready))
        .map(|pod| (pod, tolerate_unready || pods::is_ready(pod)))
        .collect();
    candidates.sort_by_key(|(_, ready)| !ready);
    for (pod, ready) in candidates {
        let Some(address) = address(service, pod) else { continue };
        let ports = ports(service, pod);
        if ports.is_empty() && !service_pods::is_headless(service) {
            continue;
        }
        if count >= CAPACITY {
            cut = true;
            break;
        }
        count += 1;
        let group =
            groups.entry(format!("{ports:?}")).or_insert_with(|| (ports, Addresses::new(), Addresses::new()));
        let side = if ready { &mut group.1 } else { &mut group.2 };
        side.insert(address.ip.clone(), address);
    }
    let list = |addresses: Addresses| (!addresses.is_empty()).then(|| addresses.into_values().collect());
    let subset = |(ports, ready, not_ready): (Vec<EndpointPort>, Addresses, Addresses)| EndpointSubset {
        addresses: list(ready),
        not_ready_addresses: list(not_ready),
        ports: (!ports.is_empty()).then_some(ports),
    };
    (groups.into_values().map(subset).collect(), cut)
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    // Endpoints have one family only: the service's first one.
    let family = families.and_then(|families| Family::parse(families.first()?)).unwrap_or(Family::V4);
    let ip = service_pods::addresses(pod).into_iter().find(|ip| family.has(ip))?;
    Some(EndpointAddress {
        ip: ip.to_string(),
        hostname: service_pods::hostname(pod, service),
        node_name: Some(pods::node_name(pod).to_owned()).filter(|name| !name.is_empty()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let all = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut ports: Vec<EndpointPort> = all
        .filter_map(|port| {
            Some(EndpointPort {
                name: port.name.clone().filter(|name| !name.is_empty()),
                port: service_pods::target_port(pod, port)?,
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort_by(|a, b| (&a.name, a.port, &a.protocol).cmp(&(&b.name, b.port, &b.protocol)));
    ports
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodIP, ServicePort, ServiceSpec};

    use super::*;
    use crate::pods::tests::pod;

    fn service() -> Service {
        Service {
            metadata: ObjectMeta {
                name: Some("web".into()),
                namespace: Some("ns".into()),
                ..ObjectMeta::default()
            },
            spec: Some(ServiceSpec {
                cluster_ip: Some("10.152.183.7".into()),
                ports: Some(vec![ServicePort { port: 80, ..ServicePort::default() }]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }

    fn pod_with_ip(name: &str, ip: &str, ready: bool) -> Arc<Pod> {
        let now = jiff::Timestamp::from_second(1_000_000).unwrap();
        let mut pod = pod(name, "n1", ready.then_some(10), now);
        pod.status.as_mut().unwrap().pod_ips = Some(vec![PodIP { ip: ip.into() }]);
        Arc::new(pod)
    }

    #[test]
    fn ready_and_unready_pods_are_told_apart_in_a_stable_order() {
        let pods = [
            pod_with_ip("b", "10.1.0.2", true),
            pod_with_ip("a", "10.1.0.1", true),
            pod_with_ip("c", "10.1.0.3", false),
        ];
        let endpoints = plan(&service(), &pods, None, "now").unwrap();
        let subset = &endpoints.subsets.as_ref().unwrap()[0];
        let ips = |addresses: &Option<Vec<EndpointAddress>>| {
            addresses.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ips(&subset.addresses), ["10.1.0.1", "10.1.0.2"]);
        assert_eq!(ips(&subset.not_ready_addresses), ["10.1.0.3"]);
        assert_eq!(subset.ports.as_ref().unwrap()[0].port, 80);
        assert_eq!(plan(&service(), &pods, Some(&endpoints), "later"), None);
    }

    #[test]
    fn more_than_a_thousand_addresses_are_cut_and_marked() {
        let pods: Vec<_> = (0..1100)
            .map(|n| pod_with_ip(&format!("p{n}"), &format!("10.1.{}.{}", n / 250, n % 250), true))
            .collect();
        let endpoints = plan(&service(), &pods, None, "now").unwrap();
        assert_eq!(endpoints.subsets.as_ref().unwrap()[0].addresses.as_ref().unwrap().len(), CAPACITY);
        assert_eq!(endpoints.metadata.annotations.as_ref().unwrap()[OVER_CAPACITY], "truncated");
    }

    #[test]
    fn no_pods_means_an_object_without_subsets() {
        let endpoints = plan(&service(), &[], None, "now").unwrap();
        assert_eq!(endpoints.subsets, None);
        assert_eq!(plan(&service(), &[], Some(&endpoints), "later"), None);
    }
}
