use super::Service;
use crate::kind::Kind;
use jiff::Timestamp;
use serde_json::{Value, json};

fn service(spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec});
    Service.default(&mut object);
    object
}

fn errors(spec: Value) -> Vec<String> {
    Service.validate(&service(spec)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_plain_service_gets_its_defaults() {
    let object = service(json!({"selector": {"a": "b"}, "ports": [{"port": 80}]}));
    assert_eq!(
        object["spec"],
        json!({
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}],
        })
    );
    assert!(Service.validate(&object).is_empty());
}

#[test]
fn ports_are_required_named_and_unique() {
    assert_eq!(errors(json!({})), ["spec.ports: Required value"]);
    assert_eq!(
        errors(json!({"ports": [{"port": 80}, {"port": 80, "name": "b"}]})),
        [
            "spec.ports[0].name: Required value",
            "spec.ports[1]: Duplicate value: {\"port\":80,\"protocol\":\"TCP\"}"
        ]
    );
    assert!(errors(json!({"clusterIP": "None", "clusterIPs": ["None"]})).is_empty());
}

#[test]
fn node_ports_belong_to_their_types() {
    assert_eq!(
        errors(json!({"ports": [{"port": 80, "nodePort": 30000}]})),
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]
    );
    assert!(errors(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]})).is_empty());
    assert_eq!(
        errors(json!({"type": "Fancy", "ports": [{"port": 80}], "internalTrafficPolicy": "Cluster"})),
        [
            "spec.type: Unsupported value: \"Fancy\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\""
        ]
    );
}

#[test]
fn an_update_keeps_what_was_handed_out() {
    let old = service(json!({
        "type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
        "ports": [{"port": 80, "nodePort": 30000}],
    }));
    let mut new = service(json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "name": "x"}]}));
    Service.prepare_for_update(&mut new, &old);
    assert_eq!(new["spec"]["clusterIP"], "10.0.0.1");
    assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.1"]));
    assert_eq!(new["spec"]["ports"][0]["nodePort"], 30000);
    let mut external = service(json!({
        "type": "ExternalName", "externalName": "a.b", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
    }));
    Service.prepare_for_update(&mut external, &old);
    assert!(Service.validate_update(&external, &old).is_empty(), "{external}");
}

#[test]
fn the_address_does_not_change() {
    let of = |ip: &str| service(json!({"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80}]}));
    let found = Service.validate_update(&of("10.0.0.2"), &of("10.0.0.1"));
    assert_eq!(
        found[0].to_string(),
        "spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"
    );
}

#[test]
fn the_table_shows_ports_and_addresses() {
    let mut object = service(json!({
        "type": "LoadBalancer", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30000}, {"port": 53, "protocol": "UDP"}],
    }));
    let row = Service.row(&object, Timestamp::UNIX_EPOCH);
    assert_eq!(row.len(), Service.columns().len());
    assert_eq!((&row[3], &row[4]), (&json!("<pending>"), &json!("80:30000/TCP,53/UDP")));
    object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}});
    assert_eq!(Service.row(&object, Timestamp::UNIX_EPOCH)[3], "1.2.3.4");
}
