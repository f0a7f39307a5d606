//! Watching services, pods and slices; writing slices.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use client::{
    Event, EventRecorder, EventType, Expectations, Informer, ObjectKey, Rest,
    informer::Scope,
    rest::{self, DeleteOptions},
};
use k8s_openapi::{
    api::{
        core::v1::{Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{Changes, desired, reconcile};
use crate::{
    framework::{Action, Context, Controller, ReconcileError, Watches},
    ownership, pods, service_pods,
};

const NAME: &str = "endpoint-slice-controller";
/// Label with the name of the service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label with the name of who writes a slice.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Its value for this controller.
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Name of the index of slices by service; the value is `namespace/name`.
const BY_SERVICE: &str = "service";

/// The controller; keys are Services.
pub struct EndpointSliceController {
    context: Context,
    rest: Rest,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    recorder: EventRecorder,
    expectations: Arc<Expectations>,
}

impl EndpointSliceController {
    /// The controller, not running yet.
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            rest: context.rest.clone(),
            services: context.services(),
            pods: context.pods(),
            nodes: context.nodes(),
            slices: slices(context),
            recorder: context.recorder(NAME),
            expectations: Arc::default(),
        }
    }

    fn template(&self, service: &Service) -> ObjectMeta {
        let name = service.metadata.name.clone().unwrap_or_default();
        let mut labels = service_pods::copied_labels(service, &[SERVICE_NAME, MANAGED_BY]);
        labels.insert(SERVICE_NAME.to_owned(), name.clone());
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(
                [(service_pods::LAST_CHANGE.to_owned(), self.context.now().to_string())].into(),
            ),
            owner_references: Some(vec![ownership::controller_reference(service)]),
            ..ObjectMeta::default()
        }
    }
}

/// All slices, indexed by service.
pub(crate) fn slices(context: &Context) -> Informer<EndpointSlice> {
    let slices = context.informers.scoped::<EndpointSlice>(&Scope::default());
    slices.add_index(BY_SERVICE, |slice: &EndpointSlice| {
        service_key(slice).map(|key| key.to_string()).into_iter().collect()
    });
    slices
}

/// The service that a slice belongs to.
pub(crate) fn service_key(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectKey::new(slice.metadata.namespace.clone().unwrap_or_default(), name.clone()))
}

/// The slices of a service that one writer manages.
pub(crate) fn slices_of(
    slices: &Informer<EndpointSlice>,
    key: &ObjectKey,
    manager: &str,
) -> Vec<Arc<EndpointSlice>> {
    let mut found = slices.by_index(BY_SERVICE, &key.to_string());
    found.retain(|slice| is_managed_by(slice, manager));
    found
}

pub(crate) fn is_managed_by(slice: &EndpointSlice, manager: &str) -> bool {
    slice
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(MANAGED_BY))
        .is_some_and(|found| found == manager)
}

/// Notes creations that the watch shows.
pub(crate) fn observe(expectations: &Expectations, event: &Event<EndpointSlice>, manager: &str) {
    if let Event::Applied(slice, None) = event
        && is_managed_by(slice, manager)
        && let Some(key) = service_key(slice)
    {
        expectations.creation_observed(&key);
    }
}

/// Writes changes of slices: new ones first, so that no endpoint is missing in between.
///
/// Names of new slices are generated, so that a cache that has not seen them would lead to more of them; hence
/// the expectations.
pub(crate) async fn write(
    rest: &Rest,
    expectations: &Expectations,
    key: &ObjectKey,
    changes: Changes,
) -> Result<(), ReconcileError> {
    for slice in &changes.create {
        expectations.expect_creations(key, 1);
        let result = rest.create(slice).await;
        if result.is_err() {
            expectations.creation_observed(key);
        }
        match result {
            Err(error) if rest::is_namespace_terminating(&error) => return Ok(()),
            result => drop(result?),
        }
    }
    for slice in &changes.update {
        rest.replace(slice).await?;
    }
    for slice in &changes.delete {
        let uid = slice.metadata.uid.clone().unwrap_or_default();
        rest.delete::<EndpointSlice>(&ObjectKey::of(&**slice), &DeleteOptions::uid(uid)).await?;
    }
    Ok(())
}

#[async_trait]
impl Controller for EndpointSliceController {
    fn name(&self) -> &'static str {
        NAME
    }

    fn watches(self: Arc<Self>, watches: &mut Watches) {
        service_pods::watch(watches, &self.services, &self.pods);
        watches.reads(&self.nodes);
        let expectations = self.expectations.clone();
        watches.mapped(&self.slices, move |event, keys| {
            observe(&expectations, event, MANAGER);
            for slice in event.states().filter(|slice| is_managed_by(slice, MANAGER)) {
                if let Some(key) = service_key(slice) {
                    keys.add(key);
                }
            }
        });
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, ReconcileError> {
        let Some(service) = self.services.get(key) else {
            // Its slices are the garbage collector's.
            self.expectations.forget(key);
            return Ok(Action::Done);
        };
        if !self.expectations.satisfied(key) {
            return Ok(Action::Done);
        }
        let Some(selector) = service_pods::selector(&service) else { return Ok(Action::Done) };
        if service.metadata.deletion_timestamp.is_some() {
            return Ok(Action::Done);
        }
        let mut selected = self.pods.list_namespace(&key.namespace);
        selected.retain(|pod| selector.matches(pod.metadata.labels.as_ref()));
        let nodes: HashMap<String, Arc<Node>> = selected
            .iter()
            .filter_map(|pod| {
                Some((pods::node_name(pod).to_owned(), self.nodes.find("", pods::node_name(pod))?))
            })
            .collect();
        let wanted = desired::wanted(&service, &selected, &nodes);
        let existing = slices_of(&self.slices, key, MANAGER);
        let changes = reconcile(wanted, &existing, &self.template(&service));
        if let Err(error) = write(&self.rest, &self.expectations, key, changes).await {
            if !error.is_conflict() {
                let message = format!("Error updating Endpoint Slices for Service {key}: {error}");
                self.recorder.about(&*service, EventType::Warning, "FailedToUpdateEndpointSlices", message);
            }
            return Err(error);
        }
        Ok(Action::Done)
    }
}
