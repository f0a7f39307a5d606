//! Service: <https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/>.

mod columns;
mod strategy;
mod validation;

pub(crate) use validation::not_special;

#[cfg(test)]
mod tests;

use crate::kind::{Kind, NameRule};
use crate::validation::only_new;
use crate::value::{field, list, text};
use apimachinery::field::ErrorList;
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// The kind.
#[derive(Debug)]
pub struct Service;

impl Kind for Service {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("", "Service")
    }

    fn short_names(&self) -> &'static [&'static str] {
        &["svc"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["all"]
    }

    /// A DNS label (KEP-5311: it may begin with a digit).
    fn name_rule(&self) -> NameRule {
        NameRule::Dns1123Label
    }

    fn default(&self, object: &mut Value) {
        strategy::default(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        crate::value::set(object, "status", serde_json::json!({"loadBalancer": {}}));
        strategy::normalize_cluster_ips(object, None);
        strategy::drop_type_dependent(object, None);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value) {
        strategy::normalize_cluster_ips(object, Some(old));
        strategy::patch_allocated(object, old);
        strategy::drop_type_dependent(object, Some(old));
    }

    fn validate(&self, object: &Value) -> ErrorList {
        validation::validate(object)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validation::update(object, old, &mut errors);
        errors.extend(only_new(validation::validate(object), || validation::validate(old)));
        errors
    }

    fn validate_status_update(&self, object: &Value, _old: &Value) -> ErrorList {
        validation::status(object)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        validation::warnings(object)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let spec = field(object, "spec");
        vec![
            ("spec.clusterIP", text(spec, "clusterIP").to_owned()),
            ("spec.type", text(spec, "type").to_owned()),
        ]
    }

    fn columns(&self) -> Vec<Column> {
        columns::columns()
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        columns::row(object, now)
    }
}

/// Whether the service has no address of its own by wish.
fn is_headless(spec: &Value) -> bool {
    text(spec, "clusterIP") == "None" || matches!(list(spec, "clusterIPs"), [only] if only == "None")
}

/// Whether a type has node ports.
fn has_node_ports(spec: &Value) -> bool {
    matches!(text(spec, "type"), "NodePort" | "LoadBalancer")
}

/// Whether the service can be reached from outside the cluster.
fn is_external(spec: &Value) -> bool {
    has_node_ports(spec) || (text(spec, "type") == "ClusterIP" && !list(spec, "externalIPs").is_empty())
}

/// Whether the service needs a port for health checks of load balancers.
fn needs_health_port(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}
