//! Pod: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>.

mod columns;
pub mod defaults;
mod resize;
pub mod resources;
mod status;
pub(crate) mod strategy;
mod update;
pub mod validation;

#[cfg(test)]
mod tests;

use crate::kind::Kind;
use crate::value::{field, text};
use apimachinery::field::ErrorList;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
#[derive(Debug)]
pub struct Pod;

impl Kind for Pod {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "Pod")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["po"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["all"]
    }

    fn default(&self, object: &mut Value) {
        defaults::pod(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        strategy::prepare_for_create(object);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        strategy::prepare_for_update(object, old);
    }

    fn prepare_for_status_update(&self, object: &mut Value, old: &Value) {
        strategy::prepare_for_status_update(object, old);
    }

    fn prepare_for_subresource_update(&self, subresource: &str, object: &mut Value, old: &Value) {
        strategy::prepare_for_subresource_update(subresource, object, old);
    }

    fn validate(&self, object: &Value) -> ErrorList {
        validation::validate_create(object)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        update::validate_update(object, old)
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> ErrorList {
        status::validate(object, old)
    }

    fn validate_subresource_update(&self, subresource: &str, object: &Value, old: &Value) -> ErrorList {
        match subresource {
            "ephemeralcontainers" => update::validate_ephemeral_containers(object, old),
            "resize" => resize::validate(object, old),
            _ => update::validate_update(object, old),
        }
    }

    /// Updates are not warned about: people hardly write pods themselves.
    fn warnings_on_create(&self, object: &Value) -> Vec<String> {
        crate::core::pod_warnings::of_pod(object)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let (spec, status) = (field(object, "spec"), field(object, "status"));
        let ip = match crate::value::list(status, "podIPs").first() {
            Some(first) => text(first, "ip"),
            None => text(status, "podIP"),
        };
        let host_network = crate::value::is_true(spec, "hostNetwork");
        vec![
            ("spec.nodeName", text(spec, "nodeName").to_owned()),
            ("spec.restartPolicy", text(spec, "restartPolicy").to_owned()),
            ("spec.schedulerName", text(spec, "schedulerName").to_owned()),
            ("spec.serviceAccountName", text(spec, "serviceAccountName").to_owned()),
            ("spec.hostNetwork", host_network.to_string()),
            ("status.phase", text(status, "phase").to_owned()),
            ("status.podIP", ip.to_owned()),
            ("status.nominatedNodeName", text(status, "nominatedNodeName").to_owned()),
        ]
    }

    fn columns(&self) -> Vec<Column> {
        columns::columns()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        columns::row(object, now)
    }
}
