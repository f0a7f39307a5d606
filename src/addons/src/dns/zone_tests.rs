//! Every kind of name of the specification.

use super::*;

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn port(name: &str, number: u16) -> Port {
    Port { name: name.to_owned(), protocol: "tcp".to_owned(), number }
}

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local");
    zone.set_namespace("ns", true);
    let web = Service {
        cluster_ips: vec!["10.0.0.1".parse().unwrap()],
        ports: vec![port("http", 80)],
        ..Service::default()
    };
    zone.set_service("ns", "web", Some(web));
    zone.set_service("ns", "db", Some(Service::default()));
    let endpoint = |address: &str, hostname: Option<&str>| Endpoint {
        address: address.parse().unwrap(),
        hostname: hostname.map(str::to_owned),
        ports: vec![port("sql", 5432)],
    };
    let endpoints = vec![endpoint("10.1.0.5", Some("db-0")), endpoint("10.1.0.6", None)];
    zone.set_slice("ns", "db", "db-abc", Some(endpoints));
    let external = Service { external_name: Some("example.com".to_owned()), ..Service::default() };
    zone.set_service("ns", "out", Some(external));
    zone
}

fn data(zone: &Zone, question: &str, kind: RecordType) -> Vec<String> {
    match zone.answer(&name(question), kind) {
        Answer::Records { answers, .. } => answers.iter().map(|r| r.data.to_string()).collect(),
        Answer::Alias { target, .. } => vec![format!("alias {target}")],
        Answer::NoData(_) => vec!["nodata".to_owned()],
        Answer::NoSuchName(_) => vec!["nxdomain".to_owned()],
        Answer::Elsewhere => vec!["elsewhere".to_owned()],
    }
}

#[test]
fn names_of_services_answer_as_specified() {
    let zone = zone();
    for (question, kind, expected) in [
        ("web.ns.svc.cluster.local", RecordType::A, vec!["10.0.0.1"]),
        ("WEB.ns.svc.Cluster.Local", RecordType::A, vec!["10.0.0.1"]),
        ("web.ns.svc.cluster.local", RecordType::AAAA, vec!["nodata"]),
        ("nobody.ns.svc.cluster.local", RecordType::A, vec!["nxdomain"]),
        ("_http._tcp.web.ns.svc.cluster.local", RecordType::SRV, vec!["0 100 80 web.ns.svc.cluster.local."]),
        ("_nope._tcp.web.ns.svc.cluster.local", RecordType::SRV, vec!["nxdomain"]),
        ("_http._udp.web.ns.svc.cluster.local", RecordType::SRV, vec!["nxdomain"]),
        ("out.ns.svc.cluster.local", RecordType::A, vec!["alias example.com."]),
        ("1.0.0.10.in-addr.arpa", RecordType::PTR, vec!["web.ns.svc.cluster.local."]),
        ("dns-version.cluster.local", RecordType::TXT, vec!["1.1.0"]),
        ("10-1-0-5.ns.pod.cluster.local", RecordType::A, vec!["10.1.0.5"]),
        ("10-1-0-5.nope.pod.cluster.local", RecordType::A, vec!["nxdomain"]),
        ("ns.svc.cluster.local", RecordType::A, vec!["nodata"]),
        ("nope.svc.cluster.local", RecordType::A, vec!["nxdomain"]),
        ("svc.cluster.local", RecordType::A, vec!["nodata"]),
        ("web.ns.cluster.local", RecordType::A, vec!["nxdomain"]),
        ("example.com", RecordType::A, vec!["elsewhere"]),
        ("9.9.9.9.in-addr.arpa", RecordType::PTR, vec!["elsewhere"]),
    ] {
        assert_eq!(data(&zone, question, kind), expected, "{question}");
    }
}

#[test]
fn headless_services_answer_with_their_endpoints() {
    let zone = zone();
    for (question, kind, expected) in [
        ("db.ns.svc.cluster.local", RecordType::A, vec!["10.1.0.5", "10.1.0.6"]),
        ("db-0.db.ns.svc.cluster.local", RecordType::A, vec!["10.1.0.5"]),
        ("10-1-0-6.db.ns.svc.cluster.local", RecordType::A, vec!["10.1.0.6"]),
        ("db-9.db.ns.svc.cluster.local", RecordType::A, vec!["nxdomain"]),
        (
            "_sql._tcp.db.ns.svc.cluster.local",
            RecordType::SRV,
            vec!["0 100 5432 db-0.db.ns.svc.cluster.local.", "0 100 5432 10-1-0-6.db.ns.svc.cluster.local."],
        ),
        ("5.0.1.10.in-addr.arpa", RecordType::PTR, vec!["db-0.db.ns.svc.cluster.local."]),
    ] {
        assert_eq!(data(&zone, question, kind), expected, "{question}");
    }
}

#[test]
fn what_is_gone_is_not_answered_any_more() {
    let mut zone = zone();
    zone.set_slice("ns", "db", "db-abc", None);
    assert_eq!(data(&zone, "db.ns.svc.cluster.local", RecordType::A), ["nodata"]);
    assert_eq!(data(&zone, "5.0.1.10.in-addr.arpa", RecordType::PTR), ["elsewhere"]);
    zone.set_service("ns", "web", None);
    assert_eq!(data(&zone, "web.ns.svc.cluster.local", RecordType::A), ["nxdomain"]);
    assert_eq!(data(&zone, "1.0.0.10.in-addr.arpa", RecordType::PTR), ["elsewhere"]);
}

#[test]
fn reverse_names_spell_addresses() {
    assert_eq!(reverse_address(&name("4.3.2.1.in-addr.arpa")), Some("1.2.3.4".parse().unwrap()));
    let six = format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23));
    assert_eq!(reverse_address(&name(&six)), Some("2001:db8::1".parse().unwrap()));
    assert_eq!(reverse_address(&name("in-addr.arpa")), None);
}
