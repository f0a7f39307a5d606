//! Gateways and their listeners: what becomes of them, and of their certificates.

use super::*;

#[test]
fn gateways_are_told_what_becomes_of_their_listeners() {
    let world = World::new().gateway("g", http());
    let status = world.status("gateways", "g");
    assert_eq!(conditions(&status["conditions"]), ["Accepted True Accepted", "Programmed True Programmed"]);
    assert_eq!(status["addresses"][1], json!({"type": "IPAddress", "value": "192.0.2.2"}));
    let listener = &status["listeners"][0];
    assert_eq!(
        conditions(&listener["conditions"]),
        [
            "Accepted True Accepted",
            "Conflicted False NoConflicts",
            "Programmed True Programmed",
            "ResolvedRefs True ResolvedRefs"
        ]
    );
    assert_eq!(listener["supportedKinds"].as_array().unwrap().len(), 2);
    assert_eq!(listener["conditions"][0]["observedGeneration"], 3);
    let class = world.status("gatewayclasses", "public");
    assert_eq!(conditions(&class["conditions"]), ["Accepted True Accepted"]);
    assert!(FEATURES.is_sorted() && class["supportedFeatures"].as_array().unwrap().len() == FEATURES.len());
}

/// The conditions of each listener, and those of the Gateway last.
fn listeners_told(world: &World, wanted: &str) -> Vec<String> {
    let status = world.status("gateways", "g");
    let of =
        |all: &Value| conditions(all).into_iter().find(|one| one.starts_with(wanted)).unwrap_or_default();
    let listeners = status["listeners"].as_array().unwrap().iter();
    listeners.map(|one| of(&one["conditions"])).chain([of(&status["conditions"])]).collect()
}

#[test]
fn listeners_that_cannot_be_say_so() {
    let listener =
        |name: &str, port: u16, protocol: &str| json!({"name": name, "port": port, "protocol": protocol});
    let world = World::new().gateway(
        "g",
        json!([listener("good", 80, "http"), listener("port", 8080, "HTTP"), listener("tcp", 9000, "TCP")]),
    );
    assert_eq!(
        listeners_told(&world, "Accepted"),
        [
            "Accepted True Accepted",
            "Accepted False PortUnavailable",
            "Accepted False UnsupportedProtocol",
            "Accepted True ListenersNotValid"
        ]
    );
    let world = World::new().gateway("g", json!([listener("port", 8080, "HTTP")]));
    assert_eq!(listeners_told(&world, "Accepted")[1], "Accepted False ListenersNotValid");
    assert_eq!(listeners_told(&world, "Programmed"), ["Programmed False Invalid"; 2]);
    assert_eq!(world.status("gateways", "g")["addresses"], json!([]));
    let world = World::new().gateway("g", json!([listener("a", 80, "HTTP"), listener("b", 80, "http")]));
    assert_eq!(listeners_told(&world, "Conflicted")[..2], ["Conflicted True HostnameConflict"; 2]);
    assert_eq!(listeners_told(&world, "Programmed")[2], "Programmed False Invalid");
    assert!(world.compiled().heard.is_empty());
    let kinds = json!([{"name": "k", "port": 80, "protocol": "HTTP",
        "allowedRoutes": {"kinds": [{"kind": "HTTPRoute"}, {"kind": "TCPRoute"}]}}]);
    let world = World::new().gateway("g", kinds);
    assert_eq!(listeners_told(&world, "ResolvedRefs")[0], "ResolvedRefs False InvalidRouteKinds");
    let status = world.status("gateways", "g");
    assert_eq!(status["listeners"][0]["supportedKinds"], json!([{"group": GROUP, "kind": "HTTPRoute"}]));
}

#[test]
fn certificates_are_those_of_listeners_that_may_have_them() {
    let https = |name: &str, host: &str, secret: Value| {
        json!({"name": name, "port": 443, "protocol": "HTTPS", "hostname": host,
            "tls": {"mode": "Terminate", "certificateRefs": [secret]}})
    };
    let mut world = World::new().gateway(
        "g",
        json!([
            https("own", "a.example", json!({"name": "tls"})),
            https("none", "b.example", json!({"name": "none"})),
            https("far", "*.c.example", json!({"name": "tls", "namespace": "other"}))
        ]),
    );
    world.secrets = vec!["n/tls".to_owned(), "other/tls".to_owned()];
    assert_eq!(
        listeners_told(&world, "ResolvedRefs")[..3],
        [
            "ResolvedRefs True ResolvedRefs",
            "ResolvedRefs False InvalidCertificateRef",
            "ResolvedRefs False RefNotPermitted"
        ]
    );
    let shown = |world: &World, host: &str| world.table().shown(host).join(" ");
    assert_eq!(shown(&world, "a.example"), "n/tls");
    assert_eq!(shown(&world, "x.c.example"), "");
    let from = json!({"group": GROUP, "kind": "Gateway", "namespace": "n"});
    let world = world.grant("other", from, json!({"group": "", "kind": "Secret"}));
    assert_eq!(shown(&world, "y.x.c.example"), "other/tls");
}

#[test]
fn a_listener_has_several_certificates_and_serves_with_those_that_there_are() {
    let https = |name: &str, host: &str, secrets: &[&str]| {
        let references: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
        json!({"name": name, "port": 443, "protocol": "HTTPS", "hostname": host,
            "tls": {"mode": "Terminate", "certificateRefs": references}})
    };
    let listeners = json!([
        https("all", "*.example", &["one", "two"]),
        https("some", "a.example", &["none", "two"]),
        https("none", "b.example", &["none"])
    ]);
    let world = World::new().secret("n/one").secret("n/two").gateway("g", listeners);
    let shown = |host: &str| world.table().shown(host).join(" ");
    assert_eq!((shown("x.example"), shown("a.example")), ("n/one n/two".to_owned(), "n/two".to_owned()));
    assert_eq!(
        listeners_told(&world, "ResolvedRefs")[..3],
        [
            "ResolvedRefs True ResolvedRefs",
            "ResolvedRefs False InvalidCertificateRef",
            "ResolvedRefs False InvalidCertificateRef"
        ]
    );
    assert_eq!(
        listeners_told(&world, "Programmed")[..3],
        ["Programmed True Programmed", "Programmed True Programmed", "Programmed False Invalid"]
    );
}

#[test]
fn listeners_that_share_hosts_over_tls_are_warned() {
    let tls = |name: &str, host: &str, mode: &str, protocol: &str| {
        json!({"name": name, "port": 443, "protocol": protocol, "hostname": host,
            "tls": {"mode": mode, "certificateRefs": [{"name": "tls"}]}})
    };
    let mut world = World::new().gateway(
        "g",
        json!([
            tls("a", "foo.example.com", "Terminate", "HTTPS"),
            tls("b", "foo.example.org", "Terminate", "HTTPS"),
            tls("c", "*.example.com", "Passthrough", "TLS"),
            tls("d", "*.example.com", "Terminate", "HTTPS")
        ]),
    );
    world.secrets = vec!["n/tls".to_owned()];
    let overlap = "OverlappingTLSConfig True OverlappingHostnames";
    assert_eq!(listeners_told(&world, "Overlapping"), [overlap, "", overlap, overlap, ""]);
    let conflicts = listeners_told(&world, "Conflicted");
    assert_eq!(
        conflicts[1..4],
        [
            "Conflicted False NoConflicts",
            "Conflicted True ProtocolConflict",
            "Conflicted True ProtocolConflict"
        ]
    );
}

#[test]
fn addresses_can_be_asked_for() {
    let with = |addresses: Value| {
        let mut world = World::new();
        world.objects.gateways.push(object(json!({"metadata": meta("g", 1),
            "spec": {"gatewayClassName": "public", "listeners": http(), "addresses": addresses}})));
        world
    };
    let one = with(json!([{"type": "IPAddress", "value": "192.0.2.2"}]));
    assert_eq!(
        one.status("gateways", "g")["addresses"],
        json!([{"type": "IPAddress", "value": "192.0.2.2"}])
    );
    let strange = with(json!([{"type": "IPAddress", "value": "198.51.100.1"}]));
    assert_eq!(listeners_told(&strange, "Programmed")[1], "Programmed False AddressNotUsable");
    let named = with(json!([{"type": "example.com/Pool", "value": "x"}]));
    assert_eq!(listeners_told(&named, "Accepted")[1], "Accepted False UnsupportedAddress");
    let any = with(json!([{"type": "IPAddress"}]));
    assert_eq!(any.status("gateways", "g")["addresses"].as_array().unwrap().len(), 2);
}

#[test]
fn connections_go_by_the_name_that_they_ask_for() {
    let mut world = World::new()
        .gateway("g", json!([
            {"name": "tls", "port": 443, "protocol": "TLS", "hostname": "*.example", "tls": {"mode": "Passthrough"}},
            {"name": "https", "port": 443, "protocol": "HTTPS", "hostname": "web.example",
                "tls": {"mode": "Terminate", "certificateRefs": [{"name": "tls"}]}},
        ]))
        .route(Kind::Tls, "r", 1, json!("g"), &["*.example"], json!([{"backendRefs": to("a")}]))
        .route(Kind::Tls, "s", 1, json!("g"), &["db.example"], json!([{"backendRefs": to("b")}]));
    world.secrets = vec!["n/tls".to_owned()];
    let table = world.table();
    let service = |name: &str| table.stream(name).map(|s| s.rule.choices[0].backend.clone().unwrap().service);
    assert_eq!(service("x.example").as_deref(), Some("a"));
    assert_eq!(service("db.example").as_deref(), Some("b"));
    assert_eq!(service("web.example"), None, "HTTPS has a listener for just this host");
    assert_eq!(service("example"), None);
}
