//! Which Service gets which address, and which node speaks for it: pure.

use super::ranges::Ranges;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Node, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The class of Services that name one; those that name none are taken too.
pub const CLASS: &str = "knarr.io/loadbalancer";
/// An address that a Service asks for; MetalLB's names.
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

/// What every Service's status is to say, of those that are balanced here; and of those that were, that they have none.
///
/// Without ranges a Service gets the nodes' own addresses. With ranges it keeps the one that it has, gets the one that it
/// asks for, or the first that is free.
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
            nodes.iter().filter(|n| is_eligible(n)).flat_map(|n| addresses(n)).collect();
        for service in mine {
            let own: Vec<IpAddr> = own.iter().copied().collect();
            let decision = match own.is_empty() {
                true => Decision::Refused("no node is ready".to_owned()),
                false => Decision::Addresses(own),
            };
            decided.insert(name(service), decision);
        }
        return decided;
    }
    let mut taken = BTreeSet::new();
    // Whoever has an address keeps it; of two that have the same, the older one.
    for service in &mine {
        let kept = given(service).into_iter().find_map(|address| match address {
            IpAddr::V4(address) if ranges.contains(address) => Some(address),
            _ => None,
        });
        let wanted = requested(service);
        if let Some(kept) = kept.filter(|kept| wanted.is_none_or(|wanted| wanted == Ok(*kept)))
            && taken.insert(kept)
        {
            decided.insert(name(service), Decision::Addresses(vec![IpAddr::V4(kept)]));
        }
    }
    for service in mine {
        if decided.contains_key(&name(service)) {
            continue;
        }
        let free = match requested(service) {
            Some(Ok(wanted)) if !ranges.contains(wanted) => Err(format!("{wanted} is in no range")),
            Some(Ok(wanted)) if taken.contains(&wanted) => Err(format!("{wanted} is taken")),
            Some(Ok(wanted)) => Ok(wanted),
            Some(Err(text)) => Err(format!("{text:?} is no address")),
            None => ranges.iter().find(|a| !taken.contains(a)).ok_or_else(|| "no address is free".to_owned()),
        };
        let decision = match free {
            Ok(address) => {
                taken.insert(address);
                Decision::Addresses(vec![IpAddr::V4(address)])
            }
            Err(why) => Decision::Refused(why),
        };
        decided.insert(name(service), decision);
    }
    decided
}

/// The node that speaks for an address: always the same while the same nodes are ready, and when one fails only its
/// addresses move. `local` are the nodes that have the Service's pods, if others may not speak for it.
pub fn speaker(address: Ipv4Addr, nodes: &[Arc<Node>], local: Option<&BTreeSet<String>>) -> Option<String> {
    let eligible =
        nodes.iter().filter(|node| is_eligible(node)).filter_map(|node| node.metadata.name.clone());
    let eligible = eligible.filter(|node| local.is_none_or(|local| local.contains(node)));
    eligible.max_by_key(|node| {
        // Its keys are fixed: every node finds the same.
        let mut hasher = DefaultHasher::new();
        (node, address).hash(&mut hasher);
        hasher.finish()
    })
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

fn service_type(service: &Service) -> Option<&str> {
    service.spec.as_ref()?.type_.as_deref()
}

fn requested(service: &Service) -> Option<Result<Ipv4Addr, String>> {
    let annotations = service.metadata.annotations.as_ref();
    let annotated = REQUESTED.iter().find_map(|name| annotations?.get(*name));
    let field = service.spec.as_ref().and_then(|spec| spec.load_balancer_ip.as_ref());
    let text = annotated.or(field).filter(|text| !text.is_empty())?;
    Some(text.parse().map_err(|_| text.clone()))
}

fn is_eligible(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let excluded = node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED));
    !excluded && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn addresses(node: &Node) -> Vec<IpAddr> {
    let all = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    all.iter().filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, ready: &str) -> Arc<Node> {
        let address = format!("192.0.2.{}", name.len());
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name}, "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "addresses": [{"type": "InternalIP", "address": address}]}}))
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

    fn decided(services: &[Arc<Service>], ranges: &str) -> Vec<String> {
        let decided = assign(services, &[node("a", "True")], &Ranges::read(ranges).unwrap());
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
                "n/h no address is free",
            ]
        );
    }

    #[test]
    fn without_ranges_the_nodes_own_addresses_are_given() {
        assert_eq!(decided(&[service("a", json!({}), &[])], ""), ["n/a 192.0.2.1"]);
        let nodes = [node("a", "False")];
        let none = assign(&[service("a", json!({}), &[])], &nodes, &Ranges::default());
        assert!(matches!(none["n/a"], Decision::Refused(_)));
    }

    #[test]
    fn when_a_node_fails_only_its_addresses_move() {
        let all = ["a", "bb", "ccc"];
        let nodes = |failed: &str| -> Vec<_> {
            all.iter().map(|name| node(name, if *name == failed { "Unknown" } else { "True" })).collect()
        };
        let mut moved = 0;
        for last in 0..30 {
            let address = Ipv4Addr::new(10, 0, 0, last);
            let before = speaker(address, &nodes(""), None).unwrap();
            let after = speaker(address, &nodes("bb"), None).unwrap();
            assert_ne!(after, "bb");
            assert!(before == after || before == "bb");
            moved += usize::from(before != after);
        }
        assert!(moved > 0 && moved < 30, "{moved}");
        let local = BTreeSet::from(["ccc".to_owned()]);
        assert_eq!(speaker(Ipv4Addr::LOCALHOST, &nodes(""), Some(&local)).as_deref(), Some("ccc"));
        assert_eq!(speaker(Ipv4Addr::LOCALHOST, &nodes("ccc"), Some(&local)), None);
    }
}
