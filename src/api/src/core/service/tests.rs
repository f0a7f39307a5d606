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

#[test]
fn addresses_fit_their_families() {
    let of = |extra: Value| {
        let mut spec = json!({"ports": [{"port": 80}]});
        for (name, value) in extra.as_object().unwrap() {
            spec[name] = value.clone();
        }
        errors(spec)
    };
    assert_eq!(
        of(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]})),
        [
            "spec.clusterIPs: Invalid value: [\"10.0.0.1\",\"10.0.0.2\"]: may specify no more than one IP for each IP family"
        ]
    );
    assert_eq!(
        of(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv6"]})),
        [
            "spec.clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`"
        ]
    );
    assert_eq!(
        of(json!({"clusterIP": "None", "clusterIPs": ["None", "10.0.0.1"]})),
        ["spec.clusterIPs: Invalid value: [\"None\",\"10.0.0.1\"]: 'None' must be the first and only value"]
    );
    assert_eq!(
        of(json!({"externalIPs": ["10.0.0.01", "127.0.0.1"]})),
        [
            "spec.externalIPs[0]: Invalid value: \"10.0.0.01\": must not have leading 0s",
            "spec.externalIPs[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"
        ]
    );
    assert_eq!(
        of(json!({"loadBalancerSourceRanges": ["10.0.0.1/8"], "loadBalancerClass": "x"})),
        [
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
            "spec.LoadBalancerSourceRanges[0]: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length",
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"
        ]
    );
}

#[test]
fn a_second_address_goes_only_when_told_so() {
    let both = json!({
        "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "PreferDualStack", "ports": [{"port": 80}],
    });
    let mut one = both.clone();
    one["clusterIPs"] = json!(["10.0.0.1"]);
    one["ipFamilies"] = json!(["IPv4"]);
    let check = |new: &Value| -> Vec<String> {
        let errors = Service.validate_update(&service(new.clone()), &service(both.clone()));
        errors.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        check(&one),
        [
            "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary clusterIP",
            "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary ipFamily"
        ]
    );
    one["ipFamilyPolicy"] = json!("SingleStack");
    assert!(check(&one).is_empty());
}

#[test]
fn only_balanced_services_have_a_balancer_s_status() {
    let mut object = service(json!({"ports": [{"port": 80}]}));
    object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}});
    let told = |object: &Value| -> Vec<String> {
        Service.validate_status_update(object, object).iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        told(&object),
        ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"]
    );
    object["spec"]["type"] = json!("LoadBalancer");
    object["status"]["loadBalancer"]["ingress"] =
        json!([{"ip": "1.2.3.4"}, {"hostname": "1.2.3.4", "ipMode": "VIP"}]);
    assert_eq!(
        told(&object),
        [
            "status.loadBalancer.ingress[0].ipMode: Required value: must be specified when `ip` is set",
            "status.loadBalancer.ingress[1].ipMode: Forbidden: may not be specified when `ip` is not set",
            "status.loadBalancer.ingress[1].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"
        ]
    );
}

#[test]
fn warnings_tell_what_is_ignored() {
    let object = service(json!({
        "clusterIP": "None", "externalIPs": ["1.2.3.4"], "sessionAffinity": "ClientIP", "externalName": "a.b",
        "trafficDistribution": "PreferClose",
    }));
    assert_eq!(
        Service.warnings(&object),
        [
            "spec.externalIPs is ignored for headless services",
            "spec.SessionAffinity is ignored for headless services",
            "spec.externalName is ignored when spec.type is not \"ExternalName\"",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ]
    );
}
