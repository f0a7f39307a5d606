//! Which endpoints of a Service's port take requests, by an EndpointSlice.

use api::value;
use serde_json::Value;

/// The label by which a slice says which Service it belongs to.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The ready addresses in a slice and their port, where it has a port of this name.
pub(crate) fn ready<'a>(slice: &'a Value, port_name: &str) -> impl Iterator<Item = (&'a str, u16)> + use<'a> {
    let port = value::list(slice, "ports")
        .iter()
        .find(|port| value::text(port, "name") == port_name)
        .and_then(|port| value::int(port, "port"))
        .and_then(|port| u16::try_from(port).ok());
    value::list(slice, "endpoints")
        .iter()
        // Not known is ready (discovery.k8s.io/v1 EndpointConditions).
        .filter(|endpoint| value::boolean(value::field(endpoint, "conditions"), "ready") != Some(false))
        .flat_map(|endpoint| value::texts(endpoint, "addresses"))
        .filter_map(move |address| Some((address, port?)))
}
