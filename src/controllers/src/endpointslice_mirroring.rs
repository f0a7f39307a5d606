//! Copies Endpoints that people write for services without a selector into EndpointSlices, which is all that
//! proxies read.
//!
//! Upstream counterpart: `endpointslice-mirroring-controller` (KEP-752).

use std::sync::Arc;

use apimachinery::family::Family;
use async_trait::async_trait;
use client::{Event, Expectations, Informer, ObjectKey, Rest};
use k8s_openapi::{
    api::{
        core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    endpoints,
    endpointslice::{
        Wanted,
        controller::{self as slices, MANAGED_BY, SERVICE_NAME},
        reconcile,
    },
    framework::{Action, Context, Controller, ReconcileError, Watches},
    ownership, service_pods,
};

const NAME: &str = "endpoint-slice-mirroring-controller";
/// Value of the managed-by label of mirrored slices.
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// Label by which Endpoints opt out.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation of Endpoints that were used for leader election.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// The controller; keys are Services (and Endpoints of the same name).
pub struct EndpointSliceMirroring {
    context: Context,
    rest: Rest,
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    slices: Informer<EndpointSlice>,
    expectations: Arc<Expectations>,
}

impl EndpointSliceMirroring {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            services: context.services(),
            endpoints: context.informers.get(),
            slices: slices::slices(context),
            expectations: Arc::default(),
        }
    }

    fn template(&self, endpoints: &Endpoints) -> ObjectMeta {
        let name = endpoints.metadata.name.clone().unwrap_or_default();
        let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
        labels.remove(endpoints::MANAGED_BY);
        labels.insert(SERVICE_NAME.to_owned(), name.clone());
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(
                [(service_pods::LAST_CHANGE.to_owned(), self.context.now().to_string())].into(),
            ),
            owner_references: Some(vec![ownership::controller_reference(endpoints)]),
            ..ObjectMeta::default()
        }
    }
}

#[async_trait]
impl Controller for EndpointSliceMirroring {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        watches.primary(&self.services);
        watches.mapped(&self.endpoints, |event, keys| {
            // Those of services with a selector are written all the time, and none of our business.
            if matches!(event, Event::Deleted(_)) || is_custom(event.object()) {
                keys.add(ObjectKey::of(&**event.object()));
            }
        });
        let expectations = self.expectations.clone();
        watches.mapped(&self.slices, move |event, keys| {
            slices::observe(&expectations, event, MANAGER);
            for slice in event.states().filter(|slice| slices::is_managed_by(slice, MANAGER)) {
                if let Some(key) = slices::service_key(slice) {
                    keys.add(key);
                }
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        if !self.expectations.satisfied(key) {
            return Ok(Action::Done);
        }
        let existing = slices::slices_of(&self.slices, key, MANAGER);
        let service = self.services.get(key);
        let endpoints = self.endpoints.get(key);
        let mirrored = endpoints.filter(|endpoints| should_mirror(service.as_deref(), endpoints));
        let (wanted, template) = match &mirrored {
            Some(endpoints) => {
                (wanted(endpoints.subsets.as_deref().unwrap_or_default()), self.template(endpoints))
            }
            None => (Vec::new(), ObjectMeta::default()),
        };
        let changes = reconcile(wanted, &existing, &template);
        slices::write(&self.rest, &self.expectations, key, changes).await?;
        if mirrored.is_none() {
            self.expectations.forget(key);
        }
        Ok(Action::Done)
    }
}

fn is_custom(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let has = |name: &str| meta.labels.as_ref().is_some_and(|labels| labels.contains_key(name));
    let skip = meta.labels.as_ref().and_then(|labels| labels.get(SKIP)).is_some_and(|value| value == "true");
    let leader = meta.annotations.as_ref().is_some_and(|all| all.contains_key(LEADER));
    !skip && !leader && !has(endpoints::MANAGED_BY)
}

fn should_mirror(service: Option<&Service>, endpoints: &Endpoints) -> bool {
    let Some(service) = service else { return false };
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_none_or(|selector| selector.is_empty())
        && is_custom(endpoints)
        && service.metadata.deletion_timestamp.is_none()
        && endpoints.metadata.deletion_timestamp.is_none()
}

fn wanted(subsets: &[EndpointSubset]) -> Vec<Wanted> {
    let mut groups: Vec<Wanted> = Vec::new();
    for subset in subsets {
        let ports: Vec<EndpointPort> = subset
            .ports
            .iter()
            .flatten()
            .map(|port| EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(port.port),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(unready) {
            let Ok(ip) = address.ip.parse() else { continue };
            let address_type = Family::of(ip).name();
            let endpoint = endpoint(address, ready);
            match groups.iter_mut().find(|group| group.address_type == address_type && group.ports == ports) {
                Some(group) => group.endpoints.push(endpoint),
                None => groups.push(Wanted {
                    address_type: address_type.to_owned(),
                    ports: ports.clone(),
                    endpoints: vec![endpoint],
                }),
            }
        }
    }
    groups
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{self as core, ServiceSpec};

    use super::*;

    #[test]
    fn only_endpoints_of_services_without_selector_are_mirrored() {
        let plain = Service { spec: Some(ServiceSpec::default()), ..Service::default() };
        let mut selecting = plain.clone();
        selecting.spec.as_mut().unwrap().selector = Some([("a".to_owned(), "b".to_owned())].into());
        let endpoints = Endpoints::default();
        let mut skipped = Endpoints::default();
        skipped.metadata.labels = Some([(SKIP.to_owned(), "true".to_owned())].into());
        assert!(should_mirror(Some(&plain), &endpoints));
        assert!(!should_mirror(Some(&selecting), &endpoints));
        assert!(!should_mirror(Some(&plain), &skipped));
        assert!(!should_mirror(None, &endpoints));
    }

    #[test]
    fn addresses_are_grouped_by_family_and_ports() {
        let address = |ip: &str| EndpointAddress { ip: ip.into(), ..EndpointAddress::default() };
        let subset = EndpointSubset {
            addresses: Some(vec![address("10.0.0.1"), address("fd00::1")]),
            not_ready_addresses: Some(vec![address("10.0.0.2")]),
            ports: Some(vec![core::EndpointPort { port: 80, ..core::EndpointPort::default() }]),
        };
        let groups = wanted(&[subset.clone(), subset]);
        assert_eq!(groups.len(), 2);
        let v4 = groups.iter().find(|group| group.address_type == "IPv4").unwrap();
        let ready: Vec<_> = v4
            .endpoints
            .iter()
            .map(|endpoint| endpoint.conditions.as_ref().unwrap().ready.unwrap())
            .collect();
        assert_eq!(ready, [true, false, true, false]);
    }
}
