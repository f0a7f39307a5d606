//! Rule sets and differences as text. `KNARR_WRITE_GOLDEN=1` writes the files anew; read them before you
//! commit them.

use super::*;
use crate::endpoints::Reachable;
use crate::service::{Protocol, ServicePort, ServicePortName};
use apimachinery::family::Family;
use ipnet::IpNet;

/// A port named `default/{service}`, TCP 80.
pub(super) fn port(service: &str) -> ServicePort {
    ServicePort {
        name: ServicePortName {
            namespace: "default".to_owned(),
            service: service.to_owned(),
            protocol: Protocol::Tcp,
            port: "http".to_owned(),
        },
        cluster_ips: vec!["10.152.183.10".parse().unwrap(), "fd98::10".parse().unwrap()],
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        port: 80,
        node_port: None,
        affinity_seconds: None,
        internal_local: false,
        external_local: false,
    }
}

pub(super) fn to(cluster: &[&str], local: &[&str]) -> Reachable {
    let parse = |list: &[&str]| list.iter().map(|endpoint| endpoint.parse().unwrap()).collect();
    Reachable { cluster: parse(cluster), local: parse(local) }
}

pub(super) fn cidrs() -> Vec<IpNet> {
    vec!["10.1.0.0/16".parse().unwrap(), "fd01::/64".parse().unwrap()]
}

pub(super) fn change(
    table: &mut ShadowTable,
    family: Family,
    changes: &[(&ServicePort, Option<Reachable>)],
) -> String {
    let render = |(port, reachable): &(&ServicePort, Option<Reachable>)| {
        let rendered = reachable.as_ref().map(|reachable| render(port, reachable, family, &cidrs()));
        (port.name.clone(), rendered)
    };
    table.update(changes.iter().map(render).collect())
}

fn golden(name: &str, text: &str) {
    let path = format!("{}/src/testdata/{name}.nft", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("KNARR_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{name} differs; it is now:\n{text}");
}

/// One of each: cluster IP; NodePort with affinity; Local with and without local endpoints; no endpoints;
/// load balancer with source ranges.
pub(super) fn all_sorts() -> Vec<(ServicePort, Reachable)> {
    let mut plain = port("plain");
    plain.cluster_ips.truncate(1);
    let mut sticky = port("sticky");
    sticky.cluster_ips = vec!["10.152.183.11".parse().unwrap()];
    sticky.node_port = Some(30080);
    sticky.affinity_seconds = Some(600);
    let mut local = port("local");
    local.cluster_ips = vec!["10.152.183.12".parse().unwrap()];
    local.external_ips = vec!["203.0.113.5".parse().unwrap()];
    local.node_port = Some(30081);
    local.external_local = true;
    let mut elsewhere = local.clone();
    elsewhere.name.service = "elsewhere".to_owned();
    elsewhere.cluster_ips = vec!["10.152.183.13".parse().unwrap()];
    elsewhere.external_ips.clear();
    elsewhere.node_port = Some(30082);
    elsewhere.internal_local = true;
    let mut nobody = port("nobody");
    nobody.cluster_ips = vec!["10.152.183.14".parse().unwrap()];
    nobody.name.protocol = Protocol::Udp;
    nobody.node_port = Some(30083);
    let mut balanced = port("balanced");
    balanced.cluster_ips = vec!["10.152.183.15".parse().unwrap()];
    balanced.load_balancer_ips = vec!["192.0.2.7".parse().unwrap()];
    balanced.source_ranges = vec!["198.51.100.0/24".parse().unwrap()];
    vec![
        (plain, to(&["10.1.0.2:8080", "10.1.0.3:8080"], &[])),
        (sticky, to(&["10.1.0.2:8080", "10.1.0.3:8080"], &[])),
        (local, to(&["10.1.0.2:8080", "10.1.1.2:8080"], &["10.1.0.2:8080"])),
        (elsewhere, to(&["10.1.1.2:8080"], &[])),
        (nobody, to(&[], &[])),
        (balanced, to(&["10.1.0.2:8080"], &[])),
    ]
}

#[test]
fn the_whole_table_of_all_sorts_of_services() {
    let mut table = ShadowTable::new(Family::V4);
    for (port, reachable) in all_sorts() {
        change(&mut table, Family::V4, &[(&port, Some(reachable))]);
    }
    golden("all-sorts", &table.rebuild(&[]));
}

#[test]
fn the_whole_table_for_ipv6_with_chosen_node_port_addresses() {
    let mut table = ShadowTable::new(Family::V6);
    let mut port = port("plain");
    port.node_port = Some(30080);
    change(&mut table, Family::V6, &[(&port, Some(to(&["[fd01::2]:8080"], &[])))]);
    golden("ipv6", &table.rebuild(&["2001:db8::/64".parse().unwrap(), "192.0.2.0/24".parse().unwrap()]));
}

#[test]
fn a_new_endpoint_costs_its_own_chain_and_the_choice_of_its_service() {
    let mut table = ShadowTable::new(Family::V4);
    for (port, reachable) in all_sorts() {
        change(&mut table, Family::V4, &[(&port, Some(reachable))]);
    }
    let plain = port("plain");
    let plain = ServicePort { cluster_ips: plain.cluster_ips[..1].to_vec(), ..plain };
    let more = to(&["10.1.0.2:8080", "10.1.0.3:8080", "10.1.0.4:8080"], &[]);
    let text = change(&mut table, Family::V4, &[(&plain, Some(more.clone()))]);
    golden("endpoint-added", &text);
    assert_eq!(change(&mut table, Family::V4, &[(&plain, Some(more))]), "");
    let fewer = to(&["10.1.0.2:8080", "10.1.0.4:8080"], &[]);
    let text = change(&mut table, Family::V4, &[(&plain, Some(fewer))]);
    golden("endpoint-removed", &(text + &table.collect_garbage()));
    assert!(!table.has_garbage());
}

#[test]
fn losing_the_last_endpoint_and_the_service_leaves_nothing() {
    let mut table = ShadowTable::new(Family::V4);
    let mut port = port("sticky");
    port.node_port = Some(30080);
    port.affinity_seconds = Some(600);
    change(&mut table, Family::V4, &[(&port, Some(to(&["10.1.0.2:8080"], &[])))]);
    let text = change(&mut table, Family::V4, &[(&port, Some(to(&[], &[])))]);
    golden("no-endpoints-left", &text);
    let text = change(&mut table, Family::V4, &[(&port, None)]);
    golden("service-deleted", &(text + &table.collect_garbage()));
    assert!(table.ports_of("default", "sticky").is_empty());
    let empty = ShadowTable::new(Family::V4).rebuild(&[]);
    assert_eq!(table.rebuild(&[]), empty);
}

#[test]
fn a_chain_that_comes_back_before_it_was_deleted_is_used_again() {
    let mut table = ShadowTable::new(Family::V4);
    let port = port("plain");
    change(&mut table, Family::V4, &[(&port, Some(to(&["10.1.0.2:8080"], &[])))]);
    change(&mut table, Family::V4, &[(&port, Some(to(&["10.1.0.3:8080"], &[])))]);
    let text = change(&mut table, Family::V4, &[(&port, Some(to(&["10.1.0.2:8080"], &[])))]);
    assert!(!text.contains("add chain"), "{text}");
    assert!(text.contains("add rule ip knarr-proxy endpoint-default/plain/tcp/http__10.1.0.2/8080"));
    let garbage = table.collect_garbage();
    assert_eq!(garbage, "delete chain ip knarr-proxy endpoint-default/plain/tcp/http__10.1.0.3/8080\n");
}

#[test]
fn of_two_services_with_the_same_address_the_first_has_it_and_the_second_inherits() {
    let mut table = ShadowTable::new(Family::V4);
    let with = |name: &str, ip: &str| {
        let cluster_ips = vec![ip.parse().unwrap()];
        ServicePort { cluster_ips, external_ips: vec!["203.0.113.9".parse().unwrap()], ..port(name) }
    };
    let (a, b) = (with("a", "10.152.183.20"), with("b", "10.152.183.21"));
    let endpoints = to(&["10.1.0.2:8080"], &[]);
    let element = |verb: &str, owner: &str| {
        let key = "knarr-proxy service-ips { 203.0.113.9 . tcp . 80";
        format!("{verb} element ip {key}{owner} }}\n")
    };
    let text = change(&mut table, Family::V4, &[(&b, Some(endpoints.clone()))]);
    assert!(text.contains(&element("add", " : goto external-default/b/tcp/http")));
    let text = change(&mut table, Family::V4, &[(&a, Some(endpoints))]);
    assert!(text.contains(&element("delete", "")), "{text}");
    assert!(text.contains(&element("add", " : goto external-default/a/tcp/http")));
    let text = change(&mut table, Family::V4, &[(&a, None)]);
    assert!(text.contains(&element("add", " : goto external-default/b/tcp/http")));
}
