//! Fitting wanted endpoints into existing slices with few writes. Pure.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// Endpoints in a slice at most (upstream's default): a change of one endpoint sends no more than that around.
const CAPACITY: usize = 100;

/// Endpoints that belong into slices of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// `IPv4`, `IPv6` or `FQDN`.
    pub(crate) address_type: String,
    /// Ports of every endpoint.
    pub(crate) ports: Vec<EndpointPort>,
    /// The endpoints.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// What to write. Creations have everything but identity; updates keep theirs.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
}

impl Changes {
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// Compares what is wanted with what exists.
///
/// `template` has the labels, annotations and owner of every slice, and the name prefix of new ones. Slices keep
/// their endpoints where they are; new endpoints go into slices that change anyway, then into others with room.
pub(crate) fn reconcile(
    wanted: Vec<Wanted>,
    existing: &[Arc<EndpointSlice>],
    template: &ObjectMeta,
) -> Changes {
    let mut changes = Changes::default();
    let mut unmatched: Vec<Arc<EndpointSlice>> = existing.to_vec();
    for group in wanted {
        let matching = |slice: &Arc<EndpointSlice>| {
            slice.metadata.deletion_timestamp.is_none()
                && slice.address_type == group.address_type
                && same_ports(slice.ports.as_deref().unwrap_or_default(), &group.ports)
        };
        let (mine, rest): (Vec<_>, Vec<_>) = unmatched.into_iter().partition(matching);
        unmatched = rest;
        fit(group, mine, template, &mut changes);
    }
    // An old slice that shows nothing useful any more makes room by being turned into a wanted one.
    while !unmatched.is_empty() && !changes.create.is_empty() {
        let Some(position) = unmatched.iter().position(|slice| reusable(slice, &changes)) else { break };
        let old = unmatched.swap_remove(position);
        let Some(create) = changes.create.iter().position(|new| new.address_type == old.address_type) else {
            break;
        };
        let new = changes.create.swap_remove(create);
        changes.update.push(dressed((*old).clone(), template, new.endpoints, new.ports));
    }
    changes.delete.extend(unmatched.into_iter().filter(|slice| slice.metadata.deletion_timestamp.is_none()));
    changes
}

fn reusable(slice: &EndpointSlice, changes: &Changes) -> bool {
    // The address type of a slice is immutable.
    slice.metadata.deletion_timestamp.is_none()
        && changes.create.iter().any(|new| new.address_type == slice.address_type)
}

fn fit(group: Wanted, mut slices: Vec<Arc<EndpointSlice>>, template: &ObjectMeta, changes: &mut Changes) {
    let Wanted { address_type, ports, endpoints } = group;
    let mut missing: BTreeMap<String, Endpoint> =
        endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    // Every slice keeps those of its endpoints that are still wanted, in their new state.
    let mut kept: Vec<(Arc<EndpointSlice>, Vec<Endpoint>, bool)> = slices
        .into_iter()
        .map(|slice| {
            let old = slice.endpoints.as_deref().unwrap_or_default();
            let new: Vec<Endpoint> =
                old.iter().filter_map(|endpoint| missing.remove(&identity(endpoint))).collect();
            let changed = old != new || !same_meta(&slice.metadata, template);
            (slice, new, changed)
        })
        .collect();
    let mut left: Vec<Endpoint> = missing.into_values().collect();
    kept.sort_by_key(|(_, _, changed)| !changed);
    for (_, endpoints, changed) in &mut kept {
        let room = CAPACITY.saturating_sub(endpoints.len()).min(left.len());
        if room > 0 {
            endpoints.extend(left.drain(..room));
            *changed = true;
        }
    }
    // Slices that became empty go, unless one has to show that there is nothing.
    let mut someone_remains = !left.is_empty() || kept.iter().any(|(_, endpoints, _)| !endpoints.is_empty());
    for (slice, endpoints, changed) in kept {
        if endpoints.is_empty() && someone_remains {
            changes.delete.push(slice);
            continue;
        }
        someone_remains = true;
        if changed {
            changes.update.push(dressed((*slice).clone(), template, Some(endpoints), Some(ports.clone())));
        }
    }
    if left.is_empty() && someone_remains {
        return;
    }
    let mut left = left.into_iter().peekable();
    loop {
        let endpoints: Vec<Endpoint> = left.by_ref().take(CAPACITY).collect();
        let slice = EndpointSlice { address_type: address_type.clone(), ..EndpointSlice::default() };
        let mut slice = dressed(slice, template, Some(endpoints), Some(ports.clone()));
        slice.metadata.generate_name = template.generate_name.clone();
        slice.metadata.namespace = template.namespace.clone();
        changes.create.push(slice);
        if left.peek().is_none() {
            return;
        }
    }
}

fn dressed(
    mut slice: EndpointSlice,
    template: &ObjectMeta,
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<EndpointPort>>,
) -> EndpointSlice {
    slice.metadata.labels = template.labels.clone();
    slice.metadata.owner_references = template.owner_references.clone();
    for (name, value) in template.annotations.iter().flatten() {
        slice.metadata.annotations.get_or_insert_default().insert(name.clone(), value.clone());
    }
    slice.endpoints = endpoints;
    slice.ports = ports;
    slice
}

// Annotations are left out: the trigger time alone is no reason to write.
fn same_meta(meta: &ObjectMeta, template: &ObjectMeta) -> bool {
    meta.labels.clone().unwrap_or_default() == template.labels.clone().unwrap_or_default()
        && meta.owner_references == template.owner_references
}

fn same_ports(a: &[EndpointPort], b: &[EndpointPort]) -> bool {
    let key = |port: &EndpointPort| {
        (
            port.name.clone().unwrap_or_default(),
            port.port,
            port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port.app_protocol.clone(),
        )
    };
    let sorted = |ports: &[EndpointPort]| {
        let mut keys: Vec<_> = ports.iter().map(key).collect();
        keys.sort();
        keys
    };
    sorted(a) == sorted(b)
}

/// What makes an endpoint the same one: its address and the pod behind it.
fn identity(endpoint: &Endpoint) -> String {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref()).unwrap_or_default();
    format!("{} {uid}", endpoint.addresses.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(n: usize) -> Endpoint {
        Endpoint { addresses: vec![format!("10.0.{}.{}", n / 250, n % 250)], ..Endpoint::default() }
    }

    fn group(range: impl Iterator<Item = usize>, port: i32) -> Wanted {
        Wanted {
            address_type: "IPv4".into(),
            ports: vec![EndpointPort { port: Some(port), ..EndpointPort::default() }],
            endpoints: range.map(endpoint).collect(),
        }
    }

    fn template() -> ObjectMeta {
        ObjectMeta {
            generate_name: Some("web-".into()),
            labels: Some([("a".to_owned(), "b".to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    /// What would exist after the changes were written.
    fn apply(existing: &[Arc<EndpointSlice>], changes: Changes) -> Vec<Arc<EndpointSlice>> {
        let mut next: Vec<Arc<EndpointSlice>> = existing
            .iter()
            .filter(|slice| !changes.delete.iter().any(|gone| gone.metadata.name == slice.metadata.name))
            .map(|slice| {
                let update = changes.update.iter().find(|update| update.metadata.name == slice.metadata.name);
                update.map_or_else(|| slice.clone(), |update| Arc::new(update.clone()))
            })
            .collect();
        for (n, mut slice) in changes.create.into_iter().enumerate() {
            slice.metadata.name = Some(format!("web-{}-{n}", next.len()));
            next.push(Arc::new(slice));
        }
        next
    }

    fn sizes(slices: &[Arc<EndpointSlice>]) -> Vec<usize> {
        let mut sizes: Vec<_> = slices.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect();
        sizes.sort_unstable();
        sizes
    }

    #[test]
    fn endpoints_are_spread_over_slices_of_a_hundred() {
        let slices = apply(&[], reconcile(vec![group(0..250, 80)], &[], &template()));
        assert_eq!(sizes(&slices), [50, 100, 100]);
        assert!(reconcile(vec![group(0..250, 80)], &slices, &template()).is_empty());
    }

    #[test]
    fn one_change_touches_one_slice() {
        let slices = apply(&[], reconcile(vec![group(0..250, 80)], &[], &template()));
        let more = reconcile(vec![group(0..251, 80)], &slices, &template());
        assert_eq!((more.create.len(), more.update.len(), more.delete.len()), (0, 1, 0));
        let fewer = reconcile(vec![group((0..250).filter(|n| *n != 7), 80)], &slices, &template());
        assert_eq!((fewer.create.len(), fewer.update.len(), fewer.delete.len()), (0, 1, 0));
        let swapped = reconcile(vec![group((0..251).filter(|n| *n != 7), 80)], &slices, &template());
        assert_eq!((swapped.create.len(), swapped.update.len(), swapped.delete.len()), (0, 1, 0));
    }

    #[test]
    fn the_last_endpoint_leaves_an_empty_slice_and_others_are_deleted() {
        let slices = apply(&[], reconcile(vec![group(0..150, 80)], &[], &template()));
        let slices = apply(&slices, reconcile(vec![group(0..0, 80)], &slices, &template()));
        assert_eq!(sizes(&slices), [0]);
    }

    #[test]
    fn slices_with_other_ports_are_turned_into_wanted_ones() {
        let slices = apply(&[], reconcile(vec![group(0..3, 80)], &[], &template()));
        let changes = reconcile(vec![group(0..3, 8080)], &slices, &template());
        assert_eq!((changes.create.len(), changes.update.len(), changes.delete.len()), (0, 1, 0));
        let slices = apply(&slices, changes);
        assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(8080));
    }

    #[test]
    fn changed_labels_are_written() {
        let slices = apply(&[], reconcile(vec![group(0..3, 80)], &[], &template()));
        let mut other = template();
        other.labels.as_mut().unwrap().insert("new".into(), "label".into());
        assert_eq!(reconcile(vec![group(0..3, 80)], &slices, &other).update.len(), 1);
    }
}
