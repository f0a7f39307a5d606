//! Which Service gets which address, and which node speaks for it: pure.

use super::pool::{Pool, of_each_family};
use super::ranges::Ranges;
use apimachinery::family::Family;
use client::nodes::{is_ready, own_addresses};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Node, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// The class of Services that name one; those that name none are taken too.
pub const CLASS: &str = "knarr.io/loadbalancer";
/// Addresses that a Service asks for, separated by commas, one of a family; MetalLB's names.
const REQUESTED: [&str; 2] = ["metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"];
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// `NAMESPACE/NAME` of a Service.
pub type Name = String;

/// What a Service's status is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// None, for this reason.
    Refused(String),
}

impl From<Result<Vec<IpAddr>, String>> for Decision {
    fn from(found: Result<Vec<IpAddr>, String>) -> Self {
        found.map_or_else(Self::Refused, Self::Addresses)
    }
}

/// What every Service's status is to say, of those that are balanced here; and of those that were, that they have none.
///
/// A Service gets addresses of each of its families. Without ranges they are the nodes' own. With ranges it keeps the one
/// that it has, gets the one that it asks for, or the first that is free.
pub fn assign(services: &[Arc<Service>], nodes: &[Arc<Node>], ranges: &Ranges) -> BTreeMap<Name, Decision> {
    let mut sorted: Vec<&Arc<Service>> = services.iter().collect();
    let created = |s: &Service| s.metadata.creation_timestamp.as_ref().map(|time| time.0);
    sorted.sort_by_key(|service| (created(service), name(service)));
    let (mine, others): (Vec<_>, Vec<_>) = sorted.into_iter().partition(|service| is_mine(service));
    let mut decided = BTreeMap::new();
    for service in others {
        if service_type(service) != Some("LoadBalancer") && !given(service).is_empty() {
            decided.insert(name(service), Decision::Addresses(Vec::new()));
        }
    }
    if ranges.is_empty() {
        let own: BTreeSet<IpAddr> =
            nodes.iter().filter(|n| is_eligible(n)).flat_map(|n| own_addresses(n)).collect();
        for service in mine {
            let found = of_each_family(service, |family| {
                let own: Vec<IpAddr> = own.iter().copied().filter(|a| family.has(a)).collect();
                if own.is_empty() { Err(format!("no ready node has an {family} address")) } else { Ok(own) }
            });
            decided.insert(name(service), found.into());
        }
        return decided;
    }
    let mut pool = Pool::new(ranges);
    // Whoever has an address keeps it; of two that have the same, the older one.
    let kept: Vec<Vec<IpAddr>> = mine.iter().map(|service| pool.keep(service)).collect();
    for (service, kept) in mine.into_iter().zip(kept) {
        decided.insert(name(service), pool.complete(service, &kept).into());
    }
    decided
}

/// The node that speaks for an address: always the same while the same nodes are ready, and when one fails only its
/// addresses move. Nodes with addresses of its family come first: others are hardly on a wire that has it. `local` are the
/// nodes that have the Service's pods, if others may not speak for it.
pub fn speaker(address: IpAddr, nodes: &[Arc<Node>], local: Option<&BTreeSet<String>>) -> Option<String> {
    let family = Family::of(address);
    let eligible = nodes.iter().filter(|node| is_eligible(node)).filter_map(|node| {
        let near = own_addresses(node).into_iter().any(|own| family.has(&own));
        Some((near, node.metadata.name.clone()?))
    });
    let eligible = eligible.filter(|(_, node)| local.is_none_or(|local| local.contains(node)));
    let chosen = eligible.max_by_key(|(near, node)| {
        // Its keys are fixed: every node finds the same.
        let mut hasher = DefaultHasher::new();
        match address {
            IpAddr::V4(address) => (node, address).hash(&mut hasher),
            IpAddr::V6(address) => (node, address).hash(&mut hasher),
        }
        (*near, hasher.finish())
    });
    chosen.map(|(_, node)| node)
}

/// Whether a Service is balanced here.
pub fn is_mine(service: &Service) -> bool {
    let class = service.spec.as_ref().and_then(|spec| spec.load_balancer_class.as_deref());
    let wanted = service_type(service) == Some("LoadBalancer") && class.is_none_or(|class| class == CLASS);
    wanted && service.metadata.deletion_timestamp.is_none()
}

/// `NAMESPACE/NAME`.
pub fn name(service: &Service) -> Name {
    let part = |text: Option<&String>| text.cloned().unwrap_or_default();
    format!("{}/{}", part(service.metadata.namespace.as_ref()), part(service.metadata.name.as_ref()))
}

/// The addresses that a Service's status says.
pub fn given(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let all: &[LoadBalancerIngress] = status.and_then(|s| s.ingress.as_deref()).unwrap_or_default();
    all.iter().filter_map(|one| one.ip.as_ref()?.parse().ok()).collect()
}

/// The families of a Service, its first one first.
pub fn families(service: &Service) -> Vec<Family> {
    let named = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let all: Vec<Family> = named.iter().filter_map(|name| Family::parse(name)).collect();
    if all.is_empty() { vec![Family::V4] } else { all }
}

fn service_type(service: &Service) -> Option<&str> {
    service.spec.as_ref()?.type_.as_deref()
}

/// The addresses that a Service asks for, at most one of each of its families.
///
/// # Errors
/// Tells what is wrong with them.
pub fn requested(service: &Service) -> Result<Vec<IpAddr>, String> {
    let annotations = service.metadata.annotations.as_ref();
    let annotated = REQUESTED.iter().find_map(|name| annotations?.get(*name));
    let field = service.spec.as_ref().and_then(|spec| spec.load_balancer_ip.as_ref());
    let Some(text) = annotated.or(field).filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
    let mut left = families(service);
    let one = |part: &str| {
        let address: IpAddr = part.trim().parse().map_err(|_| format!("{part:?} is no address"))?;
        let family = left.iter().position(|family| family.has(&address));
        family
            .map(|at| left.remove(at))
            .ok_or_else(|| format!("{text} is not one address of each family that the Service has"))?;
        Ok(address)
    };
    text.split(',').map(one).collect()
}

fn is_eligible(node: &Node) -> bool {
    let excluded = node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED));
    !excluded && is_ready(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, ready: &str) -> Arc<Node> {
        addressed(name, ready, &[&format!("192.0.2.{}", name.len())])
    }

    fn addressed(name: &str, ready: &str, addresses: &[&str]) -> Arc<Node> {
        let addresses: Vec<Value> =
            addresses.iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {
                "conditions": [{"type": "Ready", "status": ready}], "addresses": addresses}}))
            .unwrap(),
        )
    }

    fn service(name: &str, spec: Value, given: &[&str]) -> Arc<Service> {
        let mut whole = json!({"type": "LoadBalancer"});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let ingress: Vec<Value> = given.iter().map(|ip| json!({"ip": ip})).collect();
        Arc::new(
            serde_json::from_value(json!({"metadata": {"namespace": "n", "name": name}, "spec": whole,
                "status": {"loadBalancer": {"ingress": ingress}}}))
            .unwrap(),
        )
    }

    /// A Service of both families.
    fn dual(name: &str, policy: &str, wanted: &str, given: &[&str]) -> Arc<Service> {
        let spec = json!({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": policy});
        let mut service = service(name, spec, given);
        let annotations = BTreeMap::from([(REQUESTED[0].to_owned(), wanted.to_owned())]);
        Arc::make_mut(&mut service).metadata.annotations = Some(annotations);
        service
    }

    fn decided(services: &[Arc<Service>], ranges: &str) -> Vec<String> {
        decided_on(services, &[node("a", "True")], ranges)
    }

    fn decided_on(services: &[Arc<Service>], nodes: &[Arc<Node>], ranges: &str) -> Vec<String> {
        let decided = assign(services, nodes, &Ranges::read(ranges).unwrap());
        let text = |decision: &Decision| match decision {
            Decision::Addresses(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Decision::Refused(why) => why.clone(),
        };
        decided.iter().map(|(name, decision)| format!("{name} {}", text(decision))).collect()
    }

    #[test]
    fn services_keep_get_or_lack_an_address() {
        let services = [
            service("a", json!({}), &[]),
            service("b", json!({}), &["10.0.0.1"]),
            service("c", json!({"loadBalancerIP": "10.0.0.3"}), &[]),
            service("d", json!({"loadBalancerIP": "10.0.0.3"}), &[]),
            service("e", json!({"loadBalancerIP": "10.9.9.9"}), &[]),
            service("f", json!({"loadBalancerClass": "other"}), &[]),
            service("g", json!({"type": "ClusterIP"}), &["10.0.0.2"]),
            service("h", json!({}), &["10.7.7.7"]),
        ];
        assert_eq!(
            decided(&services, "10.0.0.1-10.0.0.3"),
            [
                "n/a 10.0.0.2",
                "n/b 10.0.0.1",
                "n/c 10.0.0.3",
                "n/d 10.0.0.3 is taken",
                "n/e 10.9.9.9 is in no range",
                "n/g ",
                "n/h no IPv4 address is free",
            ]
        );
    }

    #[test]
    fn a_service_has_an_address_of_each_family() {
        let (require, prefer) = ("RequireDualStack", "PreferDualStack");
        let both = "10.0.0.1-10.0.0.3,fd00::1-fd00::3";
        let services = [
            dual("a", require, "", &[]),
            dual("b", prefer, "", &["fd00::1", "10.0.0.3"]),
            service("c", json!({"ipFamilies": ["IPv6"]}), &["10.0.0.1"]),
            service("d", json!({"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": require}), &[]),
        ];
        let expected =
            ["n/a 10.0.0.1 fd00::2", "n/b 10.0.0.3 fd00::1", "n/c fd00::3", "n/d no IPv6 address is free"];
        assert_eq!(decided(&services, both), expected);
    }

    #[test]
    fn a_family_may_be_lacking_where_the_policy_allows_it() {
        let (require, prefer) = ("RequireDualStack", "PreferDualStack");
        // What the refused one had is free.
        let services = [
            dual("a", require, "", &["10.0.0.1"]),
            dual("b", prefer, "", &[]),
            dual("c", prefer, "", &[]),
            service("d", json!({"ipFamilies": ["IPv6"]}), &[]),
        ];
        let expected = [
            "n/a no IPv6 address is free",
            "n/b 10.0.0.1",
            "n/c no IPv4 address is free",
            "n/d no IPv6 address is free",
        ];
        assert_eq!(decided(&services, "10.0.0.1"), expected);
        // It completes what it has as soon as it can.
        assert_eq!(
            decided(&[dual("b", prefer, "", &["10.0.0.1"])], "10.0.0.0/24,fd00::7"),
            ["n/b 10.0.0.1 fd00::7"]
        );
    }

    #[test]
    fn a_service_asks_for_an_address_of_each_family() {
        let (require, prefer) = ("RequireDualStack", "PreferDualStack");
        let one = |service| decided(&[service], "10.0.0.1-10.0.0.9,fd00::1-fd00::9").remove(0);
        let asks = |policy, wanted| one(dual("a", policy, wanted, &["10.0.0.2", "fd00::2"]));
        assert_eq!(asks(require, "fd00::9, 10.0.0.9"), "n/a 10.0.0.9 fd00::9");
        assert_eq!(asks(require, "fd00::9"), "n/a 10.0.0.2 fd00::9");
        assert_eq!(asks(prefer, "10.0.0.1,fd01::1"), "n/a fd01::1 is in no range");
        for wrong in ["10.0.0.1,10.0.0.2", "10.0.0.1,fd00::1,fd00::2"] {
            let why = "is not one address of each family that the Service has";
            assert_eq!(asks(prefer, wrong), format!("n/a {wrong} {why}"));
        }
        assert_eq!(asks(prefer, "10.0.0.1,x"), "n/a \"x\" is no address");
        // What it had until then is free.
        let services =
            [dual("a", require, "10.0.0.2", &["10.0.0.1", "fd00::1"]), service("b", json!({}), &[])];
        let expected = ["n/a 10.0.0.2 fd00::1", "n/b 10.0.0.1"];
        assert_eq!(decided(&services, "10.0.0.1-10.0.0.2,fd00::1"), expected);
        let alone = service("a", json!({"loadBalancerIP": "fd00::1"}), &[]);
        assert!(one(alone).contains("family"));
    }

    #[test]
    fn without_ranges_the_nodes_own_addresses_are_given() {
        assert_eq!(decided(&[service("a", json!({}), &[])], ""), ["n/a 192.0.2.1"]);
        let nodes = [node("a", "False")];
        let none = assign(&[service("a", json!({}), &[])], &nodes, &Ranges::default());
        assert!(matches!(none["n/a"], Decision::Refused(_)));
        let nodes = [addressed("a", "True", &["192.0.2.1", "2001:db8::1"]), node("bb", "True")];
        let services = [
            service("a", json!({}), &[]),
            service("b", json!({"ipFamilies": ["IPv6"]}), &[]),
            dual("c", "RequireDualStack", "", &[]),
        ];
        let own = ["n/a 192.0.2.1 192.0.2.2", "n/b 2001:db8::1", "n/c 192.0.2.1 192.0.2.2 2001:db8::1"];
        assert_eq!(decided_on(&services, &nodes, ""), own);
        let services = [dual("a", "RequireDualStack", "", &[]), dual("b", "PreferDualStack", "", &[])];
        let own = ["n/a no ready node has an IPv6 address", "n/b 192.0.2.1"];
        assert_eq!(decided(&services, ""), own);
    }

    #[test]
    fn when_a_node_fails_only_its_addresses_move() {
        let all = ["a", "bb", "ccc"];
        let nodes = |failed: &str| -> Vec<_> {
            all.iter().map(|name| node(name, if *name == failed { "Unknown" } else { "True" })).collect()
        };
        let mut moved = 0;
        for last in 0..30 {
            let address = IpAddr::from([10, 0, 0, last]);
            let before = speaker(address, &nodes(""), None).unwrap();
            let after = speaker(address, &nodes("bb"), None).unwrap();
            assert_ne!(after, "bb");
            assert!(before == after || before == "bb");
            moved += usize::from(before != after);
        }
        assert!(moved > 0 && moved < 30, "{moved}");
        const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        let local = BTreeSet::from(["ccc".to_owned()]);
        assert_eq!(speaker(LOCALHOST, &nodes(""), Some(&local)).as_deref(), Some("ccc"));
        assert_eq!(speaker(LOCALHOST, &nodes("ccc"), Some(&local)), None);
    }

    #[test]
    fn a_node_of_the_addresses_family_speaks_before_others() {
        // The IPv6 address of the first one is among its pods.
        let mut first = addressed("a", "True", &["192.0.2.1", "fd00:10:1::"]);
        Arc::make_mut(&mut first).spec =
            serde_json::from_value(json!({"podCIDRs": ["10.1.0.0/24", "fd00:10:1::/64"]})).unwrap();
        let nodes = [first, addressed("bb", "True", &["192.0.2.2", "2001:db8::2"])];
        for last in 0..30 {
            let address = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]);
            assert_eq!(speaker(address, &nodes, None).as_deref(), Some("bb"), "{address}");
            assert_eq!(speaker(address, &nodes[..1], None).as_deref(), Some("a"), "{address}");
        }
    }
}
