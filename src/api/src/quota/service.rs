//! Services: their node ports and load balancers.

use super::{Amounts, count, one};
use crate::value::{boolean, field, int, list, text};
use serde_json::Value;

pub(super) fn is_name(name: &str) -> bool {
    matches!(name, "services" | "services.nodeports" | "services.loadbalancers")
}

pub(super) fn usage(service: &Value) -> Amounts {
    let spec = field(service, "spec");
    let ports = list(spec, "ports");
    let (balancers, nodes) = match text(spec, "type") {
        "NodePort" => (0, ports.len()),
        // Only what is asked for by number, where none are given out.
        "LoadBalancer" if boolean(spec, "allocateLoadBalancerNodePorts") == Some(false) => {
            (1, ports.iter().filter(|port| int(port, "nodePort").unwrap_or(0) != 0).count())
        }
        "LoadBalancer" => (1, ports.len()),
        _ => (0, 0),
    };
    Amounts::from([
        ("services".to_owned(), one()),
        ("services.nodeports".to_owned(), count(nodes)),
        ("services.loadbalancers".to_owned(), count(balancers)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_count_where_nodes_have_them() {
        let used = |spec: Value| super::super::pretty(&usage(&json!({"spec": spec})));
        let ports = json!([{"port": 80}, {"port": 443, "nodePort": 30443}]);
        assert_eq!(
            used(json!({"type": "NodePort", "ports": ports})),
            "services=1,services.loadbalancers=0,services.nodeports=2"
        );
        assert_eq!(
            used(json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports})),
            "services=1,services.loadbalancers=1,services.nodeports=1"
        );
    }
}
